import type { CallArgs, Expression, FilterCall, Slice, Target } from './ast.js';
import { JinjaError } from './errors.js';
import type { Token, TokenType } from './lexer.js';

/** Names whose reading in a macro changes what the macro takes. */
const special = ['caller', 'varargs', 'kwargs'];

/** Jinja's grammar of expressions, by recursive descent. Each method reads what its name says. */
export class ExpressionParser {
  protected at = 0;
  /** Which special names the macros around read. */
  protected readonly reads: Set<string>[] = [];
  /** Filters and tests that do not exist, where nothing around says that they may never run. */
  protected readonly unknown: JinjaError[] = [];
  /** Loops around: none of them lets its `loop` be set. */
  protected inLoop = 0;
  /** Whether unknown filters and tests wait for run time: within an `if`, as in Jinja. */
  protected soft = false;

  constructor(
    protected readonly tokens: readonly Token[],
    private readonly known: { readonly filters: Has; readonly tests: Has },
  ) {}

  protected get current(): Token {
    return this.tokens[this.at]!;
  }

  protected fail(message: string, line = this.current.line): never {
    throw this.#error(message, line);
  }

  #error(message: string, line: number): JinjaError {
    const error = new JinjaError('TemplateSyntaxError', message);
    error.line = line;
    return error;
  }

  protected next(): Token {
    return this.tokens[this.at++]!;
  }

  protected is(type: TokenType, ...values: readonly string[]): boolean {
    const { type: found, value } = this.current;
    return found === type && (values.length === 0 || values.includes(value));
  }

  protected skip(type: TokenType, value: string): boolean {
    if (!this.is(type, value)) return false;
    this.at++;
    return true;
  }

  protected expect(type: TokenType, value?: string): Token {
    if (this.is(type, ...(value === undefined ? [] : [value]))) return this.next();
    return this.fail(`expected ${value ?? type}, found ${this.found()}`);
  }

  protected found(): string {
    const { type, value } = this.current;
    return type === 'end' ? 'the end of the template' : JSON.stringify(value);
  }

  expression(): Expression {
    let { line } = this.current;
    const known = this.unknown.length;
    let value = this.or();
    while (this.is('name', 'if')) {
      const before = this.soft;
      this.soft = true;
      this.unknown.length = known;
      this.next();
      const test = this.or();
      const otherwise = this.skip('name', 'else') ? this.expression() : null;
      this.soft = before;
      value = { kind: 'conditional', test, value, otherwise, line };
      line = this.current.line;
    }
    return value;
  }

  protected or(): Expression {
    return this.#logical('or', () => this.#logical('and', () => this.#not()));
  }

  #logical(kind: 'and' | 'or', operand: () => Expression): Expression {
    const { line } = this.current;
    let left = operand();
    while (this.skip('name', kind)) left = { kind, left, right: operand(), line };
    return left;
  }

  #not(): Expression {
    const { line } = this.current;
    return this.skip('name', 'not') ? { kind: 'not', of: this.#not(), line } : this.#compare();
  }

  #compare(): Expression {
    const { line } = this.current;
    const first = this.#sum();
    const rest: [string, Expression][] = [];
    for (;;) {
      if (this.is('operator', '==', '!=', '<', '<=', '>', '>='))
        rest.push([this.next().value, this.#sum()]);
      else if (this.skip('name', 'in')) rest.push(['in', this.#sum()]);
      else if (this.is('name', 'not') && this.tokens[this.at + 1]!.value === 'in') {
        this.at += 2;
        rest.push(['not in', this.#sum()]);
      } else break;
    }
    return rest.length === 0 ? first : { kind: 'compare', first, rest, line };
  }

  #binary(operators: readonly string[], operand: () => Expression): Expression {
    const { line } = this.current;
    let left = operand();
    while (this.is('operator', ...operators))
      left = { kind: 'binary', operator: this.next().value, left, right: operand(), line };
    return left;
  }

  #sum(): Expression {
    return this.#binary(['+', '-'], () => this.#concat());
  }

  #concat(): Expression {
    const { line } = this.current;
    const product = () =>
      this.#binary(['*', '/', '//', '%'], () => this.#binary(['**'], () => this.#unary()));
    const items = [product()];
    while (this.skip('operator', '~')) items.push(product());
    return items.length === 1 ? items[0]! : { kind: 'concat', items, line };
  }

  #unary(withFilter = true): Expression {
    const { line } = this.current;
    let value: Expression;
    if (this.skip('operator', '-')) value = { kind: 'negative', of: this.#unary(false), line };
    else if (this.skip('operator', '+')) value = { kind: 'positive', of: this.#unary(false), line };
    else value = this.#primary();
    value = this.postfix(value);
    return withFilter ? this.#filtered(value) : value;
  }

  #primary(): Expression {
    const token = this.next();
    const { type, value, line } = token;
    const constant = (of: string | bigint | number | boolean | null): Expression => ({
      kind: 'constant',
      value: of,
      line,
    });
    switch (type) {
      case 'name':
        if (/^[tT]rue$|^[fF]alse$/.test(value)) return constant(/^t/i.test(value));
        if (/^[nN]one$/.test(value)) return constant(null);
        if (special.includes(value)) for (const names of this.reads) names.add(value);
        return { kind: 'name', name: value, line };
      case 'string': {
        let text = value;
        while (this.is('string')) text += this.next().value;
        return constant(text);
      }
      case 'integer':
        return constant(BigInt(value.replaceAll('_', '')));
      case 'float':
        return constant(Number(value.replaceAll('_', '')));
      case 'operator':
        if (value === '(') {
          const inside = this.tuple({ empty: true });
          this.expect('operator', ')');
          return inside;
        }
        if (value === '[') return { kind: 'list', items: this.#items(), line };
        if (value === '{') return this.#dict(line);
    }
    this.at--;
    return this.fail(`unexpected ${this.found()}`);
  }

  #items(): Expression[] {
    const items: Expression[] = [];
    while (!this.skip('operator', ']')) {
      if (items.length > 0) this.expect('operator', ',');
      if (this.skip('operator', ']')) break;
      items.push(this.expression());
    }
    return items;
  }

  #dict(line: number): Expression {
    const pairs: [Expression, Expression][] = [];
    while (!this.skip('operator', '}')) {
      if (pairs.length > 0) this.expect('operator', ',');
      if (this.skip('operator', '}')) break;
      const key = this.expression();
      this.expect('operator', ':');
      pairs.push([key, this.expression()]);
    }
    return { kind: 'dict', pairs, line };
  }

  /** Expressions with commas between are a tuple. @param empty whether none is one, too */
  tuple(options: { empty?: boolean; conditional?: boolean; end?: string } = {}): Expression {
    const { empty = false, conditional = true, end } = options;
    let { line } = this.current;
    const items: Expression[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expect('operator', ',');
      if (this.is('variableEnd') || this.is('blockEnd') || this.is('operator', ')')) break;
      if (end !== undefined && this.is('name', end)) break;
      items.push(conditional ? this.expression() : this.or());
      if (!this.is('operator', ',')) break;
      isTuple = true;
      line = this.current.line;
    }
    if (!isTuple && items.length === 1) return items[0]!;
    if (!isTuple && !empty) this.fail(`expected an expression, found ${this.found()}`);
    return { kind: 'tuple', items, line };
  }

  protected postfix(value: Expression): Expression {
    let of = value;
    for (;;) {
      const { line } = this.current;
      if (this.skip('operator', '.')) {
        const name = this.next();
        if (name.type === 'name') of = { kind: 'attribute', of, name: name.value, line };
        else if (name.type === 'integer') {
          const index: Expression = { kind: 'constant', value: BigInt(name.value), line };
          of = { kind: 'item', of, index, line };
        } else this.fail('expected a name or a number after "."', name.line);
      } else if (this.skip('operator', '['))
        of = { kind: 'item', of, index: this.#subscript(), line };
      else if (this.is('operator', '(')) of = { kind: 'call', of, args: this.callArgs(), line };
      else return of;
    }
  }

  #subscript(): Expression | Slice {
    const items: (Expression | Slice)[] = [];
    const { line } = this.current;
    while (!this.skip('operator', ']')) {
      if (items.length > 0) this.expect('operator', ',');
      items.push(this.#indexOrSlice());
    }
    if (items.length === 1) return items[0]!;
    // Nothing that a template holds has an item of several indices.
    return { kind: 'tuple', items: items.filter((i): i is Expression => i.kind !== 'slice'), line };
  }

  #indexOrSlice(): Expression | Slice {
    const atEnd = () => this.is('operator', ']', ',');
    const start = this.is('operator', ':') ? null : this.expression();
    if (!this.skip('operator', ':')) return start!;
    const stop = this.is('operator', ':') || atEnd() ? null : this.expression();
    const step = this.skip('operator', ':') && !atEnd() ? this.expression() : null;
    return { kind: 'slice', bounds: [start, stop, step] };
  }

  #filtered(value: Expression): Expression {
    let of = value;
    for (;;) {
      const { line } = this.current;
      if (this.is('operator', '|')) of = this.filters(of)!;
      else if (this.is('name', 'is')) of = this.#test(of);
      else if (this.is('operator', '(')) of = { kind: 'call', of, args: this.callArgs(), line };
      else return of;
    }
  }

  /** `|name(...)|name`. @param inline the first without its "|" */
  protected filters(value: Expression | null, inline = false): FilterCall | null {
    let of = value;
    for (let first = inline; first || this.is('operator', '|'); first = false) {
      if (!first) this.next();
      const { line } = this.current;
      const name = this.#dottedName();
      this.#check('filter', name, line);
      const args = this.is('operator', '(') ? this.callArgs() : noArgs;
      of = { kind: 'filter', of, name, args, line };
    }
    return of as FilterCall | null;
  }

  #dottedName(): string {
    let name = this.expect('name').value;
    while (this.skip('operator', '.')) name += `.${this.expect('name').value}`;
    return name;
  }

  #check(what: 'filter' | 'test', name: string, line: number): void {
    if (this.soft || this.known[`${what}s`].has(name)) return;
    this.unknown.push(this.#error(`no ${what} named "${name}"`, line));
  }

  #test(of: Expression): Expression {
    const { line } = this.next();
    const negated = this.skip('name', 'not');
    const name = this.#dottedName();
    this.#check('test', name, line);
    let args = noArgs;
    if (this.is('operator', '(')) args = this.callArgs();
    else if (this.#startsArgument()) {
      if (this.is('name', 'is')) this.fail('tests cannot be chained with "is"');
      args = { ...noArgs, positional: [this.postfix(this.#primary())] };
    }
    const test: Expression = { kind: 'test', of, name, args, line };
    return negated ? { kind: 'not', of: test, line } : test;
  }

  #startsArgument(): boolean {
    if (this.is('name')) return !this.is('name', 'else', 'or', 'and');
    return (
      this.is('string') || this.is('integer') || this.is('float') || this.is('operator', '[', '{')
    );
  }

  protected callArgs(): CallArgs {
    const { line } = this.expect('operator', '(');
    const positional: Expression[] = [];
    const named: [string, Expression][] = [];
    let list: Expression | null = null;
    let dict: Expression | null = null;
    const ensure = (valid: boolean) => valid || this.fail('invalid arguments of a call', line);
    for (let first = true; !this.skip('operator', ')'); first = false) {
      if (!first) {
        this.expect('operator', ',');
        if (this.skip('operator', ')')) break;
      }
      if (this.skip('operator', '*')) {
        ensure(!list && !dict);
        list = this.expression();
      } else if (this.skip('operator', '**')) {
        ensure(!dict);
        dict = this.expression();
      } else if (this.is('name') && this.tokens[this.at + 1]!.value === '=') {
        ensure(!dict);
        const name = this.next().value;
        this.next();
        if (named.some(([other]) => other === name)) this.fail(`"${name}" is given twice`);
        named.push([name, this.expression()]);
      } else {
        ensure(!list && !dict && named.length === 0);
        positional.push(this.expression());
      }
    }
    return { positional, named, list, dict };
  }

  /** What `set`, `for` and `with` assign to. */
  protected target(options: { namespace?: boolean; end?: string } = {}): Target {
    const items: Target[] = [];
    let isTuple = false;
    for (;;) {
      if (items.length > 0) this.expect('operator', ',');
      if (this.is('blockEnd') || (options.end !== undefined && this.is('name', options.end))) break;
      if (this.skip('operator', '(')) {
        items.push(this.target(options));
        this.expect('operator', ')');
      } else items.push(this.#targetName(options.namespace ?? false));
      if (!this.is('operator', ',')) break;
      isTuple = true;
    }
    if (items.length === 0) this.fail(`expected a name, found ${this.found()}`);
    return isTuple ? { kind: 'targets', items } : items[0]!;
  }

  #targetName(namespace: boolean): Target {
    const { value: name, line } = this.expect('name');
    if (/^([tT]rue|[fF]alse|[nN]one)$/.test(name)) this.fail(`cannot assign to ${name}`, line);
    if (name === 'loop' && this.inLoop > 0) this.fail('cannot assign to loop within a loop', line);
    if (!namespace || !this.skip('operator', '.')) return { kind: 'name', name };
    for (const names of this.reads) if (special.includes(name)) names.add(name);
    return { kind: 'namespace', name, attribute: this.expect('name').value };
  }
}

interface Has {
  has(name: string): boolean;
}

export const noArgs: CallArgs = { positional: [], named: [], list: null, dict: null };
