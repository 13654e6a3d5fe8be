import { type DeviceFacts, grid1d, type MatrixUnit, type Stage } from '../kernel.js';
import { stage } from '../stage.js';
import { epilogueKey, type Problem, type ProductSpec, paramsOf, range, stored } from './problem.js';
import { codeTable, codeTableBytes, type Panel, panelLoader, panelLoads, readsOf } from './tile.js';
import { sourceKey, sourcesOf } from './tiled.js';

/** Eight subgroups, two down and four across, each with four by two matrices of the unit. */
const DOWN = 2;
const ACROSS = 4;
const ROWS = 4;
const COLUMNS = 2;
/** k in workgroup memory at a time, in units. */
const DEPTH = 2;
/**
 * Halves by which a line of a panel is longer than it needs to be, so that lines start in other
 * banks.
 */
const PAD = 8;

export interface MatrixTile {
  readonly bm: number;
  readonly bn: number;
  readonly bk: number;
}

export const matrixTile = ({ M, N, K }: MatrixUnit): MatrixTile => ({
  bm: DOWN * ROWS * M,
  bn: ACROSS * COLUMNS * N,
  bk: DEPTH * K,
});

function panelsOf({ layout }: Pick<ProductSpec, 'layout'>, { bm, bn, bk }: MatrixTile) {
  const a: Panel = { side: 'a', alongK: layout[0] === 'N', size: bm, depth: bk };
  const b: Panel = { side: 'b', alongK: layout[1] === 'T', size: bn, depth: bk };
  return [a, b] as const;
}

/** Halves from one line of a panel to the next. */
const strideOf = ({ alongK, size, depth }: Panel): number => (alongK ? depth : size) + PAD;
const panelHalves = (panel: Panel): number =>
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

function halfSlotWgsl(panel: Panel): string {
  const perLine = (panel.alongK ? panel.depth : panel.size) / 4;
  const [x, k] = panel.alongK ? ['line', 'along'] : ['along', 'line'];
  return `let line = e / ${perLine}u; let along = e % ${perLine}u * 4u; let x = ${x}; let k = ${k}; let at = line * ${strideOf(panel)}u + along;`;
}

/** Bytes of workgroup memory: both panels in halves, and one result a subgroup on its way out. */
export function matrixBytes(spec: Pick<ProductSpec, 'layout' | 'bBits'>, unit: MatrixUnit): number {
  const [a, b] = panelsOf(spec, matrixTile(unit));
  return (
    (panelHalves(a) + panelHalves(b)) * 2 +
    DOWN * ACROSS * unit.M * unit.N * 4 +
    codeTableBytes(spec.bBits)
  );
}

/**
 * Products of numbers rounded to float16, on devices with a matrix unit for them, that fill half a
 * tile.
 */
export function acceptsMatrixUnit(spec: ProductSpec, facts: DeviceFacts): MatrixUnit | null {
  const { matrixUnit: unit, subgroupSize } = facts;
  if (!unit || spec.compute !== 'float16') return null;
  const { bm, bn } = matrixTile(unit);
  const fits =
    matrixBytes(spec, unit) <= facts.maxWorkgroupBytes &&
    DOWN * ACROSS * subgroupSize <= facts.maxInvocations;
  return fits && spec.m * 2 >= bm && spec.n * 2 >= bn ? unit : null;
}

/**
 * Product on a matrix unit: float16 operands in workgroup memory, float32 sums in the matrices of
 * each subgroup, results through workgroup memory for the epilogue.
 */
function matrixBody(spec: ProductSpec, unit: MatrixUnit, S: number): string {
  const { M, N, K } = unit;
  const tile = matrixTile(unit);
  const lanes = DOWN * ACROSS * S;
  const [panelA, panelB] = panelsOf(spec, tile);
  const table = codeTable(sourcesOf(spec)[1], lanes);
  const loads = (panel: Panel) => range(Math.ceil(panelLoads(panel) / lanes));
  const each = (panel: Panel, load: number, body: string) => {
    const guard =
      (load + 1) * lanes > panelLoads(panel)
        ? `if (lane + ${load * lanes}u < ${panelLoads(panel)}u) `
        : '';
    return `${guard}{ let e = lane + ${load * lanes}u; ${halfSlotWgsl(panel)} ${body} }`;
  };
  const fetch = (panel: Panel, k0: string) => {
    const [next, load, first, corner] =
      panel.side === 'a'
        ? ['nextA', 'loadA4', 'aFirst', 'row']
        : ['nextB', 'loadB4', 'bFirst', 'col'];
    return loads(panel)
      .map((i) => each(panel, i, `${next}${i} = ${load}(${first}, ${corner} + x, ${k0} + k, p.k);`))
      .join('\n    ');
  };
  const keep = (panel: Panel) => {
    const [next, memory] = panel.side === 'a' ? ['nextA', 'tileA'] : ['nextB', 'tileB'];
    const parts = (i: number) =>
      range(4)
        .map((q) => `${memory}[at + ${q}u] = f16(${next}${i}[${q}]);`)
        .join(' ');
    return loads(panel)
      .map((i) => each(panel, i, parts(i)))
      .join('\n    ');
  };
  const left = `subgroup_matrix_left<f16, ${K}, ${M}>`;
  const right = `subgroup_matrix_right<f16, ${N}, ${K}>`;
  const result = `subgroup_matrix_result<f32, ${N}, ${M}>`;
  const [strideA, strideB] = [strideOf(panelA), strideOf(panelB)];
  const loadLeft = (i: number, kk: number) => {
    const [order, at] = panelA.alongK
      ? ['row_major', `(top + ${i * M}u) * ${strideA}u + ${kk * K}u`]
      : ['col_major', `${kk * K * strideA}u + top + ${i * M}u`];
    return `let l${i} = subgroupMatrixLoad<${left}, ${order}>(&tileA, ${at}, ${strideA}u);`;
  };
  const loadRight = (j: number, kk: number) => {
    const [order, at] = panelB.alongK
      ? ['col_major', `(across + ${j * N}u) * ${strideB}u + ${kk * K}u`]
      : ['row_major', `${kk * K * strideB}u + across + ${j * N}u`];
    return `let r${j} = subgroupMatrixLoad<${right}, ${order}>(&tileB, ${at}, ${strideB}u);`;
  };
  const results = range(ROWS).flatMap((i) => range(COLUMNS).map((j) => [i, j] as const));
  const multiply = range(DEPTH).map(
    (kk) => `    {
      ${range(ROWS)
        .map((i) => loadLeft(i, kk))
        .join('\n      ')}
      ${range(COLUMNS)
        .map((j) => loadRight(j, kk))
        .join('\n      ')}
      ${results
        .map(([i, j]) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, c${i}_${j});`)
        .join('\n      ')}
    }`,
  );
  const store = results.map(
    ([i, j]) => `  subgroupMatrixStore<row_major>(&results, mine, c${i}_${j}, ${N}u);
  workgroupBarrier();
  for (var e = lane % ${S}u; e < ${M * N}u; e += ${S}u) {
    let i = row + top + ${i * M}u + e / ${N}u;
    let j = col + across + ${j * N}u + e % ${N}u;
    if (i < p.m && j < p.n) { let at = (z * p.m + i) * p.n + j; out[at] = ${stored(spec.plus, 'results[mine + e]', 'at', 'j')}; }
  }
  workgroupBarrier();`,
  );
  return `  if (group >= p.tiles * p.batch) { return; }
  ${table.fill}
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${tile.bm}u;
  let col = (tile % p.columns) * ${tile.bn}u;
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  let subgroup = lane / ${S}u;
  let top = subgroup / ${ACROSS}u * ${ROWS * M}u;
  let across = subgroup % ${ACROSS}u * ${COLUMNS * N}u;
  let mine = subgroup * ${M * N}u;
  ${[
    ...results.map(([i, j]) => `var c${i}_${j}: ${result};`),
    ...loads(panelA).map((i) => `var nextA${i} = vec4f();`),
    ...loads(panelB).map((i) => `var nextB${i} = vec4f();`),
  ].join('\n  ')}
  ${fetch(panelA, '0u')}
  ${fetch(panelB, '0u')}
  for (var k0 = 0u; k0 < p.k; k0 += ${tile.bk}u) {
    ${keep(panelA)}
    ${keep(panelB)}
    workgroupBarrier();
    ${fetch(panelA, `k0 + ${tile.bk}u`)}
    ${fetch(panelB, `k0 + ${tile.bk}u`)}
${multiply.join('\n')}
    workgroupBarrier();
  }
${store.join('\n')}`;
}

/** Workgroup memory, and how it is filled. */
function matrixDeclarations(spec: ProductSpec, unit: MatrixUnit, S: number): string {
  const [panelA, panelB] = panelsOf(spec, matrixTile(unit));
  // Rounded when it is stored as f16.
  const [sourceA, sourceB] = sourcesOf({ ...spec, compute: 'float32' });
  return `var<workgroup> tileA: array<f16, ${panelHalves(panelA)}>;
var<workgroup> tileB: array<f16, ${panelHalves(panelB)}>;
var<workgroup> results: array<f32, ${DOWN * ACROSS * unit.M * unit.N}>;
${codeTable(sourceB, DOWN * ACROSS * S).declarations}
${panelLoader(panelA, sourceA)}
${panelLoader(panelB, sourceB)}`;
}

/** The product as one dispatch. */
export function matrixStage(problem: Problem, unit: MatrixUnit, facts: DeviceFacts): Stage {
  const { m, n, k, batch, bStep, bBlock, scale, out } = problem;
  const { subgroupSize: S } = facts;
  const { bm, bn } = matrixTile(unit);
  const columns = Math.ceil(n / bn);
  const tiles = Math.ceil(m / bm) * columns;
  const { M, N, K } = unit;
  return stage({
    key: `matmul:${sourceKey(problem)}:matrix${M}x${N}x${K}:${epilogueKey(problem)}`,
    reads: readsOf(problem, sourcesOf(problem)),
    writes: { out },
    workgroup: DOWN * ACROSS * S,
    subgroups: true,
    directives: [
      'enable f16;',
      'enable chromium_experimental_subgroup_matrix;',
      'diagnostic(off, chromium.subgroup_matrix_uniformity);',
    ],
    declarations: () => matrixDeclarations(problem, unit, S),
    body: () => matrixBody(problem, unit, S),
    params: paramsOf({ m, n, k, aStep: m * k, bStep, columns, tiles, batch, bBlock, scale }),
    grid: grid1d(tiles * batch, 1),
  });
}
