import { parse } from './parse.js';
import { compile, type Program } from './program.js';
import { type Budget, run } from './run.js';

/** Steps for all texts that an expression is tried on, about a second, and for one of them. */
const STEPS = 50_000_000;
const STEPS_OF_ONE = 2_000_000;

/**
 * What a match found: the whole, and groups by name or number; undefined for one that took no part.
 */
export interface PythonMatch {
  readonly text: string;
  group(name: string | number): string | undefined;
}

/**
 * A regular expression of Python's `re` for texts, with its syntax and its meaning: `\Z`, `{,n}`,
 * `(?i)`, `++`, `(?>...)`, `(?P<name>...)`, `(?(1)a|b)`, look-around, letters of Unicode in `\w`.
 *
 * For expressions from files: where it has no references to groups its time is linear, and one with
 * them ends with an error after a second at most, over all the texts that it is tried on.
 *
 * @throws REGEX_INVALID where Python's compile raises, and for `\N{...}` and references in a
 *   look-behind
 */
export class PythonPattern {
  readonly #program: Program;
  readonly #names: ReadonlyMap<string, number>;
  #left = STEPS;

  constructor(readonly source: string) {
    const { node, groups, names } = parse(source);
    this.#program = compile(source, node, groups);
    this.#names = names;
  }

  /** `re.match`: from the first letter on. @throws REGEX_TOO_SLOW */
  match(text: string): PythonMatch | null {
    return this.#run(text, false);
  }

  /** `re.fullmatch`: the whole text. @throws REGEX_TOO_SLOW */
  fullMatch(text: string): PythonMatch | null {
    return this.#run(text, true);
  }

  #run(text: string, whole: boolean): PythonMatch | null {
    const { source } = this;
    const codePoints = Array.from(text, (character) => character.codePointAt(0)!);
    const budget: Budget = { steps: Math.min(this.#left, STEPS_OF_ONE) };
    const before = budget.steps;
    const slots = run(this.#program, codePoints, { whole, source, budget });
    this.#left -= before - budget.steps;
    if (!slots) return null;
    const part = (group: number) => {
      const [start, end] = [slots[2 * group]!, slots[2 * group + 1]!];
      return start < 0 || end < 0
        ? undefined
        : codePoints
            .slice(start, end)
            .map((codePoint) => String.fromCodePoint(codePoint))
            .join('');
    };
    return {
      text: part(0)!,
      group: (name) => {
        const group = typeof name === 'number' ? name : this.#names.get(name);
        return group === undefined ? undefined : part(group);
      },
    };
  }
}
