import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { stage } from '../stage.js';
import {
  epilogueKey,
  type Layout,
  type Problem,
  type ProductSpec,
  paramsOf,
  range,
  stored,
} from './problem.js';
import { codeTable, type Panel, panelLoader, readsOf } from './tile.js';
import { sourceKey, sourcesOf } from './tiled.js';

/** Lanes of a workgroup. */
const LANES = 64;
/** Rows at most: each lane keeps a sum for every row and four columns. */
const MOST_ROWS = 8;

/** How the lanes of a workgroup share its columns and k. */
export interface ThinTile {
  /** Rows of the product, up to the next power of two. */
  readonly rows: number;
  /** Groups of four columns, side by side. */
  readonly groups: number;
  /** Lanes of a group, each with four neighbouring k in a turn. */
  readonly perGroup: number;
}

/**
 * Where b lies along k (NT), all lanes read on along the same four columns; where it lies along the
 * columns (NN), groups side by side read 16 neighbours of one k.
 */
export function thinTile({ layout, m }: Pick<ProductSpec, 'layout' | 'm'>): ThinTile {
  const groups = layout === 'NT' ? 1 : 4;
  return { rows: 2 ** Math.ceil(Math.log2(m)), groups, perGroup: LANES / groups };
}

/** What a lane reads in a turn: the first of its four columns and of its four k. */
export function thinShare({ groups, perGroup }: ThinTile, lane: number, turn: number) {
  return { column: (lane % groups) * 4, k: (Math.floor(lane / groups) + turn * perGroup) * 4 };
}

const layouts: readonly Layout[] = ['NN', 'NT'];

/** Few rows: a weight is read once and used a few times, as when tokens are generated. */
export const acceptsThin = (
  { layout, m, n, k }: Pick<ProductSpec, 'layout' | 'm' | 'n' | 'k'>,
  { software }: DeviceFacts,
): boolean => !software && m >= 1 && m <= MOST_ROWS && n * k > 0 && layouts.includes(layout);

/** Whether the lanes of a group are whole subgroups, which add up by themselves. */
const addsInSubgroups = ({ groups }: ThinTile, { subgroupSize }: DeviceFacts): boolean =>
  groups === 1 && subgroupSize > 0 && LANES % subgroupSize === 0;

function panelsOf({ layout }: Pick<ProductSpec, 'layout'>): [Panel, Panel] {
  const panel = { size: 4, depth: 4 };
  return [
    { side: 'a', alongK: true, ...panel },
    { side: 'b', alongK: layout === 'NT', ...panel },
  ];
}

/** Sums of a row and a group of columns that are left for the end. */
const partsOf = (tile: ThinTile, facts: DeviceFacts): number =>
  addsInSubgroups(tile, facts) ? LANES / facts.subgroupSize : tile.perGroup;

function thinBody(spec: ProductSpec, tile: ThinTile, facts: DeviceFacts): string {
  const { rows, groups, perGroup } = tile;
  const parts = partsOf(tile, facts);
  const inSubgroups = addsInSubgroups(tile, facts);
  const four = range(4);
  const each = (line: (row: number) => string) => range(rows).map(line).join('\n    ');
  const loads =
    spec.layout === 'NT'
      ? four.map((c) => `let b${c} = loadB4(bFirst, column + ${c}u, k, p.k);`)
      : four.map((q) => `let b${q} = loadB4(bFirst, column, k + ${q}u, p.k);`);
  const product = (row: number) =>
    spec.layout === 'NT'
      ? `c${row} += vec4f(${four.map((c) => `dot(a, b${c})`).join(', ')});`
      : four.map((q) => `c${row} = fma(vec4f(a[${q}]), b${q}, c${row});`).join(' ');
  const kept = inSubgroups
    ? (row: number) =>
        `{ let sum = subgroupAdd(c${row}); if (lane % ${facts.subgroupSize}u == 0u) { parts[${row * parts}u + lane / ${facts.subgroupSize}u] = sum; } }`
    : (row: number) =>
        `parts[(${row * groups}u + lane % ${groups}u) * ${parts}u + lane / ${groups}u] = c${row};`;
  return `  if (group >= p.tiles * p.batch) { return; }
  ${codeTable(sourcesOf(spec)[1], LANES).fill}
  let z = group / p.tiles;
  let first = (group % p.tiles) * ${groups * 4}u;
  let column = first + lane % ${groups}u * 4u;
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  ${each((row) => `var c${row} = vec4f();`)}
  for (var k = lane / ${groups}u * 4u; k < p.k; k += ${perGroup * 4}u) {
    ${loads.join('\n    ')}
    ${each((row) => `{ let a = loadA4(aFirst, ${row}u, k, p.k); ${product(row)} }`)}
  }
  ${each(kept)}
  workgroupBarrier();
  for (var e = lane; e < p.m * ${groups * 4}u; e += ${LANES}u) {
    let j = first + e % ${groups * 4}u;
    var total = 0.0;
    for (var part = 0u; part < ${parts}u; part++) { total += parts[e / 4u * ${parts}u + part][e % 4u]; }
    let at = (z * p.m + e / ${groups * 4}u) * p.n + j;
    if (j < p.n) { out[at] = ${stored(spec.plus, 'total', 'at', 'j')}; }
  }`;
}

/**
 * The product of few rows as one dispatch: the lanes of a workgroup share k, and their sums meet in
 * workgroup memory. Reads each weight once, any storage of it, as whole vec4s.
 *
 * Tiles make no such product well: most of their rows are empty, and what they keep in workgroup
 * memory is used once.
 */
export function thinStage(problem: Problem, facts: DeviceFacts): Stage {
  const { m, n, k, batch, bStep, bBlock, scale, out } = problem;
  const tile = thinTile(problem);
  const [panelA, panelB] = panelsOf(problem);
  const sources = sourcesOf(problem);
  const inSubgroups = addsInSubgroups(tile, facts);
  const columns = Math.ceil(n / (tile.groups * 4));
  return stage({
    key: `matmul:${sourceKey(problem)}:thin${tile.rows}${inSubgroups ? `:subgroups${facts.subgroupSize}` : ''}:${epilogueKey(problem)}`,
    reads: readsOf(problem, sources),
    writes: { out },
    params: paramsOf({
      ...{ m, n, k, aStep: m * k, bStep, columns, tiles: columns, batch, bBlock, scale },
    }),
    workgroup: LANES,
    subgroups: inSubgroups,
    declarations:
      () => `var<workgroup> parts: array<vec4f, ${tile.rows * tile.groups * partsOf(tile, facts)}>;
${codeTable(sources[1], LANES).declarations}
${panelLoader(panelA, sources[0])}
${panelLoader(panelB, sources[1])}`,
    body: () => thinBody(problem, tile, facts),
    grid: grid1d(columns * batch, 1),
  });
}
