import type { DType } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type MatrixUnit, type Stage, u32 } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import {
  type Band,
  bandOf,
  bandSize,
  bandSlotWgsl,
  halfSlotWgsl,
  type MatrixTile,
  matricesOf,
  matrixPanels,
  matrixTileName,
  panelHalves,
  strideOf,
  subgroupsOf,
} from './matrixTile.js';
import { inParts } from './parts.js';
import {
  addendOf,
  epilogueKey,
  type Problem,
  type ProductSpec,
  paramsOf,
  range,
  stored,
  storedFour,
} from './problem.js';
import { codeTable, type Panel, panelLoader, panelLoads, readsOf } from './tile.js';
import { sourceKey, sourcesOf } from './tiled.js';

/** All that the text of a shader depends on, beside the product. */
interface Form {
  readonly tile: MatrixTile;
  readonly unit: MatrixUnit;
  readonly band: Band;
  /** Lanes of a subgroup. */
  readonly S: number;
}

/** What a shader needs to say before it may use a matrix unit. */
export const matrixDirectives: readonly string[] = [
  'enable f16;',
  'enable chromium_experimental_subgroup_matrix;',
  'diagnostic(off, chromium.subgroup_matrix_uniformity);',
];

/** The unit's types, in WGSL's order: columns, rows. */
export const matrixTypes = ({ M, N, K }: MatrixUnit) => ({
  left: `subgroup_matrix_left<f16, ${K}, ${M}>`,
  right: `subgroup_matrix_right<f16, ${N}, ${K}>`,
  result: `subgroup_matrix_result<f32, ${N}, ${M}>`,
});

/** Whether four neighbours of the output, and of what is added to it, are one vec4. */
const storesFour = ({ n, addendDtype }: ProductSpec): boolean =>
  n % 4 === 0 && (addendDtype === null || addendDtype === 'float32');

/**
 * WGSL that moves the panels: from the buffers into registers, from there into workgroup memory.
 */
function panelMoves(spec: ProductSpec, { tile, S }: Form) {
  const lanes = subgroupsOf(tile) * S;
  const loads = (panel: Panel) => range(Math.ceil(panelLoads(panel) / lanes));
  const each = (panel: Panel, load: number, body: string) => {
    const guard =
      (load + 1) * lanes > panelLoads(panel)
        ? `if (lane + ${load * lanes}u < ${panelLoads(panel)}u) `
        : '';
    return `${guard}{ let e = lane + ${load * lanes}u; ${halfSlotWgsl(panel)} ${body} }`;
  };
  const both = (line: (panel: Panel) => string[]) =>
    matrixPanels(spec, tile).flatMap(line).join('\n    ');
  return {
    registers: both((panel) =>
      loads(panel).map((i) => `var next${panel.side.toUpperCase()}${i} = vec4f();`),
    ),
    fetch: (k0: string) =>
      both((panel) => {
        const [next, load, first, corner] =
          panel.side === 'a'
            ? ['nextA', 'loadA4', 'aFirst', 'row']
            : ['nextB', 'loadB4', 'bFirst', 'col'];
        return loads(panel).map((i) =>
          each(panel, i, `${next}${i} = ${load}(${first}, ${corner} + x, ${k0} + k, end);`),
        );
      }),
    keep: both((panel) => {
      const [next, memory] = panel.side === 'a' ? ['nextA', 'tileA'] : ['nextB', 'tileB'];
      const parts = (i: number) =>
        range(4)
          .map((q) => `${memory}[at + ${q}u] = f16(${next}${i}[${q}]);`)
          .join(' ');
      return loads(panel).map((i) => each(panel, i, parts(i)));
    }),
  };
}

/** WGSL: the panels in workgroup memory, multiplied by the subgroup's matrices. */
function multiplied(spec: ProductSpec, { tile, unit }: Form): string {
  const { M, N, K } = unit;
  const { rows, columns, depth } = matricesOf(tile, unit);
  const { left, right } = matrixTypes(unit);
  const [panelA, panelB] = matrixPanels(spec, tile);
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
  const sums = range(rows).flatMap((i) =>
    range(columns).map(
      (j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, c${i}_${j});`,
    ),
  );
  return range(depth)
    .map((kk) => {
      const lines = [
        ...range(rows).map((i) => loadLeft(i, kk)),
        ...range(columns).map((j) => loadRight(j, kk)),
        ...sums,
      ];
      return `    {\n      ${lines.join('\n      ')}\n    }`;
    })
    .join('\n');
}

/**
 * WGSL that stores the results, a band at a time through workgroup memory: most tiles are one band,
 * and four neighbours are stored together where they can be.
 */
function storedBands(spec: ProductSpec, { tile, unit, band, S }: Form): string {
  const { M, N } = unit;
  const { rows, columns } = matricesOf(tile, unit);
  const lanes = subgroupsOf(tile) * S;
  const { height, width, stride } = bandSize(band, tile, unit);
  const value = (q: number) => `results[at + ${q}u]`;
  const four = `vec4f(${range(4).map(value).join(', ')})`;
  const put = storesFour(spec)
    ? `if (i < p.m && j < p.n) { let to = ((z * p.m + i) * p.n + j) / 4u; out[to] = ${storedFour(spec.plus, four, 'to', 'j / 4u')}; }`
    : `if (i < p.m) { let line = (z * p.m + i) * p.n; ${range(4)
        .map(
          (q) =>
            `if (j + ${q}u < p.n) { let to = line + j + ${q}u; out[to] = ${stored(spec.plus, value(q), 'to', `j + ${q}u`)}; }`,
        )
        .join(' ')} }`;
  const bands = range(rows / band.rows).flatMap((i) =>
    range(columns / band.columns).map((j) => ({ rows: i * band.rows, columns: j * band.columns })),
  );
  return bands
    .map((first) => {
      const matrices = range(band.rows).flatMap((i) =>
        range(band.columns).map(
          (j) =>
            `  subgroupMatrixStore<row_major>(&results, mine + ${i * M * stride + j * N}u, c${first.rows + i}_${first.columns + j}, ${stride}u);`,
        ),
      );
      return `${matrices.join('\n')}
  workgroupBarrier();
  for (var e = lane; e < ${(height * width) / 4}u; e += ${lanes}u) {
    ${bandSlotWgsl(band, first, tile, unit)}
    ${put}
  }`;
    })
    .join('\n  workgroupBarrier();\n');
}

/**
 * Product on a matrix unit: float16 operands in workgroup memory, float32 sums in the matrices of
 * each subgroup. While a panel is multiplied, the next one is on its way into registers. With
 * `splits` above 1 each workgroup makes a share of k.
 */
function matrixBody(spec: ProductSpec, form: Form): string {
  const { tile, unit, band, S } = form;
  const { M, N } = unit;
  const { rows, columns } = matricesOf(tile, unit);
  const table = codeTable(sourcesOf(spec)[1], subgroupsOf(tile) * S);
  const moves = panelMoves(spec, form);
  const { stride } = bandSize(band, tile, unit);
  const sums = range(rows).flatMap((i) =>
    range(columns).map((j) => `var c${i}_${j}: ${matrixTypes(unit).result};`),
  );
  return `  if (group >= p.tiles * p.batch * p.splits) { return; }
  ${table.fill}
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${tile.bm}u;
  let col = (tile % p.columns) * ${tile.bn}u;
  let aFirst = z / p.splits * p.aStep;
  let bFirst = z / p.splits * p.bStep;
  let begin = z % p.splits * p.share;
  let end = min(p.k, begin + p.share);
  let subgroup = lane / ${S}u;
  let top = subgroup / ${tile.across}u * ${rows * M}u;
  let across = subgroup % ${tile.across}u * ${columns * N}u;
  let mine = subgroup / ${tile.across}u * ${band.rows * M * stride}u + subgroup % ${tile.across}u * ${band.columns * N}u;
  ${sums.join('\n  ')}
  ${moves.registers}
  ${moves.fetch('begin')}
  for (var k0 = begin; k0 < end; k0 += ${tile.bk}u) {
    ${moves.keep}
    workgroupBarrier();
    ${moves.fetch(`k0 + ${tile.bk}u`)}
${multiplied(spec, form)}
    workgroupBarrier();
  }
${storedBands(spec, form)}`;
}

/** Workgroup memory, and how it is filled. */
function matrixDeclarations(spec: ProductSpec, { tile, unit, band, S }: Form): string {
  const [panelA, panelB] = matrixPanels(spec, tile);
  const { height, stride } = bandSize(band, tile, unit);
  // Rounded when it is stored as f16.
  const [sourceA, sourceB] = sourcesOf({ ...spec, compute: 'float32' });
  return `var<workgroup> tileA: array<f16, ${panelHalves(panelA)}>;
var<workgroup> tileB: array<f16, ${panelHalves(panelB)}>;
var<workgroup> results: array<f32, ${height * stride}>;
${codeTable(sourceB, subgroupsOf(tile) * S).declarations}
${panelLoader(panelA, sourceA)}
${panelLoader(panelB, sourceB)}`;
}

/** The product as one dispatch or, when k is split, as two. */
export function matrixStages(
  problem: Problem,
  tile: MatrixTile,
  splits: number,
  facts: DeviceFacts,
  scratch: (elements: number, dtype: DType) => Operand,
): Stage[] {
  const unit = facts.matrixUnit!;
  const { m, n, k, batch, bStep, bBlock } = problem;
  const { subgroupSize: S, maxWorkgroupBytes } = facts;
  const band = bandOf(problem, tile, unit, maxWorkgroupBytes)!;
  const form: Form = { tile, unit, band, S };
  const columns = Math.ceil(n / tile.bn);
  const count = Math.ceil(m / tile.bm) * columns;
  const share = Math.ceil(k / splits / tile.bk) * tile.bk;
  const numbers = { m, n, k, aStep: m * k, bStep, columns, tiles: count, batch, bBlock };
  return inParts(problem, splits, scratch, (part) => {
    const wide = storesFour(part);
    const reads = readsOf(part, sourcesOf(part));
    return stage({
      key: `matmul:${sourceKey(part)}:${matrixTileName(tile)}:${unit.M}x${unit.N}x${unit.K}:S${S}:band${band.rows}x${band.columns}:${epilogueKey(part)}${wide ? ':x4' : ''}`,
      reads: wide ? { ...reads, ...readAs('vec4', addendOf(part)) } : reads,
      writes: wide ? readAs('vec4', { out: part.out }) : { out: part.out },
      params: {
        ...paramsOf({ ...numbers, scale: part.scale }),
        splits: u32(splits),
        share: u32(share),
      },
      workgroup: subgroupsOf(tile) * S,
      subgroups: true,
      directives: matrixDirectives,
      declarations: () => matrixDeclarations(part, form),
      body: () => matrixBody(part, form),
      grid: grid1d(count * batch * splits, 1),
    });
  });
}
