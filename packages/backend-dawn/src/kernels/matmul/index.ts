import type { DType, ops } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, defineKernel, type Kernel, type Stage } from '../kernel.js';
import { matrixTileName, matrixTiling } from './matrixTile.js';
import { epilogueKey, type Problem, type ProductSpec, problemOf, specOf } from './problem.js';
import { acceptsSubgroups, subgroupStage, subgroupTile, subgroupTiles } from './subgroup.js';
import { matrixStages } from './subgroupMatrix.js';
import { acceptsThin, thinStage } from './thin.js';
import { fittingTiles, sourceKey, tiledStages, tileName, tiling } from './tiled.js';

type Scratch = (elements: number, dtype: DType) => Operand;

/** One way to make a product. */
interface Way {
  readonly name: string;
  stages(problem: Problem, scratch: Scratch): readonly Stage[];
}

/**
 * Ways to make a product, the one to take first: values of a handed round within a subgroup (a
 * software device), lanes that share k (few rows), the matrix unit (float16 where a device has
 * one), or tiles in workgroup memory (everything else); most in several sizes, the latter two with
 * k whole or split.
 */
function* waysOf(spec: ProductSpec, facts: DeviceFacts): Generator<Way> {
  if (acceptsSubgroups(spec, facts)) {
    const first = subgroupTile(spec, facts.subgroupSize);
    for (const tile of [first, ...subgroupTiles(first)])
      yield {
        name: `subgroup${tile.TM}x${tile.TN}`,
        stages: (problem) => [subgroupStage(problem, tile, facts)],
      };
    return;
  }
  if (acceptsThin(spec, facts))
    yield { name: 'thin', stages: (problem) => [thinStage(problem, facts)] };
  for (const { tile, splits } of matrixTiling(spec, facts))
    for (const count of new Set([splits, 1]))
      yield {
        name: `${matrixTileName(tile)}/${count}`,
        stages: (problem, scratch) => matrixStages(problem, tile, count, facts, scratch),
      };
  const { tile, splits } = tiling(spec, facts);
  const tiled = (t: typeof tile, count: number): Way => ({
    name: `${tileName(t)}/${count}`,
    stages: (problem, scratch) => tiledStages(problem, t, count, scratch),
  });
  yield tiled(tile, splits);
  if (facts.software) return; // compiling each takes longer than it could save
  for (const t of fittingTiles(spec, facts)) yield tiled(t, 1);
}

/** @param variant a name of {@link productVariants}; without one, the first */
export function productStages(
  problem: Problem,
  facts: DeviceFacts,
  scratch: Scratch,
  variant?: string,
): readonly Stage[] {
  let first: Way | null = null;
  for (const way of waysOf(problem, facts)) {
    if (variant === undefined || way.name === variant) return way.stages(problem, scratch);
    first ??= way;
  }
  return first!.stages(problem, scratch);
}

/**
 * What the tuner chooses among. Products alike but for their rows, up to the next power of two,
 * share a choice.
 */
export function productVariants(spec: ProductSpec, facts: DeviceFacts) {
  const { m, n, k, batch } = spec;
  const rows = 2 ** Math.ceil(Math.log2(Math.max(1, m)));
  return {
    key: `${sourceKey(spec)}:${epilogueKey(spec)}:${batch}x${rows}x${n}x${k}`,
    names: [...new Set(Array.from(waysOf(spec, facts), ({ name }) => name))],
  };
}

/** scale * a b + what is added. */
export const matmulKernel: Kernel = defineKernel({
  op: 'matmul',
  variants: ({ inputs, attrs }, facts) =>
    productVariants(specOf(inputs, attrs as unknown as ops.MatmulAttrs), facts),
  plan: (call, facts, scratch, variant) => productStages(problemOf(call), facts, scratch, variant),
});
