import { Engine, ops, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import type { AdapterChoice } from './adapter.js';
import type { DawnBackend } from './dawnBackend.js';
import { factsOf } from './deviceFacts.js';
import { attentionKernels } from './kernels/attention/index.js';
import { defineKernel, type Kernel } from './kernels/kernel.js';
import {
  fittingMatrixTiles,
  type MatrixTile,
  matrixTileName,
} from './kernels/matmul/matrixTile.js';
import { type Layout, problemOf } from './kernels/matmul/problem.js';
import { matrixStages } from './kernels/matmul/subgroupMatrix.js';

/** What is probed: the device's unit, or a stand-in of the tests. */
export interface ProbedUnit {
  readonly tiles: (...args: Parameters<typeof fittingMatrixTiles>) => readonly MatrixTile[];
  readonly stages: typeof matrixStages;
  readonly attention: readonly Kernel[];
  /** Features of the heads with which attention is tried. */
  readonly widths: readonly number[];
}

const layouts: readonly Layout[] = ['NT', 'NN', 'TN', 'TT'];

/**
 * What the device's matrix unit computes wrongly; null if nothing. It is an experiment of Dawn's
 * and its drivers', so every tile makes a product of small integers that is compared with the
 * host's before the unit is trusted. The tiles take turns in the layouts, so that operands are
 * loaded by rows and by columns, and in splitting k. Sums pass 2048, from where float16 has not
 * every integer. Attention, forward and backward, is compared with the reference backend.
 * Where subgroups have no one size, nothing is tried: the kernels can't be made.
 *
 * @param open opens the device with these kernels
 */
export async function matrixUnitFault(
  open: (kernels: readonly Kernel[]) => Promise<DawnBackend>,
  unit: ProbedUnit = {
    tiles: fittingMatrixTiles,
    stages: matrixStages,
    attention: attentionKernels,
    widths: [64, 128],
  },
): Promise<string | null> {
  let turn: { readonly tile: MatrixTile; readonly splits: number };
  const kernel = defineKernel({
    op: 'matmul',
    plan: (call, facts, scratch) =>
      unit.stages(problemOf(call), turn.tile, turn.splits, facts, scratch),
  });
  const backend = await open([kernel, ...unit.attention]);
  try {
    const engine = new Engine(backend);
    const facts = factsOf(backend.device, backend.choice);
    if (backend.choice.matrixUnit && facts.subgroupSize === 0) return varying(backend.choice);
    for (const [i, layout] of layouts.entries())
      for (const [j, tile] of unit.tiles({ layout, bBits: null }, facts).entries()) {
        if (j % layouts.length !== i) continue;
        turn = { tile, splits: 1 + (j % 2) };
        const wrong = await wrongProduct(engine, layout, tile);
        if (wrong) return `${layout} product by ${matrixTileName(tile)}: ${wrong}`;
      }
    for (const width of unit.widths) {
      const wrong = await wrongAttention(engine, width);
      if (wrong) return `attention with heads of ${width}: ${wrong}`;
    }
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await backend[Symbol.asyncDispose]();
  }
}

const varying = ({ subgroupSizes: [least, most] }: AdapterChoice): string =>
  `its subgroups have ${least} to ${most} lanes, and the driver lets no shader ask for a number`;

/** A product that fills a tile and overhangs it, compared with the host's. */
async function wrongProduct(engine: Engine, layout: Layout, tile: MatrixTile) {
  const [m, n, k] = [tile.bm + 4, tile.bn + 4, 2 * tile.bk + 4];
  const numbers = (count: number, step: number) =>
    Float32Array.from({ length: count }, (_, i) => (i * step) % 31);
  const [a, b] = [numbers(m * k, 3), numbers(n * k, 5)];
  const [transposeA, transposeB] = [layout[0] === 'T', layout[1] === 'T'];
  const left = engine.tensor(a, transposeA ? [k, m] : [m, k]);
  const right = engine.tensor(b, transposeB ? [n, k] : [k, n]);
  const product = left.matmul(right, { transposeA, transposeB, compute: 'float16' });
  const got = await product.data();
  for (const tensor of [left, right, product]) tensor.dispose();
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let expected = 0;
      for (let l = 0; l < k; l++)
        expected += a[transposeA ? l * m + i : i * k + l]! * b[transposeB ? j * k + l : l * n + j]!;
      if (got[i * n + j] !== expected)
        return `${got[i * n + j]} in place of ${expected} in row ${i}, column ${j}`;
    }
  return null;
}

/** What rounding to float16 may change, as a share of the largest value. */
const TOLERANCE = 0.02;

/** Attention that fills blocks of queries and keys and overhangs them. */
async function wrongAttention(engine: Engine, width: number): Promise<string | null> {
  const got = await attended(engine, width);
  const expected = await attended(new Engine(new ReferenceBackend()), width);
  for (const [name, values] of Object.entries(expected)) {
    const largest = values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    // So written, a NaN is wrong.
    const at = values.findIndex(
      (value, i) => !(Math.abs(got[name]![i]! - value) <= TOLERANCE * largest),
    );
    if (at >= 0) return `${name}[${at}] is ${got[name]![at]} in place of ${values[at]}`;
  }
  return null;
}

/** What attention makes of the same numbers on every backend, and its gradients. */
async function attended(engine: Engine, width: number): Promise<Record<string, Float32Array>> {
  const [length, heads] = [70, 2];
  const random = (count: number, shape: number[], step: number): Tensor =>
    engine.tensor(
      Float32Array.from({ length: count * length * width }, (_, i) => Math.sin(i * step)),
      shape,
    );
  const q = random(heads, [1, length, heads, width], 1.3);
  const [k, v] = [1.7, 2.3].map((step) => random(1, [1, length, 1, width], step)) as [
    Tensor,
    Tensor,
  ];
  const g = random(heads, [1, length, heads, width], 2.9);
  const attrs = {
    scale: 1 / Math.sqrt(width),
    causal: true,
    queryOffset: 0,
    window: 0,
    softcap: 0,
  };
  const inHalves = { ...attrs, compute: 'float16' } as const;
  const [out, lse] = engine.run(ops.attentionOp, [q, k, v], inHalves) as [Tensor, Tensor];
  const made = engine.run(ops.attentionGradOp, [q, k, v, out, lse, g], inHalves);
  const [dQ, dK, dV] = made as [Tensor, Tensor, Tensor];
  const read: Record<string, Float32Array> = {};
  for (const [name, tensor] of Object.entries({ out, lse, dQ, dK, dV }))
    read[name] = (await tensor.data()) as Float32Array;
  for (const tensor of [q, k, v, g, out, lse, ...made]) tensor.dispose();
  return read;
}
