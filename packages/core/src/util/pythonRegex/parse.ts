import * as characters from './characters.js';
import { escapedCharacter, octalCharacter } from './escapes.js';
import { Reader } from './reader.js';
import { type CharTest, type Flags, type Node, type PlaceTest, widthOf } from './syntax.js';

/** What an expression means. */
export interface Parsed {
  readonly node: Node;
  /** How many groups it has; numbered from 1. */
  readonly groups: number;
  readonly names: ReadonlyMap<string, number>;
}

/** Groups within groups at most: deeper ones would end the process. */
const DEEPEST = 100;

const NO_FLAGS: Flags = {
  ignoreCase: false,
  dotAll: false,
  multiline: false,
  verbose: false,
  ascii: false,
};

const FLAG_NAMES: Readonly<Record<string, keyof Flags | null>> = {
  i: 'ignoreCase',
  s: 'dotAll',
  m: 'multiline',
  x: 'verbose',
  a: 'ascii',
  u: null,
};

/**
 * Reads an expression of Python's `re` for texts (3.11).
 *
 * @throws REGEX_INVALID for what Python refuses, and for `\N{...}` and references in a look-behind,
 *   which are not here
 */
export const parse = (source: string): Parsed => new Parser(source).parse();

class Parser {
  readonly #reader: Reader;
  readonly #names = new Map<string, number>();
  #groups = 0;
  readonly #open = new Set<number>();
  /** Groups that conditions ask for: they may come later. */
  readonly #asked: number[] = [];
  #flags = NO_FLAGS;
  /** Nothing was read but flags and comments: `(?i)` then holds for the whole expression. */
  #isStart = true;
  #depth = 0;
  #behind = 0;

  constructor(source: string) {
    this.#reader = new Reader(source);
  }

  parse(): Parsed {
    const reader = this.#reader;
    const node = this.#choice();
    if (reader.next !== undefined) throw reader.error('unbalanced parenthesis');
    for (const group of this.#asked)
      if (group > this.#groups) throw reader.error(`invalid group reference ${group}`);
    return { node, groups: this.#groups, names: this.#names };
  }

  #flagsOf(letters: string, value: boolean): Partial<Flags> {
    const found: Partial<Record<keyof Flags, boolean>> = {};
    for (const letter of letters) {
      const name = FLAG_NAMES[letter];
      if (letter === 'L') throw this.#reader.error("bad inline flags: cannot use 'L' with a text");
      if (name === undefined) throw this.#reader.error(`unknown flag ${letter}`);
      if (!value && (letter === 'a' || letter === 'u'))
        throw this.#reader.error("bad inline flags: cannot turn off flags 'a', 'u' and 'L'");
      if (name) found[name] = value;
    }
    if (letters.includes('a') && letters.includes('u'))
      throw this.#reader.error("bad inline flags: flags 'a', 'u' and 'L' are incompatible");
    if (letters.includes('u')) found.ascii = false;
    return found;
  }

  /** What `|` separates. */
  #choice(): Node {
    if (++this.#depth > DEEPEST) throw this.#reader.error(`groups lie more than ${DEEPEST} deep`);
    const options = [this.#sequence()];
    while (this.#reader.skip('|')) {
      this.#isStart = false;
      options.push(this.#sequence());
    }
    this.#depth--;
    return options.length === 1 ? options[0]! : { type: 'choice', options };
  }

  #sequence(): Node {
    const reader = this.#reader;
    const items: Item[] = [];
    for (;;) {
      if (this.#flags.verbose) this.#skipVerbose();
      const { next } = reader;
      if (next === undefined || next === '|' || next === ')') break;
      const bounds = this.#bounds();
      const item = bounds ? this.#repeated(items.pop(), bounds) : this.#item();
      if (!item) continue;
      items.push(item);
      this.#isStart = false;
    }
    const nodes = items.map(({ node }) => node);
    return nodes.length === 1 ? nodes[0]! : { type: 'sequence', items: nodes };
  }

  #skipVerbose(): void {
    const reader = this.#reader;
    for (;;) {
      if (reader.takeWhile(/[ \t\n\r\v\f]/) !== '') continue;
      if (!reader.skip('#')) return;
      reader.takeWhile(/[^\n]/);
    }
  }

  /** One thing that a quantifier may follow; null for comments and flags. */
  #item(): Item | null {
    const reader = this.#reader;
    const character = reader.take()!;
    const { dotAll, multiline } = this.#flags;
    switch (character) {
      case '.':
        return other({ type: 'char', test: dotAll ? characters.anything : characters.notLineFeed });
      case '^':
        return place(multiline ? characters.lineStart : characters.textStart);
      case '$':
        return place(multiline ? characters.lineEnd : characters.lastLineEnd);
      case '[':
        return other({ type: 'char', test: this.#set() });
      case '(': {
        const node = this.#group();
        return node && other(node);
      }
      case '\\':
        return this.#escape();
      default:
        return other(this.#literal(character));
    }
  }

  #literal(character: string | number): Node {
    const code = typeof character === 'number' ? character : character.codePointAt(0)!;
    return { type: 'char', test: characters.literal(code, this.#flags) };
  }

  /** The item with the quantifier that was read behind it. */
  #repeated(item: Item | undefined, bounds: { min: number; max: number }): Item {
    const reader = this.#reader;
    if (!item || item.kind === 'place') throw reader.error('nothing to repeat');
    if (item.kind === 'repeat') throw reader.error('multiple repeat');
    const lazy = reader.skip('?');
    const possessive = !lazy && reader.skip('+');
    const repeat: Node = { type: 'repeat', item: item.node, ...bounds, lazy };
    return { kind: 'repeat', node: possessive ? { type: 'atomic', item: repeat } : repeat };
  }

  /**
   * `*`, `+`, `?`, `{m}`, `{m,}`, `{,n}`, `{m,n}`; null, and nothing read, for anything else: `{`
   * is then a letter.
   */
  #bounds(): { min: number; max: number } | null {
    const reader = this.#reader;
    if (reader.skip('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (reader.skip('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (reader.skip('?')) return { min: 0, max: 1 };
    const start = reader.at;
    if (!reader.skip('{')) return null;
    const low = reader.takeWhile(/[0-9]/);
    const hasComma = reader.skip(',');
    const high = hasComma ? reader.takeWhile(/[0-9]/) : low;
    if ((low === '' && !hasComma) || !reader.skip('}')) {
      reader.at = start;
      return null;
    }
    const min = low === '' ? 0 : Number(low);
    const max = high === '' ? Number.POSITIVE_INFINITY : Number(high);
    if (max < min) throw reader.error('min repeat greater than max repeat');
    return { min, max };
  }

  #escape(): Item {
    const reader = this.#reader;
    const letter = reader.take();
    if (letter === undefined) throw reader.error('bad escape (end of pattern)');
    switch (letter) {
      case 'A':
        return place(characters.textStart);
      case 'Z':
        return place(characters.textEnd);
      case 'b':
      case 'B':
        return place(characters.wordBoundary(letter === 'b', this.#flags));
    }
    const known = characters.characterClass(letter, this.#flags);
    if (known) return other({ type: 'char', test: known });
    if (!/[1-9]/.test(letter)) return other(this.#literal(escapedCharacter(reader, letter)!));
    const octal = octalCharacter(reader, letter);
    if (octal !== null) return other(this.#literal(octal));
    return other(this.#reference(Number(letter + reader.takeWhile(/[0-9]/, 1))));
  }

  #reference(group: number): Node {
    const reader = this.#reader;
    if (group > this.#groups) throw reader.error(`invalid group reference ${group}`);
    if (this.#open.has(group)) throw reader.error('cannot refer to an open group');
    if (this.#behind > 0)
      throw reader.error(
        'references in a look-behind are not supported here',
        'Write out what the group stands for.',
      );
    return { type: 'reference', group, same: characters.sameCharacter(this.#flags) };
  }

  /** `[...]`, its bracket read. */
  #set(): CharTest {
    const reader = this.#reader;
    const negated = reader.skip('^');
    const members: CharTest[] = [];
    for (let first = true; first || reader.next !== ']'; first = false) {
      const from = this.#member();
      if (!reader.skip('-')) {
        members.push(from.test);
        continue;
      }
      if (reader.next === ']') {
        members.push(from.test, (code) => code === 45);
        break;
      }
      const to = this.#member();
      if (from.code === null || to.code === null || to.code < from.code)
        throw reader.error('bad character range');
      const [low, high] = [from.code, to.code];
      members.push((code) => code >= low && code <= high);
    }
    reader.take();
    return characters.characterSet(members, negated, this.#flags);
  }

  /** One end of a range, or a class (code null). */
  #member(): { readonly code: number | null; readonly test: CharTest } {
    const reader = this.#reader;
    const character = reader.take();
    if (character === undefined) throw reader.error('unterminated character set');
    if (character !== '\\') return one(character.codePointAt(0)!);
    const letter = reader.take();
    if (letter === undefined) throw reader.error('unterminated character set');
    const known = characters.characterClass(letter, this.#flags);
    if (known) return { code: null, test: known };
    if (letter === 'b') return one(8);
    if (/[1-7]/.test(letter)) {
      const octal = Number.parseInt(letter + reader.takeWhile(/[0-7]/, 2), 8);
      if (octal > 0o377) throw reader.error('octal escape outside of range 0-0o377');
      return one(octal);
    }
    const code = escapedCharacter(reader, letter);
    if (code === null) throw reader.error(`bad escape \\${letter}`);
    return one(code);
  }

  /** What begins with a parenthesis, which is read. */
  #group(): Node | null {
    const reader = this.#reader;
    if (!reader.skip('?')) return this.#capture(null);
    const kind = reader.take();
    switch (kind) {
      case ':':
        return this.#closed(() => this.#choice());
      case '#':
        reader.until(')', 'comment');
        return null;
      case '>':
        return { type: 'atomic', item: this.#closed(() => this.#choice()) };
      case '=':
      case '!':
        return {
          type: 'look',
          item: this.#closed(() => this.#choice()),
          negated: kind === '!',
          behind: null,
        };
      case 'P':
        return this.#named();
      case '(':
        return this.#conditional();
      case '<': {
        const direction = reader.take();
        if (direction === '=' || direction === '!') return this.#lookBehind(direction === '!');
        throw reader.error(
          `unknown extension ?<${direction ?? ''}`,
          'Python names a group with (?P<name>...).',
        );
      }
      case undefined:
        throw reader.error('unexpected end of pattern');
      default:
        reader.at--;
        return this.#flagged();
    }
  }

  #capture(name: string | null): Node {
    const index = ++this.#groups;
    if (name !== null) this.#names.set(name, index);
    this.#open.add(index);
    const item = this.#closed(() => this.#choice());
    this.#open.delete(index);
    return { type: 'group', index, item };
  }

  /** What stands before a closing parenthesis; flags end with it. */
  #closed(read: () => Node): Node {
    const reader = this.#reader;
    const flags = this.#flags;
    this.#isStart = false;
    const item = read();
    if (!reader.skip(')')) throw reader.error('missing ), unterminated subpattern');
    this.#flags = flags;
    return item;
  }

  #lookBehind(negated: boolean): Node {
    this.#behind++;
    const item = this.#closed(() => this.#choice());
    this.#behind--;
    const { min, max } = widthOf(item);
    if (min !== max) throw this.#reader.error('look-behind requires fixed-width pattern');
    return { type: 'look', item, negated, behind: min };
  }

  #named(): Node {
    const reader = this.#reader;
    if (reader.skip('<')) {
      const name = this.#groupName('>');
      if (this.#names.has(name)) throw reader.error(`redefinition of group name "${name}"`);
      return this.#capture(name);
    }
    if (!reader.skip('=')) throw reader.error(`unknown extension ?P${reader.next ?? ''}`);
    const name = this.#groupName(')');
    const group = this.#names.get(name);
    if (group === undefined) throw reader.error(`unknown group name "${name}"`);
    return this.#reference(group);
  }

  #groupName(end: string): string {
    const name = this.#reader.until(end, 'name');
    if (!/^[\p{ID_Start}_][\p{ID_Continue}]*$/u.test(name))
      throw this.#reader.error(`bad character in group name "${name}"`);
    return name;
  }

  #conditional(): Node {
    const reader = this.#reader;
    const name = reader.until(')', 'name');
    const isNumber = /^[0-9]+$/.test(name);
    const group = isNumber ? Number(name) : this.#names.get(name);
    if (group === undefined) throw reader.error(`unknown group name "${name}"`);
    if (group === 0) throw reader.error('bad group number');
    if (this.#behind > 0)
      throw reader.error(
        'conditions in a look-behind are not supported here',
        'Write out what the group stands for.',
      );
    this.#asked.push(group);
    let no: Node = { type: 'sequence', items: [] };
    const yes = this.#closed(() => {
      const first = this.#sequence();
      if (reader.skip('|')) no = this.#sequence();
      if (reader.next === '|')
        throw reader.error('conditional backref with more than two branches');
      return first;
    });
    return { type: 'conditional', group, yes, no };
  }

  /**
   * `(?i:...)`, `(?s-i:...)`; null for `(?i)`, which stands at the start of the expression alone.
   */
  #flagged(): Node | null {
    const reader = this.#reader;
    const on = reader.takeWhile(/[A-Za-z]/);
    const off = reader.skip('-') ? reader.takeWhile(/[A-Za-z]/) : null;
    if (on === '' && off === null) throw reader.error(`unknown extension ?${reader.next ?? ''}`);
    if (off === '') throw reader.error('missing flag');
    if (off === null && reader.next === ')') {
      if (!this.#isStart) throw reader.error('global flags not at the start of the expression');
      reader.take();
      this.#flags = { ...this.#flags, ...this.#flagsOf(on, true) };
      return null;
    }
    const both = [...on].find((letter) => off?.includes(letter));
    if (both) throw reader.error('bad inline flags: flag turned on and off');
    const flags = { ...this.#flagsOf(on, true), ...this.#flagsOf(off ?? '', false) };
    if (!reader.skip(':')) throw reader.error('missing :');
    return this.#closed(() => {
      // Those in force come back at the closing parenthesis.
      this.#flags = { ...this.#flags, ...flags };
      return this.#choice();
    });
  }
}

/** A part of a sequence, and what a quantifier behind it has to know. */
interface Item {
  readonly node: Node;
  readonly kind: 'place' | 'repeat' | 'other';
}

const place = (test: PlaceTest): Item => ({ kind: 'place', node: { type: 'place', test } });
const other = (node: Node): Item => ({ kind: 'other', node });

const one = (code: number) => ({ code, test: (found: number) => found === code });
