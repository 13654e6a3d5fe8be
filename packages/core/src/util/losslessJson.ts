/**
 * JSON that keeps what `JSON.parse` loses: how numbers are spelt (`50.0`, `1e-05`, `-0.0`, integers
 * above 2^53) and the order of keys that look like numbers.
 */

/** A number as it stands in the file. */
export class JsonNumber {
  constructor(
    /** Its spelling, e.g. "50.0". */
    readonly text: string,
  ) {}

  /** The nearest float64. */
  get value(): number {
    return Number(this.text);
  }

  /** Whether Python reads an int: neither a fraction nor an exponent. */
  get isInteger(): boolean {
    return /^-?\d+$/.test(this.text);
  }
}

/** Objects are Maps in the order of the file. */
export type JsonValue =
  | null
  | boolean
  | string
  | JsonNumber
  | readonly JsonValue[]
  | ReadonlyMap<string, JsonValue>;

/** Options of {@link parseJson}. */
export interface ParseJsonOptions {
  /**
   * Lists and objects within one another. Default 256; the call stack ends somewhere above 1,000.
   */
  readonly maxDepth?: number;
  /** Accept NaN, Infinity and -Infinity, which Python reads and writes. Default false. */
  readonly nonFinite?: boolean;
  /**
   * A key twice in one object: the last counts, as in Python and in JSON.parse, or an error.
   * Default "last".
   */
  readonly duplicateKeys?: 'last' | 'refuse';
  /**
   * A key `__proto__`, which an assignment takes for something else: kept as it is, or an error.
   * Default "keep".
   */
  readonly protoKey?: 'keep' | 'refuse';
  /**
   * A number like 1e400, of which Python and JSON.parse make infinity: kept as it is, or an error.
   * Default "keep".
   */
  readonly overflow?: 'keep' | 'refuse';
  /**
   * Values in all, lists and objects among them: memory for a value is many times its text. Default
   * 2^24.
   */
  readonly maxValues?: number;
}

/**
 * For files of others whose values come to be plain ones: what would be lost or taken for something
 * else is refused.
 */
export const strictJson = {
  duplicateKeys: 'refuse',
  protoKey: 'refuse',
  overflow: 'refuse',
} as const satisfies ParseJsonOptions;

/** Reads JSON, losing nothing but white space. @throws SyntaxError with line and column */
export function parseJson(text: string, options: ParseJsonOptions = {}): JsonValue {
  return new Parser(text, options).document();
}

/** The same as JSON.parse gives: plain objects, lists and numbers. */
export function plainJson(value: JsonValue): unknown {
  if (value instanceof JsonNumber) return value.value;
  if (Array.isArray(value)) return value.map(plainJson);
  if (!(value instanceof Map)) return value;
  const object: Record<string, unknown> = {};
  // An assignment to `__proto__` would not make a key.
  for (const [key, item] of value as ReadonlyMap<string, JsonValue>)
    Object.defineProperty(object, key, {
      value: plainJson(item),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return object;
}

const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const words: readonly (readonly [string, JsonValue])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];
const nonFinite = ['NaN', 'Infinity', '-Infinity'];

class Parser {
  #at = 0;
  #depth = 0;
  readonly #maxDepth: number;
  readonly #nonFinite: boolean;
  readonly #refuseDuplicates: boolean;
  readonly #refuseProto: boolean;
  readonly #refuseOverflow: boolean;
  #valuesLeft: number;

  constructor(
    private readonly text: string,
    {
      maxDepth = 256,
      nonFinite = false,
      duplicateKeys = 'last',
      protoKey = 'keep',
      overflow = 'keep',
      maxValues = 2 ** 24,
    }: ParseJsonOptions,
  ) {
    this.#refuseProto = protoKey === 'refuse';
    this.#refuseOverflow = overflow === 'refuse';
    this.#valuesLeft = maxValues;
    this.#maxDepth = maxDepth;
    this.#nonFinite = nonFinite;
    this.#refuseDuplicates = duplicateKeys === 'refuse';
  }

  document(): JsonValue {
    const value = this.#value();
    this.#space();
    if (this.#at < this.text.length) throw this.#error(`${this.#found()} after the end`);
    return value;
  }

  #value(): JsonValue {
    this.#space();
    if (--this.#valuesLeft < 0) throw this.#error('more values than are accepted');
    switch (this.text[this.#at]) {
      case '{':
        return this.#nested(() => this.#object());
      case '[':
        return this.#nested(() => this.#list());
      case '"':
        return this.#string();
      default:
        return this.#scalar();
    }
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > this.#maxDepth)
      throw this.#error(`lists and objects are nested more than ${this.#maxDepth} deep`);
    this.#at++;
    const value = read();
    this.#depth--;
    return value;
  }

  #object(): ReadonlyMap<string, JsonValue> {
    const object = new Map<string, JsonValue>();
    if (this.#ends('}')) return object;
    do {
      this.#space();
      if (this.text[this.#at] !== '"')
        throw this.#error(`${this.#found()} where a key should begin`);
      const begin = this.#at;
      const key = this.#string();
      if (this.#refuseDuplicates && object.has(key)) {
        this.#at = begin;
        throw this.#error(`the key ${JSON.stringify(key)} is there twice`);
      }
      if (this.#refuseProto && key === '__proto__') {
        this.#at = begin;
        throw this.#error('a key may not be named "__proto__"');
      }
      this.#space();
      if (this.text[this.#at] !== ':') throw this.#error(`${this.#found()} where ":" should be`);
      this.#at++;
      object.set(key, this.#value());
    } while (this.#goesOn('}'));
    return object;
  }

  #list(): readonly JsonValue[] {
    const list: JsonValue[] = [];
    if (this.#ends(']')) return list;
    do list.push(this.#value());
    while (this.#goesOn(']'));
    return list;
  }

  #ends(close: string): boolean {
    this.#space();
    if (this.text[this.#at] !== close) return false;
    this.#at++;
    return true;
  }

  /** Whether another item follows. */
  #goesOn(close: string): boolean {
    if (this.#ends(close)) return false;
    if (this.text[this.#at] !== ',')
      throw this.#error(`${this.#found()} where "," or "${close}" should be`);
    this.#at++;
    return true;
  }

  #string(): string {
    const { text } = this;
    const begin = this.#at;
    let escaped = false;
    for (let at = begin + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === 0x22) {
        this.#at = at + 1;
        return escaped ? this.#unescaped(begin) : text.slice(begin + 1, at);
      }
      if (code === 0x5c) {
        escaped = true;
        at++;
      } else if (code < 0x20) {
        this.#at = at;
        throw this.#error('a control character within a text');
      }
    }
    throw this.#error('a text that does not end');
  }

  #unescaped(begin: number): string {
    try {
      return JSON.parse(this.text.slice(begin, this.#at)) as string;
    } catch {
      this.#at = begin;
      throw this.#error('a text with a "\\" that means nothing');
    }
  }

  #scalar(): JsonValue {
    number.lastIndex = this.#at;
    const [spelling] = number.exec(this.text) ?? [];
    if (spelling !== undefined) {
      if (this.#refuseOverflow && !Number.isFinite(Number(spelling)))
        throw this.#error(`the number ${spelling.slice(0, 20)} is beyond float64`);
      this.#at += spelling.length;
      return new JsonNumber(spelling);
    }
    for (const [word, value] of words) if (this.#skips(word)) return value;
    if (this.#nonFinite)
      for (const word of nonFinite) if (this.#skips(word)) return new JsonNumber(word);
    throw this.#error(`${this.#found()} where a value should be`);
  }

  #skips(word: string): boolean {
    if (!this.text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  #space(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #found(): string {
    const found = this.text.codePointAt(this.#at);
    return found === undefined ? 'nothing' : JSON.stringify(String.fromCodePoint(found));
  }

  #error(problem: string): SyntaxError {
    const before = this.text.slice(0, this.#at).split('\n');
    return new SyntaxError(
      `${problem}, at line ${before.length}, column ${before.at(-1)!.length + 1}`,
    );
  }
}
