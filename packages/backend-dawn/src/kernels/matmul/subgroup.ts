import type { DType } from '@attune/core';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import {
  addendOf,
  epilogueKey,
  type Layout,
  type Problem,
  type ProductSpec,
  paramsOf,
  range,
  stored,
  storedFour,
} from './problem.js';
import { widened } from './tile.js';

/** Rows and columns a lane makes. */
export interface SubgroupTile {
  readonly TM: number;
  readonly TN: number;
  /** Make the transpose of an NT product, so that the lanes lie along the long side. */
  readonly transposed: boolean;
}

/** `load...4(i)`: four neighbouring elements of b at vec4 index i, widened. @param name b's */
export function vec4Loader(dtype: DType, name: string): string {
  const [fn, data] = [`load${name.toUpperCase()}4`, `${name}Data`];
  if (dtype === 'float32') return `fn ${fn}(i: u32) -> vec4f { return ${data}[i]; }`;
  return `fn ${fn}(i: u32) -> vec4f { let w = ${data}[i]; return ${widened(dtype, 'w.x', 'w.y')}; }`;
}

/** Whether four neighbours of the output, and of what is added to it, are one vec4. */
const storesFour = ({ m, n, addendDtype }: ProductSpec, { transposed }: SubgroupTile): boolean =>
  (transposed ? m : n) % 4 === 0 && (addendDtype === null || addendDtype === 'float32');

/** Values of k that one turn of the loop multiplies: where a lies along k, a vec4 of it. */
const depthOf = ({ layout, k }: ProductSpec): number => (layout !== 'TN' ? 4 : k % 2 === 0 ? 2 : 1);

/** The part of a that one turn of the loop multiplies: `rows` of it and `depth` values of k. */
export interface PieceOfA {
  readonly layout: Layout;
  readonly rows: number;
  readonly depth: number;
}

/** Vec4s of a piece that each of S lanes loads. */
export const loadsOfA = ({ layout, rows, depth }: PieceOfA, S: number): number =>
  Math.ceil((layout === 'TN' ? (rows / 4) * depth : rows) / S);

/** Where the e-th vec4 of a piece begins. It lies along k, in TN along the rows. */
export function vec4OfA({ layout, rows }: PieceOfA, e: number): { row: number; k: number } {
  if (layout !== 'TN') return { row: e, k: 0 };
  return { row: (e % (rows / 4)) * 4, k: Math.floor(e / (rows / 4)) };
}

/** Who holds a value of a piece: which lane, in which of the vec4s it loads, where in that. */
export function holderOfA(
  { layout, rows }: PieceOfA,
  S: number,
  { row, k }: { row: number; k: number },
): { lane: number; load: number; component: number } {
  const [e, component] = layout === 'TN' ? [k * (rows / 4) + (row >> 2), row & 3] : [row, k];
  return { lane: e % S, load: Math.floor(e / S), component };
}

/**
 * WGSL: what is known before the loop, what a turn loads, and the value of a row at the q-th k of a
 * turn.
 */
export function operandA(piece: PieceOfA, S: number) {
  const { layout, rows, depth } = piece;
  const loads = range(loadsOfA(piece, S));
  const value = (row: number, q: number) => {
    const { lane, load, component } = holderOfA(piece, S, { row, k: q });
    return `subgroupShuffle(a${load}[${component}], ${lane}u)`;
  };
  if (layout !== 'TN')
    return {
      before: loads.map(
        (i) => `  let atA${i} = (aFirst + min(row + lane + ${i * S}u, p.m - 1u) * p.k) / 4u;`,
      ),
      load: loads.map((i) => `    let a${i} = a(atA${i} + k / 4u);`),
      value,
    };
  const quads = rows / 4;
  const last = quads * depth - 1; // there may be more lanes than vec4s
  return {
    before: loads.flatMap((i) => [
      `  let e${i} = min(lane + ${i * S}u, ${last}u);`,
      `  let atA${i} = aFirst + (e${i} / ${quads}u) * p.m + min(row + (e${i} % ${quads}u) * 4u, p.m - 4u);`,
    ]),
    load: loads.map((i) => `    let a${i} = a((atA${i} + k * p.m) / 4u);`),
    value,
  };
}

/** The same for b, of which each lane loads its own TN columns. */
function operandB({ layout }: ProductSpec, TN: number, depth: number) {
  if (layout === 'NT')
    return {
      before: range(TN).map(
        (n) => `  let atB${n} = (bFirst + min(col + ${n}u, p.n - 1u) * p.k) / 4u;`,
      ),
      load: range(TN).map((n) => `    let b${n} = loadB4(atB${n} + k / 4u);`),
      value: (n: number, q: number) => `b${n}[${q}]`,
    };
  return {
    before: range(TN / 4).map((n) => `  let atB${n} = bFirst + min(col + ${n * 4}u, p.n - 4u);`),
    load: range(depth).flatMap((q) =>
      range(TN / 4).map((n) => `    let b${q}_${n} = loadB4((atB${n} + (k + ${q}u) * p.n) / 4u);`),
    ),
    value: (n: number, q: number) => `b${q}_${n >> 2}[${n & 3}]`,
  };
}

/**
 * WGSL that stores the tile, four rows (or all, of fewer) in each turn of a loop; then the
 * registers of the next four take their place. Four neighbours of the output are stored together
 * where they can be.
 */
function storeTile(spec: ProductSpec, tile: SubgroupTile): string {
  const { plus } = spec;
  const { TM, TN, transposed } = tile;
  const wide = storesFour(spec, tile);
  const put = (m: number, n: number) => {
    const at = transposed ? `at + ${m}u` : `at + ${n}u`;
    const j = transposed ? `r + ${m}u` : `col + ${n}u`;
    const inside = transposed ? `r + ${m}u < p.m` : `col + ${n}u < p.n`;
    return `if (${inside}) { out[${at}] = ${stored(plus, `c${m}_${n}`, at, j)}; }`;
  };
  const putFour = (cells: string[], quad: number) => {
    const [first, end] = transposed ? ['r', 'p.m'] : ['col', 'p.n'];
    const at = `at / 4u + ${quad}u`;
    const value = storedFour(plus, `vec4f(${cells.join(', ')})`, at, `${first} / 4u + ${quad}u`);
    return `if (${first} + ${quad * 4}u < ${end}) { out[${at}] = ${value}; }`;
  };
  const four = range(4);
  const rows = range(Math.min(4, TM));
  const lines = transposed
    ? range(TN).map((n) => {
        const puts = wide
          ? putFour(
              four.map((m) => `c${m}_${n}`),
              0,
            )
          : rows.map((m) => put(m, n)).join(' ');
        return `if (col + ${n}u < p.n) { let at = (z * p.n + col + ${n}u) * p.m + r; ${puts} }`;
      })
    : rows.map((m) => {
        const puts = wide
          ? range(TN / 4).map((quad) =>
              putFour(
                four.map((i) => `c${m}_${quad * 4 + i}`),
                quad,
              ),
            )
          : range(TN).map((n) => put(m, n));
        return `if (r + ${m}u < p.m) { let at = (z * p.m + r + ${m}u) * p.n + col; ${puts.join(' ')} }`;
      });
  const turned = range(TM - rows.length).map((m) =>
    range(TN)
      .map((n) => `c${m}_${n} = c${m + rows.length}_${n};`)
      .join(' '),
  );
  return `  let end = min(row + ${TM}u, p.m);
  for (var r = row; r < end; r += ${rows.length}u) {
    ${[...lines, ...turned].join('\n    ')}
  }`;
}

/**
 * Subgroup-broadcast product: a workgroup is one subgroup of S lanes and makes TM rows of S * TN
 * columns. In every turn of a short loop the lanes load a piece of a together, and shuffles hand it
 * round, so that a value of a is loaded once for all lanes; each lane loads its own columns of b.
 *
 * On a software device a vec4 that is loaded or stored is some 300 instructions, 2.5 KB. They
 * decide what a product costs, how long it takes to compile, and whether its loop fits the cache of
 * instructions: hence a tile whose loop fits, and a loop for the stores.
 *
 * `transposed` stores out[col, row]: an NT product with few columns is computed as its transpose,
 * so that the lanes lie along the long side.
 *
 * Needs float32 a; K a multiple of 4 (NN, NT), N of 4 (NN, TN), M of 4 (TN). Edges are clamped when
 * loading and skipped when storing.
 */
function subgroupProduct(spec: ProductSpec, tile: SubgroupTile, S: number): string {
  const { layout } = spec;
  const { TM, TN } = tile;
  const depth = depthOf(spec);
  const a = operandA({ layout, rows: TM, depth }, S);
  const b = operandB(spec, TN, depth);
  const products = range(TM).map((m) => {
    const values = range(depth).map((q) => `let x${q} = ${a.value(m, q)};`);
    const sums = range(depth).flatMap((q) =>
      range(TN).map((n) => `c${m}_${n} = fma(x${q}, ${b.value(n, q)}, c${m}_${n});`),
    );
    return `    { ${[...values, ...sums].join(' ')} }`;
  });
  return `  if (group >= p.tiles * p.batch) { return; }
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${TM}u;
  let col = (tile % p.columns) * ${S * TN}u + lane * ${TN}u;
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  ${range(TM)
    .flatMap((m) => range(TN).map((n) => `var c${m}_${n} = 0.0;`))
    .join(' ')}
${[...a.before, ...b.before].join('\n')}
  for (var k = 0u; k < p.k; k += ${depth}u) {
${[...a.load, ...b.load, ...products].join('\n')}
  }
${storeTile(spec, tile)}`;
}

/** Subgroup sizes for which the unrolled kernel stays small enough to compile and to cache. */
export function acceptsSubgroups(p: ProductSpec, facts: DeviceFacts): boolean {
  const aligned =
    p.layout === 'TN'
      ? p.m % 4 === 0 && p.n % 4 === 0
      : p.k % 4 === 0 && (p.layout === 'NT' || p.n % 4 === 0);
  return (
    facts.software &&
    facts.subgroupSize >= 4 &&
    facts.subgroupSize <= 16 &&
    p.layout !== 'TT' &&
    p.aDtype === 'float32' &&
    p.compute === 'float32' &&
    p.bBits === null &&
    aligned
  );
}

/** Rows of a tile for products of few rows: a LoRA's rank, tokens that are generated. */
export const heights = [1, 2, 4, 8, 16];

/** The tile that is best more often than others; a lower one where it holds all rows. */
export function subgroupTile(p: ProductSpec, lanes: number): SubgroupTile {
  const transposed = p.layout === 'NT' && p.n <= 2 * lanes && p.m > p.n && p.bDtype === 'float32';
  const m = transposed ? p.n : p.m;
  return { TM: heights.find((rows) => m <= rows) ?? 32, TN: 4, transposed };
}

/** Other tiles that may be faster; the transposition stays. */
export const subgroupTiles = ({ transposed }: SubgroupTile): SubgroupTile[] =>
  [
    [32, 4],
    [32, 8],
    [16, 4],
    [16, 8],
    [8, 4],
  ].map(([TM, TN]) => ({ TM: TM!, TN: TN!, transposed }));

const transpose = (p: Problem): Problem => ({ ...p, m: p.n, n: p.m, a: p.b, b: p.a });

/** The product as one dispatch. */
export function subgroupStage(problem: Problem, tile: SubgroupTile, facts: DeviceFacts): Stage {
  const S = facts.subgroupSize;
  const { TM, TN, transposed } = tile;
  const spec = transposed ? transpose(problem) : problem;
  const { layout, a, b, m, n, k, batch, bDtype, bBlock, scale, out } = spec;
  const wide = storesFour(spec, tile);
  const addend = addendOf(spec);
  const columns = Math.ceil(n / (S * TN));
  const tiles = Math.ceil(m / TM) * columns;
  const steps: [number, number] = [problem.m * k, problem.bStep];
  const [aStep, bStep] = transposed ? [steps[1], steps[0]] : steps;
  return stage({
    key: `matmul:${layout}${transposed ? ':transposed' : ''}:subgroup${S}:${TM}x${TN}:k${depthOf(spec)}:${bDtype}:${epilogueKey(spec)}${wide ? ':x4' : ''}`,
    reads: {
      ...readAs('vec4', { a }),
      ...readAs(bDtype === 'float32' ? 'vec4' : 'words2', { b }),
      ...(wide ? readAs('vec4', addend) : addend),
    },
    writes: wide ? readAs('vec4', { out }) : { out },
    workgroup: S,
    subgroups: true,
    declarations: vec4Loader(bDtype, 'b'),
    body: () => subgroupProduct(spec, tile, S),
    params: paramsOf({ m, n, k, aStep, bStep, columns, tiles, batch, bBlock, scale }),
    grid: grid1d(tiles * batch, 1),
  });
}
