import { AttuneError } from '../errors.js';
import type { CharTest, Node, PlaceTest, SameTest } from './syntax.js';

/** One step of a match; numbers `to` are places in the program. */
export type Instruction =
  | { readonly op: 'char'; readonly test: CharTest }
  | { readonly op: 'place'; readonly test: PlaceTest }
  /** Goes on at `first`, and where that fails at `second`. */
  | { readonly op: 'split'; first: number; second: number }
  | { readonly op: 'jump'; to: number }
  /** Remembers the place: slots 2g and 2g + 1 are the start and the end of group g. */
  | { readonly op: 'save'; readonly slot: number }
  /** At the end of a loop's body: fails where nothing was taken since `slot` was saved. */
  | { readonly op: 'moved'; readonly slot: number; exit: number }
  | { readonly op: 'reference'; readonly group: number; readonly same: SameTest }
  /** Runs what follows up to its `accept`, then goes on at `next`. */
  | { readonly op: 'look'; readonly negated: boolean; readonly behind: number | null; next: number }
  | { readonly op: 'atomic'; next: number }
  | { readonly op: 'condition'; readonly group: number; no: number }
  | { readonly op: 'accept' };

export interface Program {
  readonly instructions: readonly Instruction[];
  readonly slots: number;
  /**
   * What comes later does not depend on what groups hold: a place that failed once fails always.
   */
  readonly isMemoryless: boolean;
}

/** Instructions at most: `(a{1000}){1000}` would be a million. */
const LONGEST = 20_000;

/** @throws REGEX_INVALID when counted repeats make it too long */
export function compile(source: string, node: Node, groups: number): Program {
  const instructions: Instruction[] = [];
  let slots = 2 * (groups + 1);
  let isMemoryless = true;

  const emit = <T extends Instruction>(instruction: T): T => {
    if (instructions.length >= LONGEST)
      throw new AttuneError(
        'REGEX_INVALID',
        `"${source}": its repeats make more than ${LONGEST} steps.`,
        { remedy: 'Repeat less, or give a list of names.' },
      );
    instructions.push(instruction);
    return instruction;
  };
  const here = () => instructions.length;

  /**
   * A way in, tried first unless `lazy`, and a way past it; `to` of both is set when it is known.
   */
  const choose = (lazy: boolean) => {
    const split = emit({ op: 'split', first: 0, second: 0 });
    const set = (isFirst: boolean, to: number) => {
      if (isFirst) split.first = to;
      else split.second = to;
    };
    return {
      inside: (to: number) => set(!lazy, to),
      outside: (to: number) => set(lazy, to),
    };
  };

  const repeat = (item: Node, min: number, max: number, lazy: boolean) => {
    for (let i = 0; i < min; i++) write(item);
    if (max === Number.POSITIVE_INFINITY) {
      const slot = slots++;
      const start = here();
      const choice = choose(lazy);
      choice.inside(here());
      emit({ op: 'save', slot });
      write(item);
      const moved = emit({ op: 'moved', slot, exit: 0 });
      emit({ op: 'jump', to: start });
      choice.outside(here());
      moved.exit = here();
      return;
    }
    const choices = Array.from({ length: max - min }, () => {
      const choice = choose(lazy);
      choice.inside(here());
      write(item);
      return choice;
    });
    for (const choice of choices) choice.outside(here());
  };

  const enclosed = (start: { next: number }, item: Node) => {
    write(item);
    emit({ op: 'accept' });
    start.next = here();
  };

  const write = (part: Node): void => {
    switch (part.type) {
      case 'char':
        emit({ op: 'char', test: part.test });
        return;
      case 'place':
        emit({ op: 'place', test: part.test });
        return;
      case 'sequence':
        part.items.forEach(write);
        return;
      case 'choice': {
        const ends = part.options.slice(0, -1).map((option) => {
          const choice = choose(false);
          choice.inside(here());
          write(option);
          const end = emit({ op: 'jump', to: 0 });
          choice.outside(here());
          return end;
        });
        write(part.options.at(-1)!);
        for (const end of ends) end.to = here();
        return;
      }
      case 'repeat':
        repeat(part.item, part.min, part.max, part.lazy);
        return;
      case 'group':
        emit({ op: 'save', slot: 2 * part.index });
        write(part.item);
        emit({ op: 'save', slot: 2 * part.index + 1 });
        return;
      case 'reference':
        isMemoryless = false;
        emit({ op: 'reference', group: part.group, same: part.same });
        return;
      case 'look': {
        const { negated, behind } = part;
        enclosed(emit({ op: 'look', negated, behind, next: 0 }), part.item);
        return;
      }
      case 'atomic':
        enclosed(emit({ op: 'atomic', next: 0 }), part.item);
        return;
      case 'conditional': {
        isMemoryless = false;
        const condition = emit({ op: 'condition', group: part.group, no: 0 });
        write(part.yes);
        const end = emit({ op: 'jump', to: 0 });
        condition.no = here();
        write(part.no);
        end.to = here();
      }
    }
  };

  write(node);
  emit({ op: 'accept' });
  return { instructions, slots, isMemoryless };
}
