import { type CharSet, widthOf } from './charSet.js';
import { compilePattern, type Option, type Program, type Step } from './regexProgram.js';
import { type Assertion, PatternError, parsePattern } from './regexSyntax.js';

/**
 * A pattern of tokenizer.json, searched as Oniguruma does: leftmost, first way first. Backtracking
 * is counted, so that a pattern that explodes is an error within a second, not a hang.
 *
 * JavaScript's own expressions are not used for this: they know neither `(?i:...)` on every Node
 * nor possessive repetition, and cannot be stopped.
 */
export class Pattern {
  readonly #program: Program;
  readonly #starts: StartTable | null;
  readonly #steps: readonly Step[];
  readonly #slots: Int32Array;
  readonly #choices = new Map<Step, ChoiceTable>();
  #stack = new Int32Array(1024);
  #top = 0;
  #effort = 0;
  #searchStart = 0;

  /** @throws PatternError for what is not a pattern or is not supported */
  constructor(source: string) {
    this.#program = compilePattern(parsePattern(source));
    this.#steps = this.#program.steps;
    this.#slots = new Int32Array(this.#program.slots);
    this.#starts = this.#program.first && new StartTable(this.#program.first);
    for (const step of this.#steps)
      if (step.op === 'choice') this.#choices.set(step, new ChoiceTable(step.options));
  }

  /**
   * Matches from left to right, as start and end after another: [s0, e0, s1, e1, ...]. An empty
   * match right behind another is none.
   *
   * @throws PatternError when it backtracks without end
   */
  findAll(text: string): number[] {
    const found: number[] = [];
    this.#effort = 5_000_000 + 100 * text.length;
    let at = 0;
    let lastEnd = -1;
    while (at <= text.length) {
      const start = this.#search(text, at);
      if (start < 0) break;
      const end = this.#end;
      if (end === start && end === lastEnd) {
        at = end + (end < text.length ? widthOf(text.codePointAt(end)!) : 1);
        continue;
      }
      found.push(start, end);
      at = end;
      lastEnd = end;
    }
    return found;
  }

  #end = 0;

  /** The start of the next match at or after `from`; -1 when there is none. Its end is in #end. */
  #search(text: string, from: number): number {
    this.#searchStart = from;
    const starts = this.#starts;
    for (let at = from; at <= text.length; ) {
      const code = at < text.length ? text.codePointAt(at)! : -1;
      if (starts === null || (code >= 0 && starts.has(code))) {
        this.#top = 0;
        const end = this.#run(text, this.#program.start, at, -1);
        if (end >= 0) {
          this.#end = end;
          return at;
        }
      }
      at += code > 0xffff ? 2 : 1;
    }
    return -1;
  }

  /**
   * Runs from a step at a position; returns where it ends, -1 for no match.
   *
   * @param mustEnd where a match has to end (a look behind); -1 for anywhere
   */
  #run(text: string, pc: number, at: number, mustEnd: number): number {
    const base = this.#top;
    const steps = this.#steps;
    let step = steps[pc]!;
    for (;;) {
      if (--this.#effort < 0) throw new PatternError('it backtracks without end on this text');
      let ok = false;
      switch (step.op) {
        case 'set': {
          const code = at < text.length ? text.codePointAt(at)! : -1;
          if (code >= 0 && step.set.has(code)) {
            at += code > 0xffff ? 2 : 1;
            step = steps[step.next]!;
            ok = true;
          }
          break;
        }
        case 'loop': {
          const end = this.#loop(text, step, at);
          if (end >= 0) {
            at = end;
            step = steps[step.next]!;
            ok = true;
          }
          break;
        }
        case 'choice': {
          const code = at < text.length ? text.codePointAt(at)! : -1;
          const options = this.#choices.get(step)!.at(code);
          if (options.length > 0) {
            for (let i = options.length - 1; i > 0; i--) this.#push(RESUME, options[i]!, at);
            step = steps[options[0]!]!;
            ok = true;
          }
          break;
        }
        case 'split':
          this.#push(RESUME, step.second, at);
          step = steps[step.first]!;
          ok = true;
          break;
        case 'assert':
          if (this.#holds(text, step.at, at)) {
            step = steps[step.next]!;
            ok = true;
          }
          break;
        case 'atomic': {
          const end = this.#inner(text, step.start, at, -1);
          if (end >= 0) {
            at = end;
            step = steps[step.next]!;
            ok = true;
          }
          break;
        }
        case 'look':
          if (this.#look(text, step, at) !== step.negative) {
            step = steps[step.next]!;
            ok = true;
          }
          break;
        case 'mark':
          this.#push(RESTORE, step.slot, this.#slots[step.slot]!);
          this.#slots[step.slot] = at;
          step = steps[step.next]!;
          ok = true;
          break;
        case 'moved':
          step = steps[this.#slots[step.slot] === at ? step.same : step.next]!;
          ok = true;
          break;
        case 'done':
          if (mustEnd < 0 || at === mustEnd) return at;
          break;
      }
      if (ok) continue;
      // Back to the last place where there was another way.
      const resumed = this.#backtrack(text, base);
      if (resumed < 0) return -1;
      step = steps[resumed]!;
      at = this.#at;
    }
  }

  #at = 0;

  /**
   * Takes the last other way from the stack: its step, with its place in #at; -1 when there is
   * none.
   */
  #backtrack(text: string, base: number): number {
    while (this.#top > base) {
      const stack = this.#stack;
      const kind = stack[this.#top - 3]!;
      const a = stack[this.#top - 2]!;
      const b = stack[this.#top - 1]!;
      if (kind === RESTORE) {
        this.#slots[a] = b;
        this.#top -= 3;
      } else if (kind === RESUME) {
        this.#top -= 3;
        this.#at = b;
        return a;
      } else if (kind === SHRINK) {
        // A greedy loop gives one character back: its lower end lies below on the stack.
        const low = stack[this.#top - 4]!;
        const at = b - (b - 2 >= low && isPair(text, b - 2) ? 2 : 1);
        if (at <= low) this.#top -= 4;
        else stack[this.#top - 1] = at;
        this.#at = at;
        return (this.#steps[a] as { next: number }).next;
      } else {
        // A lazy loop takes one more: how many it may still take lies below on the stack.
        const left = stack[this.#top - 4]!;
        const step = this.#steps[a] as Extract<Step, { op: 'loop' }>;
        const code = b < text.length ? text.codePointAt(b)! : -1;
        if (left === 0 || code < 0 || !step.set.has(code)) {
          this.#top -= 4;
          continue;
        }
        stack[this.#top - 4] = left - 1;
        stack[this.#top - 1] = b + widthOf(code);
        this.#at = b + widthOf(code);
        return step.next;
      }
    }
    return -1;
  }

  /** As many characters of a set as there may be; pushes how to take others. -1 for too few. */
  #loop(text: string, step: Extract<Step, { op: 'loop' }>, start: number): number {
    const { set, min, max, mode } = step;
    const most = mode === 'lazy' ? min : max;
    let at = start;
    let low = start;
    let count = 0;
    while (count < most && at < text.length) {
      const code = text.codePointAt(at)!;
      if (!set.has(code)) break;
      at += code > 0xffff ? 2 : 1;
      count++;
      if (count === min) low = at;
    }
    this.#effort -= count;
    if (count < min) return -1;
    if (mode === 'greedy' && at > low) {
      this.#push4(low, SHRINK, step.self, at);
    } else if (mode === 'lazy' && max > min) {
      this.#push4(Math.min(max - min, 0x7fffffff), GROW, step.self, at);
    }
    return at;
  }

  #inner(text: string, start: number, at: number, mustEnd: number): number {
    const top = this.#top;
    const end = this.#run(text, start, at, mustEnd);
    this.#top = top;
    return end;
  }

  #look(text: string, step: Extract<Step, { op: 'look' }>, at: number): boolean {
    if (!step.back) return this.#inner(text, step.start, at, -1) >= 0;
    const [min, max] = step.back;
    let from = at;
    for (let count = 0; count <= max; count++) {
      if (count >= min && this.#inner(text, step.start, from, at) >= 0) return true;
      if (from === 0) return false;
      from -= from >= 2 && isPair(text, from - 2) ? 2 : 1;
    }
    return false;
  }

  #holds(text: string, assertion: Assertion, at: number): boolean {
    switch (assertion) {
      case 'textStart':
        return at === 0;
      case 'textEnd':
        return at === text.length;
      case 'textEndOrNewline':
        return at === text.length || (at === text.length - 1 && text[at] === '\n');
      case 'lineStart':
        // Not behind a newline that ends the text.
        return at === 0 || (text[at - 1] === '\n' && at < text.length);
      case 'lineEnd':
        return at === text.length || text[at] === '\n';
      case 'searchStart':
        return at === this.#searchStart;
      case 'wordBoundary':
        return isWordAt(text, at) !== isWordBefore(text, at);
      case 'notWordBoundary':
        return isWordAt(text, at) === isWordBefore(text, at);
    }
  }

  #push(kind: number, a: number, b: number): void {
    if (this.#top + 3 > this.#stack.length) this.#grow();
    this.#stack[this.#top++] = kind;
    this.#stack[this.#top++] = a;
    this.#stack[this.#top++] = b;
  }

  #push4(below: number, kind: number, a: number, b: number): void {
    if (this.#top + 4 > this.#stack.length) this.#grow();
    this.#stack[this.#top++] = below;
    this.#push(kind, a, b);
  }

  #grow(): void {
    const larger = new Int32Array(this.#stack.length * 2);
    larger.set(this.#stack);
    this.#stack = larger;
  }
}

const RESUME = 0;
const RESTORE = 1;
const SHRINK = 2;
const GROW = 3;

/** Which characters a match can begin with. */
class StartTable {
  readonly #known: (boolean | undefined)[] = [];

  constructor(private readonly sets: readonly CharSet[]) {}

  has(code: number): boolean {
    if (code >= 0x800) return this.sets.some((set) => set.has(code));
    let known = this.#known[code];
    if (known === undefined) {
      known = this.sets.some((set) => set.has(code));
      this.#known[code] = known;
    }
    return known;
  }
}

/** Which ways of a choice a character leaves open, in order. */
class ChoiceTable {
  readonly #known: (readonly number[] | undefined)[] = [];
  readonly #atEnd: readonly number[];

  constructor(private readonly options: readonly Option[]) {
    this.#atEnd = options.filter((o) => o.first === null).map((o) => o.start);
  }

  at(code: number): readonly number[] {
    if (code < 0) return this.#atEnd;
    let known = code < 0x800 ? this.#known[code] : undefined;
    if (known === undefined) {
      known = this.options
        .filter((o) => o.first === null || o.first.some((set) => set.has(code)))
        .map((o) => o.start);
      if (code < 0x800) this.#known[code] = known;
    }
    return known;
  }
}

const isPair = (text: string, at: number): boolean => text.codePointAt(at)! > 0xffff;

const wordHere = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u00b2\u00b3\u00b9\u00bc-\u00be]/uy;

function isWordAt(text: string, at: number): boolean {
  wordHere.lastIndex = at;
  return wordHere.test(text);
}

const isWordBefore = (text: string, at: number): boolean =>
  at > 0 && isWordAt(text, at >= 2 && isPair(text, at - 2) ? at - 2 : at - 1);
