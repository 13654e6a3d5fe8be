import type { DeviceFacts, MatrixUnit } from '../kernel.js';
import { BUSY, splitsFor } from './parts.js';
import type { ProductSpec } from './problem.js';
import { codeTableBytes, type Panel } from './tile.js';

/**
 * A workgroup makes bm rows and bn columns on the matrix unit, bk of k at a time: `down` times
 * `across` subgroups, each with as many matrices of the unit as fill its share.
 */
export interface MatrixTile {
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
  readonly down: number;
  readonly across: number;
}

/**
 * From the one that reads least memory a product to the one that keeps most cores busy; then thin
 * ones, for sides as short as the rank of a LoRA.
 */
export const matrixTiles: readonly MatrixTile[] = [
  { bm: 128, bn: 256, bk: 32, down: 2, across: 4 },
  { bm: 128, bn: 128, bk: 32, down: 2, across: 4 },
  { bm: 128, bn: 128, bk: 32, down: 1, across: 8 },
  { bm: 128, bn: 64, bk: 32, down: 2, across: 2 },
  { bm: 64, bn: 64, bk: 32, down: 2, across: 2 },
  { bm: 128, bn: 16, bk: 32, down: 4, across: 1 },
  { bm: 16, bn: 128, bk: 32, down: 1, across: 4 },
];

export const matrixTileName = ({ bm, bn, bk, down, across }: MatrixTile): string =>
  `matrix${bm}x${bn}x${bk}:${down}x${across}`;

/** Subgroups of a workgroup. */
export const subgroupsOf = ({ down, across }: MatrixTile): number => down * across;

/** Matrices of the unit that one subgroup has: down, across, and deep. */
export const matricesOf = (tile: MatrixTile, { M, N, K }: MatrixUnit) => ({
  rows: tile.bm / tile.down / M,
  columns: tile.bn / tile.across / N,
  depth: tile.bk / K,
});

/**
 * Halves by which a line of a panel is longer than it needs to be, so that lines start in other
 * banks; and floats of a line of results.
 */
const PAD = 8;
const RESULT_PAD = 4;

/** Both operands' shares of a tile. */
export function matrixPanels(
  { layout }: Pick<ProductSpec, 'layout'>,
  { bm, bn, bk }: MatrixTile,
): readonly [Panel, Panel] {
  return [
    { side: 'a', alongK: layout[0] === 'N', size: bm, depth: bk },
    { side: 'b', alongK: layout[1] === 'T', size: bn, depth: bk },
  ];
}

/** Halves from one line of a panel to the next, and of all of it. */
export const strideOf = ({ alongK, size, depth }: Panel): number => (alongK ? depth : size) + PAD;
export const panelHalves = (panel: Panel): number =>
  strideOf(panel) * (panel.alongK ? panel.size : panel.depth);

/**
 * Where the e-th vec4 of a panel lies: x along the tile, k along the depth, and its place in
 * halves.
 */
export function halfSlot(panel: Panel, e: number): { x: number; k: number; at: number } {
  const perLine = (panel.alongK ? panel.depth : panel.size) / 4;
  const line = Math.floor(e / perLine);
  const along = (e % perLine) * 4;
  const at = line * strideOf(panel) + along;
  return panel.alongK ? { x: line, k: along, at } : { x: along, k: line, at };
}

/** The same in WGSL: statements that declare `x`, `k` and `at` from `e`. */
export function halfSlotWgsl(panel: Panel): string {
  const perLine = (panel.alongK ? panel.depth : panel.size) / 4;
  const [x, k] = panel.alongK ? ['line', 'along'] : ['along', 'line'];
  return `let line = e / ${perLine}u; let along = e % ${perLine}u * 4u; let x = ${x}; let k = ${k}; let at = line * ${strideOf(panel)}u + along;`;
}

/** Matrices of each subgroup whose results are in workgroup memory at once: down and across. */
export interface Band {
  readonly rows: number;
  readonly columns: number;
}

/** The part of a tile that a band is: its size, and floats from one of its lines to the next. */
export function bandSize({ rows, columns }: Band, tile: MatrixTile, { M, N }: MatrixUnit) {
  const width = tile.across * columns * N;
  return { height: tile.down * rows * M, width, stride: width + RESULT_PAD };
}

/** Bytes for the results beyond which more workgroups on a core are worth more than fewer bands. */
const BAND_BYTES = 18_432;

/**
 * The largest band whose results fit beside the panels; null where none does. The results are
 * float32 and the panels float16, so that one can't lie in the memory of the other.
 */
export function bandOf(
  spec: Pick<ProductSpec, 'layout' | 'bBits'>,
  tile: MatrixTile,
  unit: MatrixUnit,
  maxBytes: number,
): Band | null {
  const panels = matrixPanels(spec, tile).reduce((sum, panel) => sum + panelHalves(panel) * 2, 0);
  const most = Math.min(BAND_BYTES, maxBytes - panels - codeTableBytes(spec.bBits));
  const { rows, columns } = matricesOf(tile, unit);
  let best: Band | null = null;
  for (const band of bandsOf(rows, columns)) {
    const { height, stride } = bandSize(band, tile, unit);
    const isLarger = !best || band.rows * band.columns > best.rows * best.columns;
    if (height * stride * 4 <= most && isLarger) best = band;
  }
  return best;
}

/** Bands that cut a subgroup's matrices without a rest, the wide ones first. */
function* bandsOf(rows: number, columns: number): Generator<Band> {
  for (let c = columns; c > 0; c--)
    if (columns % c === 0)
      for (let r = 1; r <= rows; r++) if (rows % r === 0) yield { rows: r, columns: c };
}

/**
 * WGSL for the e-th vec4 of a band: `i` and `j`, its row and column in the product, and `at`, its
 * place among the results. `first`: the band's first matrix in each subgroup.
 */
export function bandSlotWgsl(band: Band, first: Band, tile: MatrixTile, unit: MatrixUnit): string {
  const { width, stride } = bandSize(band, tile, unit);
  const [high, wide] = [band.rows * unit.M, band.columns * unit.N]; // of one subgroup
  return [
    `let y = e / ${width / 4}u; let x = e % ${width / 4}u * 4u; let at = y * ${stride}u + x;`,
    `let i = row + y / ${high}u * ${tile.bm / tile.down}u + ${first.rows * unit.M}u + y % ${high}u;`,
    `let j = col + x / ${wide}u * ${tile.bn / tile.across}u + ${first.columns * unit.N}u + x % ${wide}u;`,
  ].join(' ');
}

/** The same on the host: the row and column within the tile. */
export function bandSlot(band: Band, first: Band, tile: MatrixTile, unit: MatrixUnit, e: number) {
  const { width, stride } = bandSize(band, tile, unit);
  const [high, wide] = [band.rows * unit.M, band.columns * unit.N];
  const [y, x] = [Math.floor(e / (width / 4)), (e % (width / 4)) * 4];
  const i = Math.floor(y / high) * (tile.bm / tile.down) + first.rows * unit.M + (y % high);
  const j = Math.floor(x / wide) * (tile.bn / tile.across) + first.columns * unit.N + (x % wide);
  return { i, j, at: y * stride + x };
}

/** Tiles whose subgroups have whole matrices, that the device can hold and run. */
export function fittingMatrixTiles(
  spec: Pick<ProductSpec, 'layout' | 'bBits'>,
  { matrixUnit: unit, subgroupSize, maxWorkgroupBytes, maxInvocations }: DeviceFacts,
): readonly MatrixTile[] {
  if (!unit) return [];
  return matrixTiles.filter((tile) => {
    const { rows, columns, depth } = matricesOf(tile, unit);
    return (
      [rows, columns, depth].every(Number.isInteger) &&
      subgroupsOf(tile) * subgroupSize <= maxInvocations &&
      bandOf(spec, tile, unit, maxWorkgroupBytes) !== null
    );
  });
}

/** Share of a tile's area that a product must fill: less is better off elsewhere. */
const LEAST_USE = 0.5;

/**
 * Tiles for a product of numbers rounded to float16, on devices with a matrix unit for them: the
 * default first, then the others that waste at most twice as much. Empty where none is filled by
 * half, or fits the device.
 *
 * The default is the largest of which there are enough, else the smallest, k split; a thin one only
 * where the others waste too much.
 */
export function matrixTiling(
  spec: ProductSpec,
  facts: DeviceFacts,
): readonly { tile: MatrixTile; splits: number }[] {
  if (spec.compute !== 'float16') return [];
  const { m, n, k, batch } = spec;
  const count = ({ bm, bn }: MatrixTile) => Math.ceil(m / bm) * Math.ceil(n / bn) * batch;
  const use = ({ bm, bn }: MatrixTile) =>
    (m * n) / (Math.ceil(m / bm) * bm * Math.ceil(n / bn) * bn);
  const fitting = fittingMatrixTiles(spec, facts);
  const best = Math.max(0, ...fitting.map(use));
  if (best < LEAST_USE) return [];
  const worthy = fitting.filter((tile) => use(tile) >= best / 2);
  const isThin = ({ bm, bn }: MatrixTile) => Math.min(bm, bn) < 64;
  const first =
    worthy.find((tile) => !isThin(tile) && count(tile) >= BUSY && use(tile) >= 0.75 * best) ??
    worthy.findLast((tile) => !isThin(tile)) ??
    worthy[0]!;
  return [first, ...worthy.filter((tile) => tile !== first)].map((tile) => ({
    tile,
    splits: splitsFor(count(tile), k),
  }));
}
