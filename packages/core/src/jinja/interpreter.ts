import type {
  Body,
  CallArgs,
  Expression,
  FilterCall,
  Signature,
  Slice,
  Statement,
  Target,
} from './ast.js';
import { getAttribute, getItem } from './attributes.js';
import { type Budget, JinjaError, MAX_DEPTH, typeError, valueError } from './errors.js';
import { filters } from './filters.js';
import { globals } from './globals.js';
import { LoopContext } from './loop.js';
import { binary, compare, iterate, negate, sliceOf, toArray } from './operators.js';
import type { ParsedTemplate } from './parser.js';
import { str } from './show.js';
import { tests } from './tests.js';
import {
  type Args,
  Callable,
  Dict,
  Markup,
  Namespace,
  PyObject,
  type Runtime,
  Tuple,
  truth,
  typeName,
  Undefined,
  type Value,
} from './values.js';

/** Names within one body; what is not here is looked for around it. */
class Scope {
  readonly names = new Map<string, Value>();
  constructor(readonly outer: Scope | null) {}

  find(name: string): Value | undefined {
    for (let scope: Scope | null = this; scope; scope = scope.outer) {
      const value = scope.names.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

/** `self`: the template's blocks, to be written once more. */
class TemplateReference extends PyObject {
  readonly typeName = 'TemplateReference';
  constructor(private readonly blocks: ReadonlyMap<string, Callable>) {
    super();
  }
  override get truth(): boolean {
    return true;
  }
  override attribute(name: string): Value | undefined {
    return this.blocks.get(name);
  }
  override repr(): string {
    return '<TemplateReference None>';
  }
}

/** How a body ended: at its end, or by a tag that belongs to a loop around it. */
type Flow = 'break' | 'continue' | undefined;

/** Where text goes. `spans` are kept of the template's own output, not of a macro's. */
interface Output {
  readonly parts: string[];
  length: number;
}

/** [start, end) in the text that was written. */
export type WrittenSpan = readonly [start: number, end: number];

/** Renders one template once. */
export class Interpreter implements Runtime {
  /** What `{% generation %}` blocks wrote, in order. */
  readonly spans: WrittenSpan[] = [];
  /** Line of the statement or call that runs. */
  line = 1;
  #depth = 0;
  /** Within `{% autoescape true %}`. */
  #escapes = false;
  #out: Output = { parts: [], length: 0 };
  readonly #main = this.#out;

  /** @param marks texts that are written around what `{% generation %}` writes */
  constructor(
    readonly budget: Budget,
    readonly now: () => Date,
    private readonly marks: readonly [string, string] | null,
  ) {}

  render({ body, blocks }: ParsedTemplate, variables: ReadonlyMap<string, Value>): string {
    const root = new Scope(null);
    for (const [name, value] of [...globals, ...variables]) root.names.set(name, value);
    const top = new Scope(root);
    const self = [...blocks].map(([name, block]): readonly [string, Callable] => [
      name,
      new Callable(name, () => this.#capture(block, new Scope(top)).text, 'BlockReference'),
    ]);
    root.names.set('self', new TemplateReference(new Map(self)));
    this.#run(body, top);
    return this.#out.parts.join('');
  }

  // Runtime

  call(callee: Value, args: Args): Value {
    if (callee instanceof Callable) return callee.run(this, args);
    if (callee instanceof Undefined) return callee.fail();
    if (callee instanceof LoopContext) return callee.recurse(args);
    throw typeError(`'${typeName(callee)}' object is not callable`);
  }

  attribute(of: Value, name: string): Value {
    return getAttribute(of, name, this.budget);
  }

  item(of: Value, key: Value): Value {
    return getItem(of, key, this.budget);
  }

  filter(name: string, value: Value, { positional, named }: Args): Value {
    const filter = filters.get(name);
    if (!filter) throw new JinjaError('TemplateRuntimeError', `no filter named "${name}"`);
    return filter.run(this, { positional: [value, ...positional], named });
  }

  test(name: string, value: Value, { positional, named }: Args): boolean {
    const test = tests.get(name);
    if (!test) throw new JinjaError('TemplateRuntimeError', `no test named "${name}"`);
    return truth(test.run(this, { positional: [value, ...positional], named }));
  }

  // Statements

  #write(text: string): void {
    if (text === '') return;
    const out = this.#out;
    out.length += text.length;
    this.budget.spendText(out.length === text.length ? text.length : 1);
    this.budget.spend(text.length / 64);
    out.parts.push(text);
    if (out.length > 2 ** 27)
      throw new JinjaError('LimitError', 'it makes a text that is too long');
  }

  readonly #str = (value: Value): string => str(value, this.budget);

  #print(value: Value): void {
    this.#write(this.#escapes ? Markup.from(value, this.#str).text : this.#str(value));
  }

  /** What a body writes, and how it ended. */
  #capture(body: Body, scope: Scope): { text: string; flow: Flow } {
    const outer = this.#out;
    this.#out = { parts: [], length: 0 };
    try {
      const flow = this.#run(body, scope);
      return { text: this.#out.parts.join(''), flow };
    } finally {
      this.#out = outer;
    }
  }

  #run(body: Body, scope: Scope): Flow {
    for (const statement of body) {
      this.line = statement.line;
      const flow = this.#statement(statement, scope);
      if (flow !== undefined) return flow;
    }
    return undefined;
  }

  #statement(statement: Statement, scope: Scope): Flow {
    this.budget.spend(1);
    switch (statement.kind) {
      case 'text':
        this.#write(statement.text);
        return;
      case 'print':
        this.#print(this.#value(statement.value, scope));
        return;
      case 'set':
        this.#checkTarget(statement.target, scope);
        this.#assign(statement.target, this.#value(statement.value, scope), scope);
        return;
      case 'setBlock': {
        const { text, flow } = this.#capture(statement.body, new Scope(scope));
        if (flow !== undefined) return flow;
        const { filter, target } = statement;
        this.#assign(target, filter ? this.#filtered(filter, text, scope) : text, scope);
        return;
      }
      case 'if': {
        for (const [test, body] of statement.branches)
          if (truth(this.#value(test, scope))) return this.#run(body, scope);
        return this.#run(statement.otherwise, scope);
      }
      case 'for':
        return this.#for(statement, scope);
      case 'macro':
        scope.names.set(statement.name, this.#macro(statement.name, statement, scope));
        return;
      case 'callBlock': {
        const { call } = statement;
        const args = this.#args(call.args, scope);
        const caller = this.#macro('caller', statement, scope);
        const named = new Map([...args.named, ['caller', caller]]);
        const value = this.call(this.#value(call.of, scope), { ...args, named });
        this.#write(this.#str(value));
        return;
      }
      case 'filterBlock': {
        const { text, flow } = this.#capture(statement.body, new Scope(scope));
        if (flow !== undefined) return flow;
        this.#write(this.#str(this.#filtered(statement.filter, text, scope)));
        return;
      }
      case 'with': {
        const inner = new Scope(scope);
        const values = statement.targets.map(([, value]) => this.#value(value, scope));
        for (const [i, [target]] of statement.targets.entries())
          this.#assign(target, values[i]!, inner);
        return this.#run(statement.body, inner);
      }
      case 'block':
        return this.#run(statement.body, new Scope(scope));
      case 'generation':
        this.#generation(statement.body, scope);
        return;
      case 'autoescape': {
        const before = this.#escapes;
        this.#escapes = truth(this.#value(statement.on, scope));
        const flow = this.#run(statement.body, new Scope(scope));
        this.#escapes = before;
        return flow;
      }
      case 'otherFile':
        throw typeError(`"${statement.tag}" names another template, and a chat template is alone`);
      default:
        return statement.kind;
    }
  }

  #generation(body: Body, scope: Scope): void {
    const [open, close] = this.marks ?? ['', ''];
    const { text } = this.#capture(body, new Scope(scope));
    if (this.#out === this.#main)
      this.spans.push([this.#out.length, this.#out.length + text.length]);
    this.#write(open + text + close);
  }

  #for(statement: Statement & { kind: 'for' }, scope: Scope): Flow {
    const items = this.#value(statement.items, scope);
    if (!statement.recursive) return this.#loop(statement, items, scope, 0, null);
    const recurse = (children: Value, depth: number): string => {
      this.#enter();
      const outer = this.#out;
      this.#out = { parts: [], length: 0 };
      try {
        this.#loop(statement, children, scope, depth, recurse);
        return this.#out.parts.join('');
      } finally {
        this.#out = outer;
        this.#depth--;
      }
    };
    this.#write(recurse(items, 0));
    return undefined;
  }

  #loop(
    statement: Statement & { kind: 'for' },
    items: Value,
    scope: Scope,
    depth: number,
    recurse: ((items: Value, depth: number) => string) | null,
  ): Flow {
    const { target, test, body } = statement;
    const chosen = test ? this.#chosen(statement, items, scope) : iterate(items, this.budget);
    const loop = new LoopContext(chosen, test ? null : items, depth, recurse);
    let empty = true;
    for (const item of loop.run()) {
      this.budget.spend(3); // a round costs more than a value
      const inner = new Scope(scope);
      inner.names.set('loop', loop);
      this.#assign(target, item, inner);
      const flow = this.#run(body, inner);
      if (flow === 'break') break;
      // In Jinja a round that did not reach its end does not count: `else` may follow a `break`.
      if (flow === undefined) empty = false;
    }
    return empty ? this.#run(statement.otherwise, new Scope(scope)) : undefined;
  }

  *#chosen(statement: Statement & { kind: 'for' }, items: Value, scope: Scope): Iterable<Value> {
    for (const item of iterate(items, this.budget)) {
      const inner = new Scope(scope);
      this.#assign(statement.target, item, inner);
      if (truth(this.#value(statement.test!, inner))) yield item;
    }
  }

  #enter(): void {
    if (++this.#depth > MAX_DEPTH)
      throw new JinjaError('LimitError', `macros call one another more than ${MAX_DEPTH} deep`);
  }

  #macro(
    name: string,
    { signature, body }: { readonly signature: Signature; readonly body: Body },
    scope: Scope,
  ): Callable {
    return new Callable(
      name,
      (_, args) => {
        const inner = new Scope(scope);
        this.#enter();
        const { line } = this;
        this.#bind(name, signature, args, inner);
        const { text } = this.#capture(body, inner);
        this.line = line;
        this.#depth--;
        return text;
      },
      'Macro',
    );
  }

  /** Arguments of a macro to its names; defaults are computed at each call. */
  #bind(macro: string, signature: Signature, { positional, named }: Args, inner: Scope): void {
    const { names, defaults, uses } = signature;
    const rest = new Map(named);
    for (const [i, name] of names.entries()) {
      let value = positional[i];
      if (value === undefined && rest.has(name)) {
        value = rest.get(name)!;
        rest.delete(name);
      }
      const otherwise = defaults[i - (names.length - defaults.length)];
      if (value === undefined)
        value = otherwise
          ? this.#value(otherwise, inner)
          : new Undefined(`parameter '${name}' was not provided`);
      inner.names.set(name, value);
    }
    if (uses.has('caller') && !names.includes('caller')) {
      inner.names.set('caller', rest.get('caller') ?? new Undefined('No caller defined'));
      rest.delete('caller');
    }
    if (uses.has('kwargs')) inner.names.set('kwargs', Dict.of(rest));
    else
      for (const name of rest.keys())
        throw typeError(`macro '${macro}' takes no keyword argument '${name}'`);
    if (uses.has('varargs')) inner.names.set('varargs', new Tuple(positional.slice(names.length)));
    else if (positional.length > names.length)
      throw typeError(`macro '${macro}' takes not more than ${names.length} argument(s)`);
  }

  /** Jinja looks at namespaces before it computes the value. */
  #checkTarget(target: Target, scope: Scope): void {
    if (target.kind === 'namespace' && !(scope.find(target.name) instanceof Namespace))
      throw new JinjaError(
        'TemplateRuntimeError',
        `cannot assign the attribute "${target.attribute}": "${target.name}" is no namespace`,
      );
    if (target.kind === 'targets') for (const item of target.items) this.#checkTarget(item, scope);
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    if (target.kind === 'name') scope.names.set(target.name, value);
    else if (target.kind === 'namespace') {
      this.#checkTarget(target, scope);
      (scope.find(target.name) as Namespace).assign(target.attribute, value);
    } else {
      const values = toArray(value, this.budget);
      const { items } = target;
      if (values.length !== items.length)
        throw valueError(`${values.length} values to unpack into ${items.length} names`);
      for (const [i, item] of items.entries()) this.#assign(item, values[i]!, scope);
    }
  }

  // Expressions

  #value(expression: Expression, scope: Scope): Value {
    this.budget.spend(1);
    switch (expression.kind) {
      case 'constant':
        return expression.value;
      case 'name':
        return this.#named(expression.name, scope);
      case 'list':
        return expression.items.map((item) => this.#value(item, scope));
      case 'tuple':
        return new Tuple(expression.items.map((item) => this.#value(item, scope)));
      case 'dict':
        return Dict.of(
          expression.pairs.map(([key, value]) => [
            this.#value(key, scope),
            this.#value(value, scope),
          ]),
        );
      case 'attribute':
        return getAttribute(this.#value(expression.of, scope), expression.name, this.budget);
      case 'item':
        return this.#item(this.#value(expression.of, scope), expression.index, scope);
      case 'call': {
        const callee = this.#value(expression.of, scope);
        const args = this.#args(expression.args, scope);
        this.line = expression.line;
        return this.call(callee, args);
      }
      case 'filter':
        return this.#filtered(expression, this.#value(expression.of!, scope), scope);
      case 'test': {
        const value = this.#value(expression.of, scope);
        return this.test(expression.name, value, this.#args(expression.args, scope));
      }
      case 'not':
        return !truth(this.#value(expression.of, scope));
      case 'negative':
        return negate(this.#value(expression.of, scope), -1);
      case 'positive':
        return negate(this.#value(expression.of, scope), 1);
      case 'and':
      case 'or': {
        const left = this.#value(expression.left, scope);
        return truth(left) === (expression.kind === 'or')
          ? left
          : this.#value(expression.right, scope);
      }
      case 'compare': {
        let left = this.#value(expression.first, scope);
        for (const [operator, operand] of expression.rest) {
          const right = this.#value(operand, scope);
          if (!compare(operator, left, right, this.budget)) return false;
          left = right;
        }
        return true;
      }
      case 'binary': {
        const left = this.#value(expression.left, scope);
        return binary(expression.operator, left, this.#value(expression.right, scope), this.budget);
      }
      case 'concat': {
        const parts = expression.items.map((item) => this.#str(this.#value(item, scope)));
        this.budget.spendText(parts.reduce((sum, part) => sum + part.length, 0));
        return parts.join('');
      }
      case 'conditional':
        if (truth(this.#value(expression.test, scope))) return this.#value(expression.value, scope);
        if (expression.otherwise) return this.#value(expression.otherwise, scope);
        return new Undefined('the inline if-expression evaluated to false and no else was given');
    }
  }

  #named(name: string, scope: Scope): Value {
    const value = scope.find(name);
    return value === undefined ? new Undefined(`'${name}' is undefined`) : value;
  }

  #item(of: Value, index: Expression | Slice, scope: Scope): Value {
    if (index.kind !== 'slice') return getItem(of, this.#value(index, scope), this.budget);
    const bounds = index.bounds.map((bound) => (bound ? this.#value(bound, scope) : null));
    if (of instanceof Undefined) of.fail();
    return sliceOf(of, bounds, this.budget);
  }

  #filtered(filter: FilterCall, text: Value, scope: Scope): Value {
    // A block's filters begin with its text: of is null at the innermost.
    const value =
      filter.of?.kind === 'filter' && hasNoSource(filter.of)
        ? this.#filtered(filter.of, text, scope)
        : text;
    const args = this.#args(filter.args, scope);
    this.line = filter.line;
    return this.filter(filter.name, value, args);
  }

  #args(args: CallArgs, scope: Scope): Args {
    const positional = args.positional.map((arg) => this.#value(arg, scope));
    const named = new Map(args.named.map(([name, arg]) => [name, this.#value(arg, scope)]));
    if (args.list) positional.push(...iterate(this.#value(args.list, scope), this.budget));
    if (args.dict) {
      const more = this.#value(args.dict, scope);
      if (!(more instanceof Dict)) throw typeError('what follows ** is to be a mapping');
      for (const [name, value] of more.entries()) {
        if (typeof name !== 'string') throw typeError('keywords must be strings');
        if (named.has(name)) throw typeError(`got multiple values for keyword argument '${name}'`);
        named.set(name, value);
      }
    }
    return { positional, named };
  }
}

/** Whether a chain of filters filters a block's text. */
function hasNoSource({ of }: FilterCall): boolean {
  return of === null || (of.kind === 'filter' && hasNoSource(of));
}
