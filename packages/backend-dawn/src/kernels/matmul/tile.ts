import type { DType } from '@attune/core';
import type { ComputeDType } from '@attune/core/backend';
import type { Access } from '../shader.js';
import { type Bound, named } from '../stage.js';
import { addendOf, type Problem, range } from './problem.js';

/**
 * One operand's share of a tile: `size` rows of a (or columns of b) by `depth` values of k, held in
 * workgroup memory as vec4s along whichever of the two is contiguous in the matrix, so that filling
 * it reads whole vec4s and needs no transposition.
 */
export interface Panel {
  readonly side: 'a' | 'b';
  /** Whether k is the contiguous dimension (a of N., b of .T). */
  readonly alongK: boolean;
  readonly size: number;
  readonly depth: number;
}

/**
 * Vec4s from one line of a panel to the next: one more than it holds, so that lanes hit different
 * banks.
 */
const lineOf = ({ alongK, size, depth }: Panel): number => (alongK ? depth / 4 + 1 : size / 4);

/** Vec4s that a panel takes in workgroup memory, and that filling it loads. */
export const panelVec4s = (panel: Panel): number =>
  lineOf(panel) * (panel.alongK ? panel.size : panel.depth);
export const panelLoads = ({ size, depth }: Panel): number => (size * depth) / 4;

/**
 * Where the e-th vec4 of a panel lies: x along the tile, k along the depth, and its place in
 * workgroup memory.
 */
export function panelSlot(panel: Panel, e: number): { x: number; k: number; at: number } {
  const perLine = (panel.alongK ? panel.depth : panel.size) / 4;
  const line = Math.floor(e / perLine);
  const quad = e % perLine;
  const at = line * lineOf(panel) + quad;
  return panel.alongK ? { x: line, k: quad * 4, at } : { x: quad * 4, k: line, at };
}

/** The same in WGSL: statements that declare `x`, `k` and `at` from `e`. */
export function panelSlotWgsl(panel: Panel): string {
  const perLine = (panel.alongK ? panel.depth : panel.size) / 4;
  const [line, quad] = [`e / ${perLine}u`, `e % ${perLine}u`];
  const [x, k] = panel.alongK ? [line, `${quad} * 4u`] : [`${quad} * 4u`, line];
  return `let x = ${x}; let k = ${k}; let at = (${line}) * ${lineOf(panel)}u + ${quad};`;
}

/**
 * Which of the tile's rows (or columns) a lane makes. Along k, every `lanes`-th one; along the
 * tile, groups of four neighbours: either way the lanes of a subgroup read neighbouring memory.
 */
export function owned(panel: Panel, lane: number, lanes: number, i: number): number {
  return ownedFirst(panel) * lane + ownedStep(panel, lanes, i);
}
export const ownedFirst = ({ alongK }: Panel): number => (alongK ? 1 : 4);
export const ownedStep = ({ alongK }: Panel, lanes: number, i: number): number =>
  alongK ? i * lanes : Math.floor(i / 4) * 4 * lanes + (i % 4);

/**
 * WGSL that loads a lane's values of four neighbouring k (number `kk` of the panel) into registers,
 * and the expression for its i-th value at the q-th of them.
 */
export function registers(panel: Panel, lanes: number, count: number, lane: string) {
  const { side, alongK } = panel;
  const memory = side === 'a' ? 'tileA' : 'tileB';
  const line = lineOf(panel);
  if (alongK)
    return {
      load: range(count)
        .map((i) => `let ${side}${i} = ${memory}[(${lane} + ${i * lanes}u) * ${line}u + kk];`)
        .join(' '),
      value: (i: number, q: number) => `${side}${i}[${q}]`,
    };
  return {
    load: range(4)
      .flatMap((q) =>
        range(count / 4).map(
          (i) =>
            `let ${side}${q}_${i} = ${memory}[(kk * 4u + ${q}u) * ${line}u + ${lane} + ${i * lanes}u];`,
        ),
      )
      .join(' '),
    value: (i: number, q: number) => `${side}${q}_${i >> 2}[${i & 3}]`,
  };
}

/** How one operand is read from its buffer. */
export interface Source {
  readonly dtype: DType;
  /** Its contiguous dimension is a multiple of 4: whole vec4s are inside of it or outside. */
  readonly aligned: boolean;
  readonly compute: ComputeDType;
  /** Bits of a code, if it is quantised: its scales and its map are the two bindings behind it. */
  readonly bits: 4 | 8 | null;
}

/**
 * WGSL `fn loadA4(first, x, k) -> vec4f` (or loadB4): four neighbours along the contiguous
 * dimension, zero outside of the matrix, rounded to what the product computes in. `end` is that of
 * k: a share of the whole when k is split.
 */
export function panelLoader(panel: Panel, source: Source): string {
  const { side, alongK } = panel;
  const name = `load${side.toUpperCase()}4`;
  const [extent, width] = side === 'a' ? ['p.m', 'p.m'] : ['p.n', 'p.n'];
  const index = alongK ? 'first + x * p.k + k' : `first + k * ${width} + x`;
  const { declarations, load, element } = reader(side, source);
  const inside = `x < ${extent} && k < end`;
  const parts = range(4).map((q) => {
    const [dx, dk] = alongK ? [0, q] : [q, 0];
    return `if (x + ${dx}u < ${extent} && k + ${dk}u < end) { v[${q}] = ${element(`i + ${q}u`)}; }`;
  });
  return `${declarations}
fn ${name}(first: u32, x: u32, k: u32, end: u32) -> vec4f {
  ${
    source.aligned
      ? `if (!(${inside})) { return vec4f(); }
  let i = (${index}) / 4u;
  let v = ${load('i')};`
      : `let i = ${index};
  var v = vec4f();
  ${parts.join('\n  ')}`
  }
  return ${rounded('v', source.compute)};
}`;
}

/** How an operand is read: whole vec4s where it can be. */
const accessOf = ({ dtype, aligned }: Source): Access =>
  dtype === 'float32' && aligned ? 'vec4' : dtype;

/** What a product by tiles reads, by the names in its shader. */
export const readsOf = (
  problem: Problem,
  [a, b]: readonly [Source, Source],
): Record<string, Bound> => ({
  a: { operand: problem.a, access: accessOf(a) },
  b: { operand: problem.b, access: accessOf(b) },
  ...named(problem.bMore, 'bScales', 'bMap'),
  ...addendOf(problem),
});

/** WGSL for the i-th vec4 of an aligned operand, and for the i-th element of any other. */
function reader(name: 'a' | 'b', { dtype, bits }: Source) {
  if (bits) return codeReader(bits);
  const declarations = '';
  const element = (i: string) => `${name}(${i})`;
  const data = `${name}Data`;
  if (dtype === 'float32') return { declarations, load: (i: string) => `${data}[${i}]`, element };
  const words = (i: string) => [`${data}[${i} * 2u]`, `${data}[${i} * 2u + 1u]`] as const;
  return { declarations, load: (i: string) => widened(dtype, ...words(i)), element };
}

/** WGSL: four 16-bit floats in two words, as vec4f. */
export function widened(dtype: DType, low: string, high: string): string {
  if (dtype === 'float16') return `vec4f(unpack2x16float(${low}), unpack2x16float(${high}))`;
  const mask = '0xffff0000u';
  return `bitcast<vec4f>(vec4u(${low} << 16u, ${low} & ${mask}, ${high} << 16u, ${high} & ${mask}))`;
}

/** WGSL: a vec4f after rounding to what the product computes in. */
function rounded(v: string, compute: ComputeDType): string {
  if (compute === 'float32') return v;
  const each =
    compute === 'float16'
      ? (q: number) => `unpack2x16float(packFloat16(${v}[${q}])).x`
      : (q: number) => `bitcast<f32>(packBfloat16(${v}[${q}]) << 16u)`;
  return `vec4f(${range(4).map(each).join(', ')})`;
}

/**
 * The same for a b of codes of 4 or 8 bits; their map lies in workgroup memory ({@link codeTable}).
 */
function codeReader(bits: 4 | 8) {
  const [codes, scales] = ['bData', 'bScales'];
  const word = bits === 4 ? `(${codes}[i >> 1u] >> ((i & 1u) * 16u))` : `${codes}[i]`;
  // The first of two 4-bit codes in a byte is the high one.
  const shifts = bits === 4 ? [4, 0, 12, 8] : [0, 8, 16, 24];
  const mask = bits === 4 ? '15u' : '255u';
  const four = shifts.map((shift) => `codeMap[(word >> ${shift}u) & ${mask}]`);
  const shift = bits === 4 ? '((i & 7u) ^ 1u) * 4u' : '(i & 3u) * 8u';
  return {
    declarations: `fn codes4(i: u32) -> vec4f { let word = ${word}; return ${scales}(i * 4u / p.bBlock) * vec4f(${four.join(', ')}); }
fn code(i: u32) -> f32 { return ${scales}(i / p.bBlock) * codeMap[(${codes}[i / ${32 / bits}u] >> (${shift})) & ${mask}]; }`,
    load: (i: string) => `codes4(${i})`,
    element: (i: string) => `code(${i})`,
  };
}

/**
 * WGSL for the map of a quantised b in workgroup memory: its declaration, and the code that fills
 * it.
 */
export function codeTable({ bits }: Source, lanes: number) {
  if (!bits) return { declarations: '', fill: '' };
  const size = 2 ** bits;
  return {
    declarations: `var<workgroup> codeMap: array<f32, ${size}>;`,
    fill: `for (var t = lane; t < ${size}u; t += ${lanes}u) { codeMap[t] = bMap(t); }
  workgroupBarrier();`,
  };
}

/** Bytes of workgroup memory that it takes. */
export const codeTableBytes = (bits: 4 | 8 | null): number => (bits ? 4 * 2 ** bits : 0);
