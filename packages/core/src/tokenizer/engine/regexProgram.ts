import type { CharSet } from './charSet.js';
import { type Assertion, type Node, PatternError } from './regexSyntax.js';

/** A step of a pattern's program; `next` is the step after it. */
export type Step =
  | { op: 'set'; set: CharSet; next: number }
  | {
      op: 'loop';
      set: CharSet;
      min: number;
      max: number;
      mode: Mode;
      /** Its own index: what a way back names. */
      self: number;
      next: number;
    }
  | { op: 'split'; first: number; second: number }
  | { op: 'choice'; options: readonly Option[]; next: number }
  | { op: 'assert'; at: Assertion; next: number }
  | { op: 'atomic'; start: number; next: number }
  | {
      op: 'look';
      start: number;
      negative: boolean;
      /** For a look behind: how many characters back it may begin. */
      back: readonly [min: number, max: number] | null;
      next: number;
    }
  | { op: 'mark'; slot: number; next: number }
  | { op: 'moved'; slot: number; next: number; same: number }
  | { op: 'done' };

type Mode = 'greedy' | 'lazy' | 'possessive';

/**
 * A way of a choice: where it begins, and which characters it can begin with (null: any, or none at
 * all).
 */
export interface Option {
  readonly start: number;
  readonly first: readonly CharSet[] | null;
}

export interface Program {
  readonly steps: readonly Step[];
  readonly start: number;
  /** How many loops remember where their round began. */
  readonly slots: number;
  /** What a match can begin with; null where it may be empty. */
  readonly first: readonly CharSet[] | null;
}

const MAX_STEPS = 50_000;

/** @throws PatternError when counted repetitions make it longer than can be run */
export function compilePattern(node: Node): Program {
  const compiler = new Compiler();
  const done = compiler.add({ op: 'done' });
  const start = compiler.build(node, done);
  return { steps: compiler.steps, start, slots: compiler.slots, first: firstSets(node) };
}

class Compiler {
  readonly steps: Step[] = [];
  slots = 0;

  add(step: Step): number {
    if (this.steps.length >= MAX_STEPS) throw new PatternError('its repetitions are too many');
    this.steps.push(step);
    return this.steps.length - 1;
  }

  /** Steps for `node` that go on at `next`; returns where they begin. */
  build(node: Node, next: number): number {
    switch (node.kind) {
      case 'empty':
        return next;
      case 'set':
        return this.add({ op: 'set', set: node.set, next });
      case 'sequence':
        return node.items.reduceRight((after, item) => this.build(item, after), next);
      case 'choice': {
        const options = node.options.map((option) => ({
          start: this.build(option, next),
          first: firstSets(option),
        }));
        return this.add({ op: 'choice', options, next });
      }
      case 'assert':
        return this.add({ op: 'assert', at: node.at, next });
      case 'atomic': {
        const start = this.build(node.item, this.add({ op: 'done' }));
        return this.add({ op: 'atomic', start, next });
      }
      case 'look': {
        const start = this.build(node.item, this.add({ op: 'done' }));
        const back = node.behind ? lengths(node.item) : null;
        return this.add({ op: 'look', start, negative: node.negative, back, next });
      }
      case 'repeat':
        return this.#repeat(node, next);
    }
  }

  #repeat(node: Extract<Node, { kind: 'repeat' }>, next: number): number {
    const { item, min, max, mode } = node;
    if (item.kind === 'set') {
      const self = this.steps.length;
      return this.add({ op: 'loop', set: item.set, min, max, mode, self, next });
    }
    if (mode === 'possessive') {
      const start = this.#repeat({ ...node, mode: 'greedy' }, this.add({ op: 'done' }));
      return this.add({ op: 'atomic', start, next });
    }
    const either = (go: number, stay: number): Step =>
      mode === 'lazy'
        ? { op: 'split', first: stay, second: go }
        : { op: 'split', first: go, second: stay };
    let start = next;
    if (max === Number.POSITIVE_INFINITY) {
      // A round that matched nothing ends the loop: else it would go on for ever.
      const slot = this.slots++;
      const loop = this.add({ op: 'split', first: 0, second: 0 });
      const moved = this.add({ op: 'moved', slot, next: loop, same: next });
      const round = this.add({ op: 'mark', slot, next: this.build(item, moved) });
      this.steps[loop] = either(round, next);
      start = loop;
    } else for (let i = min; i < max; i++) start = this.add(either(this.build(item, start), next));
    for (let i = 0; i < min; i++) start = this.build(item, start);
    return start;
  }
}

/** Sets that a match of `node` can begin with; null where it can match without a character. */
function firstSets(node: Node): readonly CharSet[] | null {
  switch (node.kind) {
    case 'set':
      return [node.set];
    case 'atomic':
      return firstSets(node.item);
    case 'repeat':
      return node.min > 0 ? firstSets(node.item) : null;
    case 'choice': {
      const all = node.options.map(firstSets);
      return all.includes(null) ? null : all.flatMap((sets) => sets!);
    }
    case 'sequence': {
      const before: CharSet[] = [];
      for (const item of node.items) {
        const sets = firstSets(item);
        if (sets) return [...before, ...sets];
        const may = beginnings(item);
        if (!may) return null;
        before.push(...may);
      }
      return null;
    }
    default:
      return null;
  }
}

/** What an item that may be empty begins with where it is not; null where that is not known. */
function beginnings(node: Node): readonly CharSet[] | null {
  if (node.kind === 'assert' || node.kind === 'look' || node.kind === 'empty') return [];
  if (node.kind === 'repeat') return node.max === 0 ? [] : firstSets(node.item);
  return null;
}

/** Fewest and most characters that `node` matches. */
function lengths(node: Node): readonly [number, number] {
  switch (node.kind) {
    case 'set':
      return [1, 1];
    case 'atomic':
      return lengths(node.item);
    case 'repeat': {
      const [min, max] = lengths(node.item);
      return [min * node.min, max === 0 || node.max === 0 ? 0 : max * node.max];
    }
    case 'choice': {
      const all = node.options.map(lengths);
      return [Math.min(...all.map((l) => l[0])), Math.max(...all.map((l) => l[1]))];
    }
    case 'sequence':
      return node.items
        .map(lengths)
        .reduce<readonly [number, number]>((a, b) => [a[0] + b[0], a[1] + b[1]], [0, 0]);
    default:
      return [0, 0];
  }
}
