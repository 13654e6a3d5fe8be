import type { Body, Expression, Signature, Statement } from './ast.js';
import { filters } from './filters.js';
import { tokenize } from './lexer.js';
import { ExpressionParser } from './parseExpression.js';
import { tests } from './tests.js';

export interface ParsedTemplate {
  readonly body: Body;
  /** Whether there is a `{% generation %}`. */
  readonly hasGeneration: boolean;
  /** `{% block %}`s by name. */
  readonly blocks: ReadonlyMap<string, Body>;
}

/** Reads a template. @throws JinjaError TemplateSyntaxError with its line */
export function parse(source: string): ParsedTemplate {
  const parser = new Parser(tokenize(source), { filters, tests });
  const body = parser.template();
  return { body, hasGeneration: parser.hasGeneration, blocks: parser.blocks };
}

/** Jinja's statements, with `break`, `continue` and transformers' `generation`. */
class Parser extends ExpressionParser {
  hasGeneration = false;
  readonly blocks = new Map<string, Body>();
  /** Loops that a `break` may leave: none at the start of a macro. */
  #loops = 0;

  template(): Body {
    const body = this.#body([]);
    if (!this.is('end')) this.fail(`unexpected ${this.found()}`);
    const [unknown] = this.unknown;
    if (unknown) throw unknown;
    return body;
  }

  /** Statements up to a tag of these names, whose `{%` is read. */
  #body(ends: readonly string[]): Body {
    const out: Statement[] = [];
    for (;;) {
      const { type, value, line } = this.current;
      if (type === 'end') {
        if (ends.length > 0) this.fail(`the template ends before ${ends.join(' or ')}`);
        return out;
      }
      this.next();
      if (type === 'data') out.push({ kind: 'text', text: value, line });
      else if (type === 'variableBegin') {
        out.push({ kind: 'print', value: this.tuple(), line });
        this.expect('variableEnd');
      } else {
        if (this.is('name', ...ends) && ends.length > 0) return out;
        out.push(...this.#statement());
        this.expect('blockEnd');
      }
    }
  }

  /** The rest of an opening tag, the body, and the name of the tag that ended it. */
  #block(...ends: readonly string[]): { body: Body; end: string } {
    this.skip('operator', ':');
    this.expect('blockEnd');
    const body = this.#body(ends);
    return { body, end: this.next().value };
  }

  /** A body whose errors do not wait, in a scope of its own. */
  #inner(...ends: readonly string[]): { body: Body; end: string } {
    const before = this.soft;
    this.soft = false;
    const found = this.#block(...ends);
    this.soft = before;
    return found;
  }

  /** A body that is a function: loops around it cannot be left from within. */
  #function(...ends: readonly string[]): Body {
    const loops = this.#loops;
    this.#loops = 0;
    const { body } = this.#inner(...ends);
    this.#loops = loops;
    return body;
  }

  #statement(): Statement[] {
    const { type, value: tag, line } = this.next();
    if (type !== 'name') {
      this.at--;
      this.fail(`expected the name of a tag, found ${this.found()}`);
    }
    switch (tag) {
      case 'set':
        return [this.#set(line)];
      case 'if':
        return [this.#if(line)];
      case 'for':
        return [this.#for(line)];
      case 'macro': {
        const name = this.expect('name').value;
        const params = this.#params();
        const { uses, body } = this.#macroBody('endmacro');
        return [{ kind: 'macro', name, signature: { ...params, uses }, body, line }];
      }
      case 'call':
        return [this.#call(line)];
      case 'filter': {
        const filter = this.filters(null, true)!;
        return [{ kind: 'filterBlock', filter, body: this.#inner('endfilter').body, line }];
      }
      case 'with':
        return [this.#with(line)];
      case 'print': {
        const values: Expression[] = [];
        while (!this.is('blockEnd')) {
          if (values.length > 0) this.expect('operator', ',');
          values.push(this.expression());
        }
        return values.map((value) => ({ kind: 'print', value, line }));
      }
      case 'generation':
        this.hasGeneration = true;
        return [{ kind: 'generation', body: this.#function('endgeneration'), line }];
      case 'autoescape': {
        const on = this.expression();
        return [{ kind: 'autoescape', on, body: this.#inner('endautoescape').body, line }];
      }
      case 'block': {
        const name = this.expect('name').value;
        while (this.skip('name', 'scoped') || this.skip('name', 'required'));
        const body = this.#function('endblock');
        this.skip('name', name);
        this.blocks.set(name, body);
        return [{ kind: 'block', name, body, line }];
      }
      case 'break':
      case 'continue':
        if (this.#loops === 0) this.fail(`"${tag}" outside of a loop`, line);
        return [{ kind: tag, line }];
      case 'include':
      case 'import':
      case 'from':
      case 'extends':
        while (!this.is('blockEnd') && !this.is('end')) this.next();
        return [{ kind: 'otherFile', tag, line }];
    }
    return this.fail(`unknown tag "${tag}"`, line);
  }

  #set(line: number): Statement {
    const target = this.target({ namespace: true });
    if (this.skip('operator', '=')) return { kind: 'set', target, value: this.tuple(), line };
    const filter = this.filters(null);
    return { kind: 'setBlock', target, filter, body: this.#inner('endset').body, line };
  }

  #if(line: number): Statement {
    const branches: [Expression, Body][] = [];
    let otherwise: Body = [];
    for (let end = 'elif'; end === 'elif'; ) {
      const test = this.tuple({ conditional: false });
      const found = this.#softly('elif', 'else', 'endif');
      branches.push([test, found.body]);
      end = found.end;
      if (end === 'else') otherwise = this.#softly('endif').body;
    }
    return { kind: 'if', branches, otherwise, line };
  }

  #softly(...ends: readonly string[]): { body: Body; end: string } {
    const before = this.soft;
    this.soft = true;
    const found = this.#block(...ends);
    this.soft = before;
    return found;
  }

  #for(line: number): Statement {
    this.inLoop++;
    const target = this.target({ end: 'in' });
    this.expect('name', 'in');
    const items = this.tuple({ conditional: false, end: 'recursive' });
    const test = this.skip('name', 'if') ? this.expression() : null;
    const recursive = this.skip('name', 'recursive');
    this.#loops++;
    const { body, end } = this.#inner('else', 'endfor');
    this.#loops--;
    const otherwise = end === 'else' ? this.#inner('endfor').body : [];
    this.inLoop--;
    return { kind: 'for', target, items, test, recursive, body, otherwise, line };
  }

  #with(line: number): Statement {
    const targets: (readonly [ReturnType<Parser['target']>, Expression])[] = [];
    while (!this.is('blockEnd')) {
      if (targets.length > 0) this.expect('operator', ',');
      const target = this.target();
      this.expect('operator', '=');
      targets.push([target, this.expression()]);
    }
    return { kind: 'with', targets, body: this.#inner('endwith').body, line };
  }

  #call(line: number): Statement {
    const params = this.is('operator', '(') ? this.#params() : { names: [], defaults: [] };
    const call = this.expression();
    if (call.kind !== 'call') return this.fail('a call block calls something', line);
    const { uses, body } = this.#macroBody('endcall');
    return { kind: 'callBlock', signature: { ...params, uses }, call, body, line };
  }

  #macroBody(end: string): { uses: Signature['uses']; body: Body } {
    const uses = new Set<string>();
    this.reads.push(uses);
    const body = this.#function(end);
    this.reads.pop();
    return { uses, body };
  }

  #params(): { names: string[]; defaults: Expression[] } {
    const names: string[] = [];
    const defaults: Expression[] = [];
    this.expect('operator', '(');
    while (!this.skip('operator', ')')) {
      if (names.length > 0) this.expect('operator', ',');
      names.push(this.expect('name').value);
      if (this.skip('operator', '=')) defaults.push(this.expression());
      else if (defaults.length > 0) this.fail('a parameter without a default after one with it');
    }
    return { names, defaults };
  }
}
