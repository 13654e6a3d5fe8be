import { AttuneError } from '../errors.js';
import type { Program } from './program.js';

/**
 * Steps that are left to an expression, over all the texts that it is tried on: a text takes a part
 * of it.
 */
export interface Budget {
  steps: number;
}

export interface RunOptions {
  /** The match must reach the end of the text. */
  readonly whole: boolean;
  readonly budget: Budget;
  /** For messages. */
  readonly source: string;
}

/** Where groups start and end; -1 where one was not reached. */
type Slots = Int32Array;

/**
 * The first match from the start of the text, in Python's order of preference: slots, or null.
 *
 * A backtracking machine. Where what follows does not depend on groups, each instruction is tried
 * once at each place: the time is linear in the length of expression times text.
 *
 * @throws REGEX_TOO_SLOW when the budget is used up
 */
export function run(program: Program, text: readonly number[], options: RunOptions): Slots | null {
  const slots = new Int32Array(program.slots).fill(-1);
  const end = new Machine(program, text, options).run(0, 0, slots, options.whole);
  if (end === null) return null;
  slots[0] = 0;
  slots[1] = end;
  return slots;
}

class Machine {
  constructor(
    private readonly program: Program,
    private readonly text: readonly number[],
    private readonly options: RunOptions,
  ) {}

  /**
   * From instruction `pc` at the place `at` up to an `accept`: where that is, or null and the slots
   * as they were.
   */
  run(pc: number, at: number, slots: Slots, whole: boolean): number | null {
    const { text, program } = this;
    const { instructions, isMemoryless } = program;
    const { budget, source } = this.options;
    const width = text.length + 1;
    const tried = isMemoryless ? new Uint8Array(instructions.length * width) : null;
    budget.steps -= (tried?.length ?? 0) >> 7; // clearing it takes its time too
    // Places to go on from, as pairs (instruction, place); and slots to put back, as (-1 - slot,
    // what it held).
    const stack: number[] = [];
    let failed = false;
    for (;;) {
      if (failed) {
        const place = stack.pop();
        if (place === undefined) return null;
        const target = stack.pop()!;
        if (target < 0) {
          slots[-1 - target] = place;
          continue;
        }
        pc = target;
        at = place;
        failed = false;
      }
      if (--budget.steps < 0) throw tooSlow(source);
      const instruction = instructions[pc]!;
      switch (instruction.op) {
        case 'char':
          if (at < text.length && instruction.test(text[at]!)) {
            pc++;
            at++;
          } else failed = true;
          break;
        case 'place':
          if (instruction.test(text, at)) pc++;
          else failed = true;
          break;
        case 'split': {
          // Loops and choices all pass here: what was tried at a split need not be tried again.
          const key = pc * width + at;
          if (tried?.[key] === 1) {
            failed = true;
            break;
          }
          if (tried) tried[key] = 1;
          stack.push(instruction.second, at);
          pc = instruction.first;
          break;
        }
        case 'jump':
          pc = instruction.to;
          break;
        case 'save':
          stack.push(-1 - instruction.slot, slots[instruction.slot]!);
          slots[instruction.slot] = at;
          pc++;
          break;
        case 'moved':
          pc = slots[instruction.slot] === at ? instruction.exit : pc + 1;
          break;
        case 'reference': {
          const end = this.#afterReference(instruction.group, instruction.same, at, slots);
          if (end === null) failed = true;
          else {
            at = end;
            pc++;
          }
          break;
        }
        case 'condition':
          pc = slots[2 * instruction.group + 1]! >= 0 ? pc + 1 : instruction.no;
          break;
        case 'look': {
          const start = at - (instruction.behind ?? 0);
          const before = slots.slice();
          const fits = start >= 0 && this.run(pc + 1, start, slots, false) !== null;
          if (fits === instruction.negated) {
            slots.set(before);
            failed = true;
            break;
          }
          if (instruction.negated) slots.set(before);
          else remember(stack, before, slots);
          pc = instruction.next;
          break;
        }
        case 'atomic': {
          const before = slots.slice();
          const end = this.run(pc + 1, at, slots, false);
          if (end === null) {
            failed = true;
            break;
          }
          remember(stack, before, slots);
          at = end;
          pc = instruction.next;
          break;
        }
        case 'accept':
          if (!whole || at === text.length) return at;
          failed = true;
      }
    }
  }

  #afterReference(
    group: number,
    same: (a: number, b: number) => boolean,
    at: number,
    slots: Slots,
  ): number | null {
    const { text } = this;
    const start = slots[2 * group]!;
    const end = slots[2 * group + 1]!;
    if (start < 0 || end < 0) return null;
    for (let from = start; from < end; from++, at++)
      if (at >= text.length || !same(text[from]!, text[at]!)) return null;
    return at;
  }
}

/** What a part that was matched for itself changed is put back when the whole goes another way. */
function remember(stack: number[], before: Slots, after: Slots): void {
  for (let slot = 0; slot < before.length; slot++)
    if (before[slot] !== after[slot]) stack.push(-1 - slot, before[slot]!);
}

const tooSlow = (source: string): AttuneError =>
  new AttuneError('REGEX_TOO_SLOW', `"${source}" backtracks without end.`, {
    remedy: 'Write it without repeats within repeats, or give a list of names.',
  });
