import type { DType, Operand, ops } from '@attune/core';
import { type DeviceFacts, defineKernel, type Kernel, type Stage } from '../kernel.js';
import { epilogueKey, type Problem, type ProductSpec, problemOf, specOf } from './problem.js';
import { acceptsSubgroups, subgroupStage, subgroupTile, subgroupTiles } from './subgroup.js';
import { acceptsMatrixUnit, matrixStage } from './subgroupMatrix.js';
import { fittingTiles, sourceKey, tiledStages, tileName, tiling } from './tiled.js';

type Scratch = (elements: number, dtype: DType) => Operand;

/** One way to make a product. */
interface Way {
  readonly name: string;
  stages(problem: Problem, facts: DeviceFacts, scratch: Scratch): readonly Stage[];
}

/**
 * Ways to make a product, the one to take first: values of a handed round within a subgroup (a
 * software device), the matrix unit (float16 where a device has one), or tiles in workgroup memory
 * (everything else), each in several sizes.
 */
function waysOf(spec: ProductSpec, facts: DeviceFacts): Way[] {
  const ways: Way[] = [];
  const add = (name: string, stages: Way['stages']) => {
    if (!ways.some((way) => way.name === name)) ways.push({ name, stages });
  };
  if (acceptsSubgroups(spec, facts)) {
    const first = subgroupTile(spec, facts.subgroupSize);
    for (const tile of [first, ...subgroupTiles(first)])
      add(`subgroup${tile.TM}x${tile.TN}`, (problem) => [subgroupStage(problem, tile, facts)]);
    return ways;
  }
  const unit = acceptsMatrixUnit(spec, facts);
  if (unit) add('matrix', (problem) => [matrixStage(problem, unit, facts)]);
  const { tile, splits } = tiling(spec, facts);
  const tiled = (t: typeof tile, count: number) =>
    add(`${tileName(t)}/${count}`, (problem, _facts, scratch) =>
      tiledStages(problem, t, count, scratch),
    );
  tiled(tile, splits);
  if (facts.software) return ways; // compiling each takes longer than it could save
  if (splits > 1) tiled(tile, 1);
  for (const t of fittingTiles(spec, facts)) tiled(t, 1);
  return ways;
}

/** @param variant a name of {@link productVariants}; without one, the first */
export function productStages(
  problem: Problem,
  facts: DeviceFacts,
  scratch: Scratch,
  variant?: string,
): readonly Stage[] {
  if (variant !== undefined) {
    const way = waysOf(problem, facts).find(({ name }) => name === variant);
    if (way) return way.stages(problem, facts, scratch);
  }
  if (acceptsSubgroups(problem, facts))
    return [subgroupStage(problem, subgroupTile(problem, facts.subgroupSize), facts)];
  const unit = acceptsMatrixUnit(problem, facts);
  if (unit) return [matrixStage(problem, unit, facts)];
  const { tile, splits } = tiling(problem, facts);
  return tiledStages(problem, tile, splits, scratch);
}

/** What the tuner chooses among. Products alike but for their rows, up to the next power of two, share a choice. */
export function productVariants(spec: ProductSpec, facts: DeviceFacts) {
  const { m, n, k, batch } = spec;
  const rows = 2 ** Math.ceil(Math.log2(Math.max(1, m)));
  return {
    key: `${sourceKey(spec)}:${epilogueKey(spec)}:${batch}x${rows}x${n}x${k}`,
    names: waysOf(spec, facts).map(({ name }) => name),
  };
}

/** scale * a b + what is added. */
export const matmulKernel: Kernel = defineKernel({
  op: 'matmul',
  variants: ({ inputs, attrs }, facts) =>
    productVariants(specOf(inputs, attrs as unknown as ops.MatmulAttrs), facts),
  plan: (call, facts, scratch, variant) => productStages(problemOf(call), facts, scratch, variant),
});
