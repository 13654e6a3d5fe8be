/** Whether one code point fits. */
export type CharTest = (codePoint: number) => boolean;

/** The text as code points, and a place in it. */
export type PlaceTest = (text: readonly number[], at: number) => boolean;

/** A regular expression as it was read: what `parse` gives and `compile` takes. */
export type Node =
  | { readonly type: 'char'; readonly test: CharTest }
  | { readonly type: 'place'; readonly test: PlaceTest }
  | { readonly type: 'sequence'; readonly items: readonly Node[] }
  | { readonly type: 'choice'; readonly options: readonly Node[] }
  | Repeat
  | { readonly type: 'group'; readonly index: number; readonly item: Node }
  | { readonly type: 'reference'; readonly group: number; readonly same: SameTest }
  | Look
  | { readonly type: 'atomic'; readonly item: Node }
  | Conditional;

/** Whether two code points count as one: equal, or equal but for their case. */
export type SameTest = (a: number, b: number) => boolean;

interface Repeat {
  readonly type: 'repeat';
  readonly item: Node;
  readonly min: number;
  /** Infinity: no most. */
  readonly max: number;
  readonly lazy: boolean;
}

/** `(?=...)`, `(?!...)`, `(?<=...)`, `(?<!...)` */
interface Look {
  readonly type: 'look';
  readonly item: Node;
  readonly negated: boolean;
  /** Code points that it looks back over; null: it looks ahead. */
  readonly behind: number | null;
}

/** `(?(group)yes|no)` */
interface Conditional {
  readonly type: 'conditional';
  readonly group: number;
  readonly yes: Node;
  readonly no: Node;
}

export interface Flags {
  /** `i`: cases are one. */
  readonly ignoreCase: boolean;
  /** `s`: the dot fits line feeds too. */
  readonly dotAll: boolean;
  /** `m`: `^` and `$` at every line. */
  readonly multiline: boolean;
  /** `x`: white space and comments are left out. */
  readonly verbose: boolean;
  /** `a`: classes are those of ASCII. */
  readonly ascii: boolean;
}

/** Code points from the least to the most that a node takes. */
export interface Width {
  readonly min: number;
  readonly max: number;
}

export function widthOf(node: Node): Width {
  switch (node.type) {
    case 'char':
      return { min: 1, max: 1 };
    case 'place':
    case 'look':
      return { min: 0, max: 0 };
    case 'sequence':
      return node.items.map(widthOf).reduce(sum, { min: 0, max: 0 });
    case 'choice':
      return node.options.map(widthOf).reduce(either);
    case 'repeat': {
      const { min, max } = widthOf(node.item);
      return { min: min * node.min, max: max === 0 ? 0 : max * node.max };
    }
    case 'group':
    case 'atomic':
      return widthOf(node.item);
    case 'conditional':
      return either(widthOf(node.yes), widthOf(node.no));
    case 'reference':
      return { min: 0, max: Number.POSITIVE_INFINITY };
  }
}

const sum = (a: Width, b: Width): Width => ({ min: a.min + b.min, max: a.max + b.max });

const either = (a: Width, b: Width): Width => ({
  min: Math.min(a.min, b.min),
  max: Math.max(a.max, b.max),
});
