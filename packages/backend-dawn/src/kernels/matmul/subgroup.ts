import type { DType, Operand } from '@attune/core';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { shader } from '../shader.js';
import {
  epilogueKey,
  type Problem,
  type ProductSpec,
  params,
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

/** Four neighbouring elements of b at vec4 index i, widened. */
function vec4Loader(dtype: DType): string {
  if (dtype === 'float32') return 'fn loadB4(i: u32) -> vec4f { return r1[i]; }';
  return `fn loadB4(i: u32) -> vec4f { let w = vec2u(r1[i * 2u], r1[i * 2u + 1u]); return ${widened(dtype, 'w.x', 'w.y')}; }`;
}

/** Whether four neighbours of the output, and of what is added to it, are one vec4. */
const storesFour = ({ m, n, addendDtype }: ProductSpec, { transposed }: SubgroupTile): boolean =>
  (transposed ? m : n) % 4 === 0 && (addendDtype === null || addendDtype === 'float32');

/**
 * Subgroup-broadcast product: a workgroup is one subgroup of S lanes and makes TM rows of S * TN
 * columns. Each lane loads one vec4 of a per row, and a shuffle hands it round, so a value of a is
 * loaded once for all lanes. On a software adapter, where loads decide everything, this is 2-4 times
 * a direct kernel.
 *
 * `transposed` stores out[col, row]: an NT product with few columns is computed as its transpose, so
 * that the lanes lie along the long side.
 *
 * Needs float32 a; K a multiple of 4 (NN, NT), N of 4 (NN, TN), M of 4 (TN). Edges are clamped when
 * loading and skipped when storing.
 */
function subgroupProduct(spec: ProductSpec, tile: SubgroupTile, S: number): string {
  const { layout, bDtype, plus, addendDtype } = spec;
  const { TM, TN, transposed } = tile;
  const wide = storesFour(spec, tile);
  const columns = layout === 'NT';
  const accumulate = (m: number, x: string, y: (n: number) => string) =>
    range(TN)
      .map((n) => `c${m}_${n} = fma(${x}, ${y(n)}, c${m}_${n});`)
      .join(' ');

  let loop: string;
  if (layout === 'TN') {
    // Lane l holds rows of a at k0 + l: TM values of one k.
    loop = `  for (var k0 = 0u; k0 < p.k; k0 += ${S}u) {
    let ka = min(k0 + lane, p.k - 1u) * p.m;
${range(TM / 4)
  .map((m) => `    let a${m} = x0((aFirst + ka + min(row + ${m * 4}u, p.m - 4u)) / 4u);`)
  .join('\n')}
    let steps = min(${S}u, p.k - k0);
    for (var j = 0u; j < steps; j++) {
${range(TN / 4)
  .map(
    (n) =>
      `      let b${n} = loadB4((bFirst + (k0 + j) * p.n + min(col + ${n * 4}u, p.n - 4u)) / 4u);`,
  )
  .join('\n')}
${range(TM)
  .map(
    (m) =>
      `      { let x = subgroupShuffle(a${m >> 2}[${m & 3}], j); ${accumulate(m, 'x', (n) => `b${n >> 2}[${n & 3}]`)} }`,
  )
  .join('\n')}
    }
  }`;
  } else {
    const loadB = columns
      ? range(TN).map(
          (n) => `      let b${n} = loadB4((bFirst + min(col + ${n}u, p.n - 1u) * p.k + k) / 4u);`,
        )
      : range(4).flatMap((q) =>
          range(TN / 4).map(
            (n) =>
              `      let b${q}_${n} = loadB4((bFirst + (k + ${q}u) * p.n + min(col + ${n * 4}u, p.n - 4u)) / 4u);`,
          ),
        );
    const fmas = (m: number) =>
      range(4)
        .map((q) =>
          accumulate(m, `x[${q}]`, (n) => (columns ? `b${n}[${q}]` : `b${q}_${n >> 2}[${n & 3}]`)),
        )
        .join(' ');
    loop = `  for (var k0 = 0u; k0 < p.k; k0 += ${4 * S}u) {
    let ka = min(k0 + lane * 4u, p.k - 4u);
${range(TM)
  .map((m) => `    let a${m} = x0((aFirst + min(row + ${m}u, p.m - 1u) * p.k + ka) / 4u);`)
  .join('\n')}
    let steps = min(${S}u, (p.k - k0) / 4u);
    for (var j = 0u; j < steps; j++) {
      let k = k0 + j * 4u;
${loadB.join('\n')}
${range(TM)
  .map((m) => `      { let x = subgroupShuffle(a${m}, j); ${fmas(m)} }`)
  .join('\n')}
    }
  }`;
  }

  // Clamped loads repeat rows and columns at the edges; those are never stored. Four neighbours are
  // stored together where they can be: a quarter of the stores to compile and to run.
  const put = (m: number, n: number) => {
    const at = transposed ? `at + ${m}u` : `at + ${n}u`;
    const j = transposed ? `row + ${m}u` : `col + ${n}u`;
    return `w0[${at}] = ${stored(plus, `c${m}_${n}`, at, j, 2)};`;
  };
  const putFour = (cells: string[], first: string, quad: number) => {
    const at = `at / 4u + ${quad}u`;
    const four = `vec4f(${cells.join(', ')})`;
    return `w0[${at}] = ${storedFour(plus, four, at, `${first} / 4u + ${quad}u`, 2)};`;
  };
  const [rowQuads, columnQuads] = [range(TM / 4), range(TN / 4)];
  const store = transposed
    ? range(TN).map((n) => {
        const quads = rowQuads.map((q) => {
          const four = range(4).map((i) => q * 4 + i);
          const puts = wide
            ? `if (row + ${q * 4}u < p.m) { ${putFour(
                four.map((m) => `c${m}_${n}`),
                'row',
                q,
              )} }`
            : four.map((m) => `if (row + ${m}u < p.m) { ${put(m, n)} }`).join(' ');
          return puts;
        });
        return `  if (col + ${n}u < p.n) { let at = (z * p.n + col + ${n}u) * p.m + row; ${quads.join(' ')} }`;
      })
    : range(TM).map((m) => {
        const quads = columnQuads.map((q) => {
          const four = range(4).map((i) => q * 4 + i);
          return wide
            ? `if (col + ${q * 4}u < p.n) { ${putFour(
                four.map((n) => `c${m}_${n}`),
                'col',
                q,
              )} }`
            : four.map((n) => `if (col + ${n}u < p.n) { ${put(m, n)} }`).join(' ');
        });
        return `  if (row + ${m}u < p.m) { let at = (z * p.m + row + ${m}u) * p.n + col; ${quads.join(' ')} }`;
      });
  return shader({
    reads: [
      'vec4',
      bDtype === 'float32' ? 'vec4' : bDtype,
      ...(addendDtype ? [wide ? ('vec4' as const) : addendDtype] : []),
    ],
    writes: [wide ? 'vec4' : 'float32'],
    params,
    workgroup: S,
    subgroups: true,
    declarations: vec4Loader(bDtype),
    body: `  if (group >= p.tiles * p.batch) { return; }
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${TM}u;
  let col = (tile % p.columns) * ${S * TN}u + lane * ${TN}u;
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  ${range(TM)
    .flatMap((m) => range(TN).map((n) => `var c${m}_${n} = 0.0;`))
    .join(' ')}
${loop}
${store.join('\n')}`,
  });
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

/** The tile that is best more often than others: narrow outputs (a LoRA's rank) take a narrow one. */
export function subgroupTile(p: ProductSpec, lanes: number): SubgroupTile {
  const transposed = p.layout === 'NT' && p.n <= 2 * lanes && p.m > p.n && p.bDtype === 'float32';
  const [m, n] = transposed ? [p.n, p.m] : [p.m, p.n];
  return { TM: m <= 8 ? 8 : 16, TN: n <= 4 * lanes ? 4 : 8, transposed };
}

/** Other tiles that may be faster; the transposition stays. */
export const subgroupTiles = ({ transposed }: SubgroupTile): SubgroupTile[] =>
  [
    [16, 8],
    [16, 4],
    [8, 8],
    [8, 4],
  ].map(([TM, TN]) => ({ TM: TM!, TN: TN!, transposed }));

const transpose = (p: Problem): Problem => ({ ...p, m: p.n, n: p.m, a: p.b, b: p.a });

/** The product as one dispatch. */
export function subgroupStage(problem: Problem, tile: SubgroupTile, facts: DeviceFacts): Stage {
  const S = facts.subgroupSize;
  const { TM, TN, transposed } = tile;
  const spec = transposed ? transpose(problem) : problem;
  const { layout, a, b, m, n, k, batch, bDtype, bBlock, scale, addend, out } = spec;
  const columns = Math.ceil(n / (S * TN));
  const tiles = Math.ceil(m / TM) * columns;
  const steps: [number, number] = [problem.m * k, problem.bStep];
  const [aStep, bStep] = transposed ? [steps[1], steps[0]] : steps;
  const operands: Operand[] = [a, b, ...addend, out];
  return {
    key: `matmul:${layout}${transposed ? ':transposed' : ''}:subgroup${S}:${TM}x${TN}:${bDtype}:${epilogueKey(spec)}${storesFour(spec, tile) ? ':x4' : ''}`,
    wgsl: () => subgroupProduct(spec, tile, S),
    operands,
    reads: operands.length - 1,
    params: paramsOf({ m, n, k, aStep, bStep, columns, tiles, batch, bBlock, scale }),
    grid: grid1d(tiles * batch, 1),
  };
}
