import type { Attrs } from '@attune/core/backend';
import type { DeviceFacts, MatrixUnit } from '../kernel.js';
import { matrixTypes } from '../matmul/subgroupMatrix.js';
import type { Sizes } from './problem.js';
import { vectorised } from './rows.js';

/** Subgroups of a workgroup. */
const SUBGROUPS = 4;
/** Halves, and floats, by which a line is longer than needed: lines start in other banks. */
const PAD = 8;
const SUM_PAD = 4;

/**
 * A workgroup owns `rows` queries (or keys), and `columns` keys (or queries) go by at a time.
 *
 * All that is multiplied lies in workgroup memory: a result's layout in the registers of a subgroup
 * is the unit's own affair, but the softmax needs its rows.
 */
export interface Blocks {
  readonly rows: number;
  readonly columns: number;
  /** Features of a head, up to a multiple of what the unit takes; zeros behind the last. */
  readonly width: number;
  readonly unit: MatrixUnit;
  /** Lanes of a subgroup, of the workgroup, and of those that share a row. */
  readonly S: number;
  readonly lanes: number;
  readonly perRow: number;
}

/** Matrices in workgroup memory by name: how many lines of which length, in halves or floats. */
export type Memory = Readonly<Record<string, readonly ['f16' | 'f32', number, number]>>;

const strideOf = ([type, , length]: Memory[string]): number =>
  length + (type === 'f16' ? PAD : SUM_PAD);

const bytesOf = (memory: Memory): number =>
  Object.values(memory).reduce(
    (sum, each) => sum + each[1] * strideOf(each) * (each[0] === 'f16' ? 2 : 4),
    0,
  );

/** Rows and columns in matrices of the unit, those that read least memory first. */
const shapes = [
  [4, 2],
  [2, 2],
  [1, 2],
  [1, 1],
] as const;

/**
 * The largest blocks whose memory a workgroup can hold; null where the unit is not there, not
 * allowed by the call, or too large.
 */
export function blocksOf(
  { d, t }: Sizes,
  attrs: Attrs,
  facts: DeviceFacts,
  memoryOf: (blocks: Blocks) => Memory,
): Blocks | null {
  const { matrixUnit: unit, subgroupSize: S, maxWorkgroupBytes, maxInvocations } = facts;
  const lanes = SUBGROUPS * S;
  if (!unit || attrs.compute !== 'float16' || !vectorised(d) || lanes > maxInvocations) return null;
  const { M, N, K } = unit;
  const edge = Math.max(M, N, K); // rows and columns change places in the backward pass
  if (t < edge) return null;
  for (const [down, across] of shapes) {
    const [rows, columns] = [down * edge, across * edge];
    const perRow = lanes / rows;
    const blocks = { rows, columns, width: Math.ceil(d / edge) * edge, unit, S, lanes, perRow };
    const fits = bytesOf(memoryOf(blocks)) <= maxWorkgroupBytes;
    if (fits && perRow >= 1 && perRow <= S) return blocks;
  }
  return null;
}

/** Names blocks: a part of a shader's key. */
export const blocksKey = ({ rows, columns, unit: { M, N, K }, S }: Blocks): string =>
  `matrix${rows}x${columns}:${M}x${N}x${K}:S${S}`;

export const declared = (memory: Memory): string =>
  Object.entries(memory)
    .map(
      ([name, each]) => `var<workgroup> ${name}: array<${each[0]}, ${each[1] * strideOf(each)}>;`,
    )
    .join('\n');

/** WGSL for the statements on memory that all kernels on the unit share. */
export function onMemory(memory: Memory, blocks: Blocks) {
  const { lanes, perRow, width, unit } = blocks;
  const { M, N, K } = unit;
  const stride = (name: string) => strideOf(memory[name]!);
  const at = (name: string, r: string, c: string) => `${name}[${r} * ${stride(name)}u + ${c}]`;
  return {
    at,
    /**
     * Fills halves with lines `from`, from + 1, ..., zeros from `end` on.
     *
     * @param load the vec4 number `x` of line `line`
     */
    fill(name: string, from: string, end: string, load: (line: string, x: string) => string) {
      const quads = width / 4;
      const put = [0, 1, 2, 3].map((q) => `${name}[to + ${q}u] = f16(value[${q}]);`).join(' ');
      return `for (var e = lane; e < ${memory[name]![1] * quads}u; e += ${lanes}u) {
      let line = ${from} + e / ${quads}u; let x = e % ${quads}u; let to = e / ${quads}u * ${stride(name)}u + x * 4u;
      var value = vec4f();
      if (line < ${end} && x < p.width) { value = ${load('line', 'x')}; }
      ${put}
    }`;
    },
    /** Sets a sum to zero: workgroup memory may come as it was left. */
    zero: (name: string) =>
      `for (var e = lane; e < ${memory[name]![1] * stride(name)}u; e += ${lanes}u) { ${name}[e] = 0.0; }`,
    /**
     * c = a b, or c += a b with `adds`; b is read as its transpose with `transposed`. Each subgroup
     * takes strips of neighbouring matrices of c.
     */
    product(
      c: string,
      a: string,
      b: string,
      { adds = false, transposed = false }: { adds?: boolean; transposed?: boolean },
    ) {
      const { left, right, result } = matrixTypes(unit);
      const [, m, k] = memory[a]!;
      const n = transposed ? memory[b]![1] : memory[b]![2];
      const across = n / N;
      const strips = (m / M) * across;
      const each = [4, 2, 1].find((g) => across % g === 0 && strips / g >= SUBGROUPS) ?? 1;
      const one = (j: number) => ({
        sum: `${c}Sum${j}`,
        other: `${c}Right${j}`,
        place: `i * ${stride(c)}u + j + ${j * N}u`,
        from: transposed
          ? `(j + ${j * N}u) * ${stride(b)}u + kk`
          : `kk * ${stride(b)}u + j + ${j * N}u`,
      });
      const strip = Array.from({ length: each }, (_, j) => one(j));
      const lines = (line: (s: ReturnType<typeof one>) => string) =>
        strip.map(line).join('\n      ');
      return `for (var strip = lane / ${blocks.S}u; strip < ${strips / each}u; strip += ${SUBGROUPS}u) {
      let i = strip / ${across / each}u * ${M}u;
      let j = strip % ${across / each}u * ${each * N}u;
      ${lines(({ sum }) => `var ${sum}: ${result};`)}
      ${adds ? lines(({ sum, place }) => `${sum} = subgroupMatrixLoad<${result}, row_major>(&${c}, ${place}, ${stride(c)}u);`) : ''}
      for (var kk = 0u; kk < ${k}u; kk += ${K}u) {
      let ${c}Left = subgroupMatrixLoad<${left}, row_major>(&${a}, i * ${stride(a)}u + kk, ${stride(a)}u);
      ${lines(({ other, from }) => `let ${other} = subgroupMatrixLoad<${right}, ${transposed ? 'col_major' : 'row_major'}>(&${b}, ${from}, ${stride(b)}u);`)}
      ${lines(({ sum, other }) => `${sum} = subgroupMatrixMultiplyAccumulate(${c}Left, ${other}, ${sum});`)}
      }
      ${lines(({ sum, place }) => `subgroupMatrixStore<row_major>(&${c}, ${place}, ${sum}, ${stride(c)}u);`)}
    }`;
    },
    /** A statement for each of a row's columns that a lane has: `c`, with `r` the row. */
    eachColumn: (body: string) =>
      `for (var c = part; c < ${blocks.columns}u; c += ${perRow}u) { ${body} }`,
    /** Stores a row of sums, four features at a time. */
    stored: (name: string, to: (x: string, four: string) => string) =>
      `for (var x = part; x < p.width; x += ${perRow}u) { ${to(
        'x',
        `vec4f(${[0, 1, 2, 3].map((q) => at(name, 'r', `x * 4u + ${q}u`)).join(', ')})`,
      )} }`,
    /** Joins what the lanes of a row have: `combine` of a value and another lane's. */
    overRow(name: string, combine: (a: string, b: string) => string) {
      const steps = [];
      for (let step = 1; step < perRow; step *= 2)
        steps.push(`${name} = ${combine(name, `subgroupShuffleXor(${name}, ${step}u)`)};`);
      return steps.join(' ');
    },
  };
}
