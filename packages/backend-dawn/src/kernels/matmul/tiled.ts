import type { DType } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type Stage, u32 } from '../kernel.js';
import { stage } from '../stage.js';
import { BUSY, inParts, splitsFor } from './parts.js';
import { epilogueKey, type Problem, type ProductSpec, paramsOf, range, stored } from './problem.js';
import {
  codeTable,
  codeTableBytes,
  ownedFirst,
  ownedStep,
  type Panel,
  panelLoader,
  panelLoads,
  panelSlotWgsl,
  panelVec4s,
  readsOf,
  registers,
  type Source,
} from './tile.js';

/** A workgroup makes bm rows and bn columns, bk of k at a time; a lane of it tm x tn of them. */
export interface Tile {
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  readonly tm: number;
  readonly tn: number;
}

/**
 * From the one that reads least memory a product to the one that keeps most cores busy; then thin
 * ones.
 */
export const tiles: readonly Tile[] = [
  { bm: 128, bn: 128, bk: 16, tm: 8, tn: 8 },
  { bm: 64, bn: 64, bk: 16, tm: 4, tn: 8 },
  { bm: 32, bn: 32, bk: 16, tm: 4, tn: 4 },
  { bm: 128, bn: 32, bk: 16, tm: 8, tn: 4 },
  { bm: 32, bn: 128, bk: 16, tm: 4, tn: 8 },
];

export const tileName = ({ bm, bn, bk }: Tile): string => `${bm}x${bn}x${bk}`;
export const lanesOf = ({ bm, bn, tm, tn }: Tile): number => (bm / tm) * (bn / tn);

/** The shares of a tile that both operands hold in workgroup memory. */
export function panelsOf({ layout }: Pick<ProductSpec, 'layout'>, tile: Tile): [Panel, Panel] {
  const { bm, bn, bk } = tile;
  return [
    { side: 'a', alongK: layout[0] === 'N', size: bm, depth: bk },
    { side: 'b', alongK: layout[1] === 'T', size: bn, depth: bk },
  ];
}

export const workgroupBytes = (spec: Pick<ProductSpec, 'layout' | 'bBits'>, tile: Tile): number =>
  panelsOf(spec, tile).reduce(
    (bytes, panel) => bytes + panelVec4s(panel) * 16,
    codeTableBytes(spec.bBits),
  );

/** Both operands as the shader reads them. */
export function sourcesOf(spec: ProductSpec): [Source, Source] {
  const { layout, m, n, k, compute, bBits: bits, bBlock } = spec;
  const alignedA = (layout[0] === 'N' ? k : m) % 4 === 0;
  const alignedB = (layout[1] === 'T' ? k : n) % 4 === 0 && (!bits || bBlock % 4 === 0);
  return [
    { dtype: spec.aDtype, aligned: alignedA, compute, bits: null },
    { dtype: spec.bDtype, aligned: alignedB, compute, bits },
  ];
}

/** Names all of {@link sourcesOf} and the layout: a part of the shader's key. */
export const sourceKey = (spec: ProductSpec): string =>
  [
    spec.layout,
    ...sourcesOf(spec).map(
      ({ dtype, aligned, bits }) => `${bits ? `codes${bits}` : dtype}${aligned ? 'x4' : ''}`,
    ),
    spec.compute,
  ].join(':');

/**
 * Register-tiled product through workgroup memory, for any layout, size and storage: while a panel
 * is multiplied, the next one is on its way into registers. With `splits` above 1 each workgroup
 * makes a share of k and stores its part of the sum.
 */
function tiledBody(spec: ProductSpec, tile: Tile): string {
  const { bm, bn, bk, tm, tn } = tile;
  const lanes = lanesOf(tile);
  const [rows, columns] = [bm / tm, bn / tn]; // lanes down and across
  const [panelA, panelB] = panelsOf(spec, tile);
  const table = codeTable(sourcesOf(spec)[1], lanes);
  const a = registers(panelA, rows, tm, 'ty');
  const b = registers(panelB, columns, tn, 'tx');
  const loads = (panel: Panel) => range(Math.ceil(panelLoads(panel) / lanes));
  const each = (panel: Panel, load: number, body: string) => {
    const isPartial = (load + 1) * lanes > panelLoads(panel);
    const text = `let e = lane + ${load * lanes}u; ${panelSlotWgsl(panel)} ${body}`;
    return isPartial
      ? `if (lane + ${load * lanes}u < ${panelLoads(panel)}u) { ${text} }`
      : `{ ${text} }`;
  };
  const fetch = (panel: Panel, k0: string) => {
    const [next, load, first, corner] =
      panel.side === 'a'
        ? ['nextA', 'loadA4', 'aFirst', 'row']
        : ['nextB', 'loadB4', 'bFirst', 'col'];
    return loads(panel)
      .map((i) => each(panel, i, `${next}${i} = ${load}(${first}, ${corner} + x, ${k0} + k, end);`))
      .join('\n    ');
  };
  const keep = (panel: Panel) => {
    const [next, memory] = panel.side === 'a' ? ['nextA', 'tileA'] : ['nextB', 'tileB'];
    return loads(panel)
      .map((i) => each(panel, i, `${memory}[at] = ${next}${i};`))
      .join('\n    ');
  };
  const products = range(4).flatMap((q) =>
    range(tm).map((i) =>
      range(tn / 4)
        .map((j) => {
          const four = range(4).map((c) => b.value(j * 4 + c, q));
          return `c${i}_${j} = fma(vec4f(${a.value(i, q)}), vec4f(${four.join(', ')}), c${i}_${j});`;
        })
        .join(' '),
    ),
  );
  const store = range(tm).map((i) => {
    const row = `row + ${ownedFirst(panelA)}u * ty + ${ownedStep(panelA, rows, i)}u`;
    const cells = range(tn).map((j) => {
      const col = `col + ${ownedFirst(panelB)}u * tx + ${ownedStep(panelB, columns, j)}u`;
      const put = `out[at] = ${stored(spec.plus, `c${i}_${j >> 2}[${j & 3}]`, 'at', 'j')};`;
      return `{ let j = ${col}; if (j < p.n) { let at = line + j; ${put} } }`;
    });
    return `  { let i = ${row}; if (i < p.m) { let line = (z * p.m + i) * p.n; ${cells.join(' ')} } }`;
  });
  return `  if (group >= p.tiles * p.batch * p.splits) { return; }
  ${table.fill}
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${bm}u;
  let col = (tile % p.columns) * ${bn}u;
  let aFirst = z / p.splits * p.aStep;
  let bFirst = z / p.splits * p.bStep;
  let begin = z % p.splits * p.share;
  let end = min(p.k, begin + p.share);
  let ty = lane / ${columns}u;
  let tx = lane % ${columns}u;
  ${[
    ...range(tm).flatMap((i) => range(tn / 4).map((j) => `var c${i}_${j} = vec4f();`)),
    ...loads(panelA).map((i) => `var nextA${i} = vec4f();`),
    ...loads(panelB).map((i) => `var nextB${i} = vec4f();`),
  ].join(' ')}
  ${fetch(panelA, 'begin')}
  ${fetch(panelB, 'begin')}
  for (var k0 = begin; k0 < end; k0 += ${bk}u) {
    ${keep(panelA)}
    ${keep(panelB)}
    workgroupBarrier();
    ${fetch(panelA, `k0 + ${bk}u`)}
    ${fetch(panelB, `k0 + ${bk}u`)}
    for (var kk = 0u; kk < ${bk / 4}u; kk++) {
      ${a.load}
      ${b.load}
      ${products.join('\n      ')}
    }
    workgroupBarrier();
  }
${store.join('\n')}`;
}

/** Workgroup memory, and how it is filled. */
function tiledDeclarations(spec: ProductSpec, tile: Tile): string {
  const [panelA, panelB] = panelsOf(spec, tile);
  const [sourceA, sourceB] = sourcesOf(spec);
  return `var<workgroup> tileA: array<vec4f, ${panelVec4s(panelA)}>;
var<workgroup> tileB: array<vec4f, ${panelVec4s(panelB)}>;
${codeTable(sourceB, lanesOf(tile)).declarations}
${panelLoader(panelA, sourceA)}
${panelLoader(panelB, sourceB)}`;
}

/**
 * The product as one dispatch or, when k is split, as one that makes parts and one that adds them
 * up.
 */
export function tiledStages(
  problem: Problem,
  tile: Tile,
  splits: number,
  scratch: (elements: number, dtype: DType) => Operand,
): Stage[] {
  const { m, n, k, batch, bStep, bBlock } = problem;
  const columns = Math.ceil(n / tile.bn);
  const count = Math.ceil(m / tile.bm) * columns;
  const share = Math.ceil(k / splits / tile.bk) * tile.bk;
  const numbers = { m, n, k, aStep: m * k, bStep, columns, tiles: count, batch, bBlock };
  const product = (part: Problem): Stage =>
    stage({
      key: `matmul:${sourceKey(part)}:${tileName(tile)}:${epilogueKey(part)}`,
      reads: readsOf(part, sourcesOf(part)),
      writes: { out: part.out },
      params: {
        ...paramsOf({ ...numbers, scale: part.scale }),
        splits: u32(splits),
        share: u32(share),
      },
      workgroup: lanesOf(tile),
      declarations: () => tiledDeclarations(part, tile),
      body: () => tiledBody(part, tile),
      grid: grid1d(count * batch * splits, 1),
    });
  return inParts(problem, splits, scratch, product);
}

/** Tiles that a device can hold and run. */
export const fittingTiles = (spec: ProductSpec, facts: DeviceFacts): Tile[] =>
  tiles.filter(
    (tile) =>
      workgroupBytes(spec, tile) <= facts.maxWorkgroupBytes &&
      lanesOf(tile) <= facts.maxInvocations,
  );

/**
 * A tile and the number of shares of k: the largest tile of which there are enough, k split when
 * there are too few.
 */
export function tiling(spec: ProductSpec, facts: DeviceFacts): { tile: Tile; splits: number } {
  const { m, n, k, batch } = spec;
  const count = ({ bm, bn }: Tile) => Math.ceil(m / bm) * Math.ceil(n / bn) * batch;
  /** Share of the tiles' area that the product fills. */
  const use = ({ bm, bn }: Tile) => (m * n) / (Math.ceil(m / bm) * bm * Math.ceil(n / bn) * bn);
  const fitting = fittingTiles(spec, facts);
  const small = fitting.find(({ bm, bn }) => bm === 32 && bn === 32)!;
  if (facts.software) return { tile: small, splits: 1 };
  const tile = fitting.find((t) => count(t) >= BUSY && use(t) >= 0.5 * use(small)) ?? small;
  return { tile, splits: splitsFor(count(tile), k) };
}
