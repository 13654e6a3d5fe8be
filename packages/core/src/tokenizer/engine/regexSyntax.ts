import { type CharSet, caseVariants, RuleSet } from './charSet.js';
import { property } from './regexProperties.js';

/** A pattern, read. Positions are between code points. */
export type Node =
  | { readonly kind: 'empty' }
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'sequence'; readonly items: readonly Node[] }
  | { readonly kind: 'choice'; readonly options: readonly Node[] }
  | {
      readonly kind: 'repeat';
      readonly item: Node;
      readonly min: number;
      readonly max: number;
      readonly mode: 'greedy' | 'lazy' | 'possessive';
    }
  | {
      readonly kind: 'look';
      readonly item: Node;
      readonly behind: boolean;
      readonly negative: boolean;
    }
  | { readonly kind: 'atomic'; readonly item: Node }
  | { readonly kind: 'assert'; readonly at: Assertion };

export type Assertion =
  | 'lineStart'
  | 'lineEnd'
  | 'textStart'
  | 'textEnd'
  | 'textEndOrNewline'
  | 'searchStart'
  | 'wordBoundary'
  | 'notWordBoundary';

/** What is wrong with a pattern; the reader of tokenizer.json says where it stands. */
export class PatternError extends Error {}

interface Flags {
  readonly ignoreCase: boolean;
  readonly dotAll: boolean;
  readonly extended: boolean;
}

const MAX_DEPTH = 200;
const MAX_REPEAT = 100_000;

const any: CharSet = new RuleSet(() => true);
const notNewline: CharSet = new RuleSet((code) => code !== 0x0a);
const exactly = (code: number): CharSet => new RuleSet((c) => c === code);
const invert = (set: CharSet): CharSet => new RuleSet((code) => !set.has(code));

/**
 * Reads a pattern in Oniguruma's syntax, which tokenizer.json is written in: `^` and `$` are about
 * lines, `(?m)` lets the dot match newlines, `\h` is a hexadecimal digit, `++` gives nothing back.
 *
 * @throws PatternError for what is not a pattern, and for back references, `\\K`, `\\X`, absent
 *   operators, conditions and calls
 */
export function parsePattern(source: string): Node {
  const parser = new Parser(source);
  const node = parser.choice({ ignoreCase: false, dotAll: false, extended: false }, 0);
  parser.end();
  return node;
}

class Parser {
  #at = 0;
  readonly #chars: readonly string[];

  constructor(source: string) {
    this.#chars = Array.from(source);
  }

  end(): void {
    if (this.#at < this.#chars.length) throw new PatternError('it closes a group that is not open');
  }

  choice(flags: Flags, depth: number): Node {
    if (depth > MAX_DEPTH) throw new PatternError(`groups are nested deeper than ${MAX_DEPTH}`);
    const options: Node[] = [];
    const inner: { flags: Flags } = { flags };
    do options.push(this.#sequence(inner, depth));
    while (this.#take('|'));
    return options.length === 1 ? options[0]! : { kind: 'choice', options };
  }

  /** @param scope its flags change where a `(?i)` stands */
  #sequence(scope: { flags: Flags }, depth: number): Node {
    const items: Node[] = [];
    for (let char = this.#peek(); char !== undefined; char = this.#peek()) {
      if (char === '|' || char === ')') break;
      if (scope.flags.extended && this.#skipExtended()) continue;
      const item = this.#atom(scope, depth);
      if (item) items.push(this.#repeated(item));
    }
    return items.length === 1 ? items[0]! : { kind: 'sequence', items };
  }

  #skipExtended(): boolean {
    if (/\s/.test(this.#peek()!)) {
      this.#at++;
      return true;
    }
    if (!this.#take('#')) return false;
    while (this.#peek() !== undefined && this.#peek() !== '\n') this.#at++;
    return true;
  }

  /** Null for what stands for nothing: a comment, a change of flags. */
  #atom(scope: { flags: Flags }, depth: number): Node | null {
    const { flags } = scope;
    const char = this.#next();
    switch (char) {
      case '(':
        return this.#group(scope, depth);
      case '[':
        return { kind: 'set', set: this.#charClass(flags, 0) };
      case '.':
        return { kind: 'set', set: flags.dotAll ? any : notNewline };
      case '^':
        return { kind: 'assert', at: 'lineStart' };
      case '$':
        return { kind: 'assert', at: 'lineEnd' };
      case '\\':
        return this.#escape(flags);
      case '*':
      case '+':
      case '?':
        throw new PatternError(`"${char}" repeats nothing`);
      default:
        return this.#literal(char.codePointAt(0)!, flags);
    }
  }

  #literal(code: number, { ignoreCase }: Flags): Node {
    if (!ignoreCase) return { kind: 'set', set: exactly(code) };
    const variants = caseVariants(code);
    return { kind: 'set', set: folded(new RuleSet((c) => variants.has(c))) };
  }

  #group(scope: { flags: Flags }, depth: number): Node | null {
    const { flags } = scope;
    const inside = (f: Flags = flags): Node => {
      const node = this.choice(f, depth + 1);
      this.#expect(')');
      return node;
    };
    if (!this.#take('?')) {
      if (this.#peek() === '*') throw new PatternError('calls "(*...)" are not supported');
      return inside();
    }
    if (this.#take('#')) {
      while (this.#next() !== ')') if (this.#peek() === '\\') this.#at += 2;
      return null;
    }
    if (this.#take(':')) return inside();
    if (this.#take('>')) return { kind: 'atomic', item: inside() };
    for (const negative of [false, true])
      if (this.#take(negative ? '!' : '='))
        return { kind: 'look', behind: false, negative, item: inside() };
    if (this.#take('<')) {
      for (const negative of [false, true])
        if (this.#take(negative ? '!' : '='))
          return { kind: 'look', behind: true, negative, item: inside() };
      while (this.#next() !== '>');
      return inside();
    }
    return this.#flagGroup(scope, inside);
  }

  #flagGroup(scope: { flags: Flags }, inside: (flags: Flags) => Node): Node | null {
    let { ignoreCase, dotAll, extended } = scope.flags;
    let on = true;
    for (;;) {
      const char = this.#next();
      if (char === '-') on = false;
      else if (char === 'i') ignoreCase = on;
      else if (char === 'm') dotAll = on;
      else if (char === 'x') extended = on;
      else {
        const flags = { ignoreCase, dotAll, extended };
        if (char === ':') return inside(flags);
        if (char === ')') {
          scope.flags = flags;
          return null;
        }
        throw new PatternError(`groups of the kind "(?${char}" are not supported`);
      }
    }
  }

  #repeated(atom: Node): Node {
    let node = atom;
    for (;;) {
      const start = this.#at;
      const char = this.#peek();
      const counted = char === '{' ? this.#counts() : null;
      if (counted) {
        // {n}? is an optional {n}, {n,m}? takes as little as it can; {n}+ repeats again.
        const exact = counted.min === counted.max;
        const lazy = !exact && this.#take('?');
        node = { kind: 'repeat', item: node, ...counted, mode: lazy ? 'lazy' : 'greedy' };
        continue;
      }
      const range = char === undefined ? undefined : ranges[char];
      if (!range) {
        this.#at = start;
        return node;
      }
      this.#at++;
      const mode = this.#take('?') ? 'lazy' : this.#take('+') ? 'possessive' : 'greedy';
      node = { kind: 'repeat', item: node, min: range[0], max: range[1], mode };
    }
  }

  /** {n}, {n,}, {,m}, {n,m}; null where the brace is only a brace. */
  #counts(): { min: number; max: number } | null {
    const text = this.#chars.slice(this.#at, this.#at + 24).join('');
    const found = /^\{(?:(\d+)(,)?(\d*)|,(\d+))\}/.exec(text);
    if (!found || (found[1] !== undefined && !found[2] && found[3])) return null;
    const [all, first, comma, second, only] = found;
    const min = Number(first ?? 0);
    const max = only ? Number(only) : !comma ? min : second ? Number(second) : Infinity;
    if (min > MAX_REPEAT || (max !== Infinity && max > MAX_REPEAT))
      throw new PatternError(`${all} repeats more than ${MAX_REPEAT} times`);
    if (max < min) throw new PatternError(`${all} ends below its start`);
    this.#at += all.length;
    return { min, max };
  }

  #escape(flags: Flags): Node {
    const char = this.#peek();
    const assertion = char === undefined ? undefined : assertions[char];
    if (assertion) {
      this.#at++;
      return { kind: 'assert', at: assertion };
    }
    if (char === 'R') {
      this.#at++;
      const newline = new RuleSet(
        (c) => (c >= 0x0a && c <= 0x0d) || [0x85, 0x2028, 0x2029].includes(c),
      );
      const crlf: Node = {
        kind: 'sequence',
        items: [
          { kind: 'set', set: exactly(0x0d) },
          { kind: 'set', set: exactly(0x0a) },
        ],
      };
      const options: Node[] = [crlf, { kind: 'set', set: newline }];
      return { kind: 'atomic', item: { kind: 'choice', options } };
    }
    const escaped = this.#escapedSet();
    return typeof escaped === 'number'
      ? this.#literal(escaped, flags)
      : { kind: 'set', set: escaped };
  }

  /** What follows a backslash: a code point, or a set. */
  #escapedSet(): number | CharSet {
    const char = this.#next();
    const control = controls[char];
    if (control !== undefined) return control;
    if (char === 'p' || char === 'P') return this.#property(char === 'P');
    if (char === 'O') return any;
    if (char === 'N') return notNewline;
    const shorthand = shorthands[char.toLowerCase()];
    if (shorthand) {
      const set = property(shorthand)!;
      return char === char.toLowerCase() ? set : invert(set);
    }
    if (char === 'x') {
      if (!this.#take('{')) return this.#digits(16, 2);
      const code = this.#digits(16, 8);
      this.#expect('}');
      return valid(code);
    }
    if (char === 'u') return this.#digits(16, 4, 4);
    if (char === '0') return this.#digits(8, 2);
    if (/[1-9]/.test(char)) {
      this.#at--;
      const ahead = this.#chars.slice(this.#at, this.#at + 3).join('');
      if (/^[1-3][0-7]{2}$/.test(ahead)) return this.#digits(8, 3);
      throw new PatternError(`back references (\\${char}) are not supported`);
    }
    if (/[A-Za-z]/.test(char) && 'KXkgGyYCcM'.includes(char))
      throw new PatternError(`\\${char} is not supported`);
    return char.codePointAt(0)!;
  }

  #property(negative: boolean): CharSet {
    if (!this.#take('{')) throw new PatternError('\\p needs a name in braces');
    const inverse = this.#take('^') !== negative;
    let name = '';
    for (let char = this.#next(); char !== '}'; char = this.#next()) name += char;
    const set = property(name);
    if (!set) throw new PatternError(`there is no character property "${name}"`);
    return inverse ? invert(set) : set;
  }

  #charClass(flags: Flags, depth: number): CharSet {
    if (depth > MAX_DEPTH) throw new PatternError(`classes are nested deeper than ${MAX_DEPTH}`);
    const negative = this.#take('^');
    let intersection: CharSet | null = null;
    let parts: CharSet[] = [];
    const union = (): CharSet => {
      const sets = parts;
      const set = new RuleSet((code) => sets.some((s) => s.has(code)));
      const before = intersection;
      return before ? new RuleSet((code) => before.has(code) && set.has(code)) : set;
    };
    for (let first = true; ; first = false) {
      const char = this.#next();
      if (char === ']' && !first) break;
      if (char === '[') {
        parts.push(this.#posix() ?? this.#charClass({ ...flags, ignoreCase: false }, depth + 1));
        continue;
      }
      if (char === '&' && this.#take('&')) {
        intersection = union();
        parts = [];
        continue;
      }
      const low = char === '\\' ? this.#classEscape() : char.codePointAt(0)!;
      if (typeof low !== 'number') parts.push(low);
      else parts.push(this.#range(low));
    }
    const set = union();
    const cased = flags.ignoreCase ? folded(set) : set;
    return negative ? invert(cased) : cased;
  }

  #classEscape(): number | CharSet {
    if (this.#take('b')) return 0x08;
    return this.#escapedSet();
  }

  #range(low: number): CharSet {
    const next = this.#chars[this.#at + 1];
    if (this.#peek() !== '-' || next === ']' || next === undefined) return exactly(low);
    this.#at++;
    const char = this.#next();
    if (char === '[') throw new PatternError('a class ends a range');
    const high = char === '\\' ? this.#classEscape() : char.codePointAt(0)!;
    if (typeof high !== 'number') throw new PatternError('a class ends a range');
    if (high < low) throw new PatternError('a range ends below its start');
    return new RuleSet((code) => code >= low && code <= high);
  }

  /** [:alpha:] within a class; null where it is none. */
  #posix(): CharSet | null {
    const text = this.#chars.slice(this.#at, this.#at + 24).join('');
    const found = /^:(\^?)([a-z]+):\]/.exec(text);
    if (!found) return null;
    const set = property(found[2]!);
    if (!set) throw new PatternError(`there is no class [:${found[2]}:]`);
    this.#at += found[0].length;
    return found[1] ? invert(set) : set;
  }

  #digits(base: 8 | 16, most: number, least = 0): number {
    const digit = base === 16 ? /[0-9a-fA-F]/ : /[0-7]/;
    let text = '';
    while (text.length < most && digit.test(this.#peek() ?? '')) text += this.#next();
    if (text.length < least) throw new PatternError('a character code is too short');
    return text === '' ? 0 : Number.parseInt(text, base);
  }

  #peek = (): string | undefined => this.#chars[this.#at];

  #next(): string {
    const char = this.#chars[this.#at];
    if (char === undefined) throw new PatternError('it ends in the middle');
    this.#at++;
    return char;
  }

  #take(char: string): boolean {
    if (this.#peek() !== char) return false;
    this.#at++;
    return true;
  }

  #expect(char: string): void {
    if (!this.#take(char)) throw new PatternError(`"${char}" is missing`);
  }
}

const folded = (set: CharSet): CharSet =>
  new RuleSet((code) => [...caseVariants(code)].some((variant) => set.has(variant)));

function valid(code: number): number {
  if (code > 0x10ffff) throw new PatternError(`there is no character ${code.toString(16)}`);
  return code;
}

const ranges: Readonly<Record<string, readonly [number, number]>> = {
  '*': [0, Number.POSITIVE_INFINITY],
  '+': [1, Number.POSITIVE_INFINITY],
  '?': [0, 1],
};

const assertions: Readonly<Record<string, Assertion>> = {
  A: 'textStart',
  z: 'textEnd',
  Z: 'textEndOrNewline',
  G: 'searchStart',
  b: 'wordBoundary',
  B: 'notWordBoundary',
};

const controls: Readonly<Record<string, number>> = {
  t: 0x09,
  n: 0x0a,
  v: 0x0b,
  f: 0x0c,
  r: 0x0d,
  a: 0x07,
  e: 0x1b,
};

const shorthands: Readonly<Record<string, string>> = {
  d: 'digit',
  w: 'shorthandword',
  s: 'space',
  h: 'xdigit',
};
