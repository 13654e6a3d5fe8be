import { type Budget, JinjaError, typeError } from './errors.js';

/**
 * Python's values: int is a bigint, float a number, str a string, list an array; the rest are
 * objects of the classes here. Texts count in code points where Python does (`text.ts`).
 */
export type Value = null | boolean | bigint | number | string | readonly Value[] | PyObject;

/** What a running template gives to functions: what it may cost, and the time. */
export interface Runtime {
  readonly budget: Budget;
  readonly now: () => Date;
  call(callee: Value, args: Args): Value;
  /** `of.name` and `of[key]`, as a template reads them. */
  attribute(of: Value, name: string): Value;
  item(of: Value, key: Value): Value;
  filter(name: string, value: Value, args: Args): Value;
  test(name: string, value: Value, args: Args): boolean;
}

export interface Args {
  readonly positional: readonly Value[];
  readonly named: ReadonlyMap<string, Value>;
}

/** What Python's object protocol asks; a method that is not there is a TypeError at its caller. */
export abstract class PyObject {
  abstract readonly typeName: string;
  /** A Python attribute or method; undefined where there is none. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
  /** obj[key]; @throws TypeError, KeyError, IndexError */
  item(_key: Value): Value {
    throw typeError(`'${this.typeName}' object is not subscriptable`);
  }
  iterate(): Iterable<Value> | null {
    return null;
  }
  get size(): number | null {
    return null;
  }
  get truth(): boolean {
    return this.size !== 0;
  }
  /** repr() and, but for undefined values, str(). */
  repr(_show: (value: Value) => string): string {
    return `<${this.typeName}>`;
  }
}

/** Text that is HTML already: what is added to it is escaped. `escape` and `safe` make it. */
export class Markup extends PyObject {
  readonly typeName = 'Markup';
  constructor(readonly text: string) {
    super();
  }
  /** Escapes a text; HTML stays as it is. */
  static from(value: Value, show: (value: Value) => string): Markup {
    return value instanceof Markup ? value : new Markup(escapeHtml(show(value)));
  }
  override get size(): number {
    return this.text.length;
  }
  override repr(show: (value: Value) => string): string {
    return `Markup(${show(this.text)})`;
  }
}

const entities: Readonly<Record<string, string>> = {
  ...{ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&#34;', "'": '&#39;' },
};
export const escapeHtml = (text: string): string =>
  text.replace(/[&<>"']/g, (letter) => entities[letter]!);

/** HTML as the text that it is. */
export const plain = (value: Value): Value => (value instanceof Markup ? value.text : value);

/** Jinja's value of a name that is not there: prints as nothing, and fails when it is used. */
export class Undefined extends PyObject {
  readonly typeName = 'Undefined';
  constructor(
    private readonly message: string,
    private readonly kind = 'UndefinedError',
  ) {
    super();
  }
  fail(): never {
    throw new JinjaError(this.kind, this.message);
  }
  override item(): never {
    return this.fail();
  }
  override iterate(): Iterable<Value> {
    return [];
  }
  override get size(): number {
    return 0;
  }
  override repr(): string {
    return 'Undefined';
  }
}

export class Tuple extends PyObject {
  readonly typeName = 'tuple';
  /** @param names of the fields of a named tuple */
  constructor(
    readonly items: readonly Value[],
    private readonly names: readonly string[] = [],
  ) {
    super();
  }
  override attribute(name: string): Value | undefined {
    const at = this.names.indexOf(name);
    return at < 0 ? undefined : this.items[at]!;
  }
  override iterate(): Iterable<Value> {
    return this.items;
  }
  override get size(): number {
    return this.items.length;
  }
  override repr(show: (value: Value) => string): string {
    const [only] = this.items;
    return this.items.length === 1 ? `(${show(only!)},)` : `(${this.items.map(show).join(', ')})`;
  }
}

/** A dict in the order of insertion; 1, 1.0 and True are one key. */
export class Dict extends PyObject {
  readonly typeName = 'dict';
  readonly #entries = new Map<unknown, readonly [Value, Value]>();

  static of(entries: Iterable<readonly [Value, Value]>): Dict {
    const dict = new Dict();
    for (const [key, value] of entries) dict.set(key, value);
    return dict;
  }
  set(key: Value, value: Value): void {
    const hash = hashOf(key);
    this.#entries.set(hash, [this.#entries.get(hash)?.[0] ?? key, value]);
  }
  get(key: Value): Value | undefined {
    return this.#entries.get(hashOf(key))?.[1];
  }
  entries(): Iterable<readonly [Value, Value]> {
    return this.#entries.values();
  }
  keys(): Value[] {
    return [...this.#entries.values()].map(([key]) => key);
  }
  override item(key: Value): Value {
    const value = this.get(key);
    if (value === undefined) throw new JinjaError('KeyError', 'there is no such key');
    return value;
  }
  override *iterate(): Iterable<Value> {
    for (const [key] of this.#entries.values()) yield key;
  }
  override get size(): number {
    return this.#entries.size;
  }
  override repr(show: (value: Value) => string): string {
    return `{${[...this.entries()].map(([k, v]) => `${show(k)}: ${show(v)}`).join(', ')}}`;
  }
}

/** What a dict finds a key by. @throws TypeError for lists and dicts */
export function hashOf(given: Value, depth = 0): unknown {
  const key = plain(given);
  if (typeof key === 'boolean') return key ? 1n : 0n;
  if (typeof key === 'number') return Number.isInteger(key) ? BigInt(key) : key;
  if (key instanceof Tuple) {
    // Tuples of tuples double in size with each: a key is no place for that.
    if (depth > 1 || key.items.length > 64)
      throw new JinjaError('LimitError', 'a key that is too large');
    return `\0${key.items.map((k) => `${typeof k}:${String(hashOf(k, depth + 1))}`)}`;
  }
  if (Array.isArray(key) || key instanceof Dict || key instanceof DictView)
    throw typeError(`unhashable type: '${typeName(key)}'`);
  return key;
}

/** keys(), values() or items() of a dict. */
export class DictView extends PyObject {
  constructor(
    readonly typeName: 'dict_keys' | 'dict_values' | 'dict_items',
    readonly dict: Dict,
  ) {
    super();
  }
  override *iterate(): Iterable<Value> {
    for (const entry of this.dict.entries())
      if (this.typeName === 'dict_items') yield new Tuple(entry);
      else yield entry[this.typeName === 'dict_keys' ? 0 : 1];
  }
  override get size(): number {
    return this.dict.size;
  }
  override repr(show: (value: Value) => string): string {
    return `${this.typeName}([${[...this.iterate()].map(show).join(', ')}])`;
  }
}

export class Range extends PyObject {
  readonly typeName = 'range';
  readonly #size: number;
  constructor(
    readonly start: bigint,
    readonly stop: bigint,
    readonly step: bigint,
  ) {
    super();
    const span = step > 0n ? stop - start : start - stop;
    const stride = step > 0n ? step : -step;
    const size = span <= 0n ? 0n : (span + stride - 1n) / stride;
    if (size > 100_000n)
      throw new JinjaError('OverflowError', `a range of ${size} numbers; 100000 are allowed`);
    this.#size = Number(size);
  }
  /** Bounds within the range, as Python makes them. */
  slice(start: number, stop: number, step: number): Range {
    const at = (index: number) => this.start + BigInt(index) * this.step;
    return new Range(at(start), at(stop), this.step * BigInt(step));
  }
  override *iterate(): Iterable<Value> {
    for (let i = 0; i < this.#size; i++) yield this.start + BigInt(i) * this.step;
  }
  override get size(): number {
    return this.#size;
  }
  override repr(): string {
    return `range(${this.start}, ${this.stop}${this.step === 1n ? '' : `, ${this.step}`})`;
  }
}

/** A generator or iterator: read once. */
export class Lazy extends PyObject {
  readonly #iterator: Iterator<Value>;
  constructor(
    items: Iterable<Value>,
    readonly typeName = 'generator',
  ) {
    super();
    this.#iterator = items[Symbol.iterator]();
  }
  override *iterate(): Iterable<Value> {
    for (;;) {
      const next = this.#iterator.next();
      if (next.done) return;
      yield next.value;
    }
  }
  override get truth(): boolean {
    return true;
  }
}

/** `namespace(...)`: the one value that a template may change. */
export class Namespace extends PyObject {
  readonly typeName = 'TemplateNamespace';
  readonly values: Dict;
  constructor(values: Dict) {
    super();
    for (const key of values.keys()) checkName(key);
    this.values = values;
  }
  assign(name: string, value: Value): void {
    checkName(name);
    this.values.set(name, value);
  }
  override attribute(name: string): Value | undefined {
    return this.values.get(name);
  }
  override get truth(): boolean {
    return true;
  }
  override repr(show: (value: Value) => string): string {
    return `<Namespace ${show(this.values)}>`;
  }
}

function checkName(name: Value): void {
  if (typeof name === 'string' && name.startsWith('_'))
    throw new JinjaError(
      'SecurityError',
      `a namespace holds no names that begin with "_": ${name}`,
    );
}

/** A function, method or macro. */
export class Callable extends PyObject {
  constructor(
    readonly name: string,
    readonly run: (rt: Runtime, args: Args) => Value,
    readonly typeName = 'function',
  ) {
    super();
  }
  override repr(): string {
    return this.typeName === 'Macro' ? `<Macro '${this.name}'>` : `<${this.typeName} ${this.name}>`;
  }
  override get truth(): boolean {
    return true;
  }
}

/**
 * A parameter: its name, and its default where it has one. A name with "/" before is by position
 * only.
 */
export type Param = string | readonly [string, Value];

/** A function with Python's rules for arguments; HTML comes as plain text. */
export function builtin(
  name: string,
  params: readonly Param[],
  run: (rt: Runtime, ...values: Value[]) => Value,
): Callable {
  const names = params.map((param) => (typeof param === 'string' ? param : param[0]));
  return new Callable(name, (rt, { positional, named }) => {
    if (positional.length > params.length)
      throw typeError(
        `${name}() takes ${params.length} arguments, ${positional.length} were given`,
      );
    for (const key of named.keys())
      if (names.indexOf(key) < positional.length)
        throw typeError(`${name}() got an unexpected keyword argument '${key}'`);
    const values = params.map((param, i) => {
      if (i < positional.length) return plain(positional[i]!);
      if (named.has(names[i]!)) return plain(named.get(names[i]!)!);
      if (typeof param === 'string')
        throw typeError(`${name}() missing the argument '${names[i]!.replace('/', '')}'`);
      return param[1];
    });
    return run(rt, ...values);
  });
}

export function typeName(value: Value): string {
  if (value === null) return 'NoneType';
  if (typeof value === 'object')
    return Array.isArray(value) ? 'list' : (value as PyObject).typeName;
  return { boolean: 'bool', bigint: 'int', number: 'float', string: 'str' }[
    typeof value as 'boolean' | 'bigint' | 'number' | 'string'
  ];
}

/** bool counts as int, as in Python; null for what is no number. */
export function asNumber(value: Value): bigint | number | null {
  if (typeof value === 'boolean') return value ? 1n : 0n;
  return typeof value === 'bigint' || typeof value === 'number' ? value : null;
}

export const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

export function truth(value: Value): boolean {
  if (value instanceof PyObject) return value.truth;
  if (isList(value)) return value.length > 0;
  return typeof value === 'number' ? value !== 0 : Boolean(value); // NaN is true in Python
}
