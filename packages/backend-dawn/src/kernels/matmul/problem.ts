import { type DType, ops } from '@attune/core';
import type { ComputeDType, OpCall, Operand, OperandSpec } from '@attune/core/backend';
import { f32, type Param, u32 } from '../kernel.js';

/**
 * a and b as they lie in memory: N not transposed, T transposed. A linear layer is NT, its dX NN,
 * its dW TN.
 */
export type Layout = 'NN' | 'NT' | 'TN' | 'TT';

/**
 * What a scaled product is added to: nothing, a third operand, a row of it, what the output held.
 */
export type Plus = 'nothing' | 'addend' | 'bias' | 'output';

/** A product without its memory: all that the choice of a kernel depends on. */
export interface ProductSpec {
  readonly layout: Layout;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  readonly aDtype: DType;
  readonly bDtype: DType;
  /** Bits of a code where b is quantised: then bDtype is that of the words. */
  readonly bBits: 4 | 8 | null;
  /** Numbers of a quantised b that share a scale. */
  readonly bBlock: number;
  readonly addendDtype: DType | null;
  /** What both operands are rounded to while they are loaded. */
  readonly compute: ComputeDType;
  readonly scale: number;
  readonly plus: Plus;
  /** Elements from one b to the next; 0 when one b serves all. */
  readonly bStep: number;
}

/** scale * a b + what `plus` says. */
export interface Problem extends ProductSpec {
  readonly a: Operand;
  readonly b: Operand;
  /** Scales and map of a quantised b. */
  readonly bMore: readonly Operand[];
  /** What is added, if it is an operand. */
  readonly addend: readonly Operand[];
  readonly out: Operand;
}

export function specOf(inputs: readonly OperandSpec[], attrs: ops.MatmulAttrs): ProductSpec {
  const [a, b, addend] = inputs as [OperandSpec, OperandSpec, OperandSpec?];
  const sizes = ops.matmulSizes(a.shape, b.shape, attrs);
  const { n, k, batchOther } = sizes;
  // A batch against one matrix is one tall product.
  const isTall = batchOther === 1 && !attrs.transposeA;
  const [m, batch] = isTall ? [sizes.m * sizes.batch, 1] : [sizes.m, sizes.batch];
  return {
    layout: `${attrs.transposeA ? 'T' : 'N'}${attrs.transposeB ? 'T' : 'N'}` as Layout,
    m,
    n,
    k,
    batch,
    aDtype: a.dtype,
    bDtype: b.dtype,
    bBits: null,
    bBlock: 1,
    addendDtype: addend?.dtype ?? null,
    compute: attrs.compute,
    scale: attrs.scale,
    plus: attrs.accumulate ? 'output' : addendKind(addend),
    bStep: batchOther === 1 ? 0 : n * k,
  };
}

export function problemOf(call: OpCall): Problem {
  const [a, b, ...addend] = call.inputs as [Operand, Operand, ...Operand[]];
  const spec = specOf(call.inputs, call.attrs as unknown as ops.MatmulAttrs);
  // Not a spread of both: this runs for every product of every step, and assign is a tenth of the
  // cost.
  return Object.assign(spec, { a, b, bMore: [], addend, out: call.outputs[0]! });
}

function addendKind(addend: OperandSpec | undefined): Plus {
  if (!addend) return 'nothing';
  return addend.shape.length === 1 ? 'bias' : 'addend';
}

interface Grid {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly aStep: number;
  readonly bStep: number;
  /** Tiles of a row of tiles, and of a whole product. */
  readonly columns: number;
  readonly tiles: number;
  readonly batch: number;
  readonly bBlock: number;
  readonly scale: number;
}

/** The numbers that every product's shader reads. */
export const paramsOf = (grid: Grid): Record<string, Param> => ({
  m: u32(grid.m),
  n: u32(grid.n),
  k: u32(grid.k),
  aStep: u32(grid.aStep),
  bStep: u32(grid.bStep),
  columns: u32(grid.columns),
  tiles: u32(grid.tiles),
  batch: u32(grid.batch),
  bBlock: u32(grid.bBlock),
  scale: f32(grid.scale),
});

/** What is added, under the name by which {@link stored} reads it. */
export const addendOf = ({ addend: [addend] }: Problem): Record<string, Operand> =>
  addend ? { addend } : {};

/** WGSL: what is stored at `at` of `out`, in column `j`, of a product `value`. */
export function stored(plus: Plus, value: string, at: string, j: string): string {
  return plus === 'nothing'
    ? `p.scale * ${value}`
    : `fma(p.scale, ${value}, ${added(plus, at, j)})`;
}

/** The same for four neighbours: `at` and `j` count vec4s, and so do the buffers. */
export function storedFour(plus: Plus, value: string, at: string, j: string): string {
  return plus === 'nothing'
    ? `p.scale * ${value}`
    : `fma(vec4f(p.scale), ${value}, ${added(plus, at, j)})`;
}

const added = (plus: Exclude<Plus, 'nothing'>, at: string, j: string): string =>
  ({ addend: `addend(${at})`, bias: `addend(${j})`, output: `out[${at}]` })[plus];

/** The part of a shader's key that the epilogue decides. */
export const epilogueKey = ({ plus, addendDtype }: ProductSpec): string =>
  addendDtype ? `${plus}-${addendDtype}` : plus;

export const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
