import type { DType, Operand } from '@attune/core';
import { type DeviceFacts, defineKernel, type Kernel, type Stage } from '../kernel.js';
import { type Problem, problemOf } from './problem.js';
import { acceptsSubgroups, subgroupStage, subgroupTile } from './subgroup.js';
import { acceptsMatrixUnit, matrixStage } from './subgroupMatrix.js';
import { tiledStages, tiling } from './tiled.js';

/**
 * scale * a b + what is added, in one of these ways: values of a handed round within a subgroup (a
 * software device), on the matrix unit (float16 where a device has one), or tiles in workgroup memory
 * (everything else).
 */
export function productStages(
  problem: Problem,
  facts: DeviceFacts,
  scratch: (elements: number, dtype: DType) => Operand,
): readonly Stage[] {
  if (acceptsSubgroups(problem, facts))
    return [subgroupStage(problem, subgroupTile(problem, facts.subgroupSize), facts)];
  const unit = acceptsMatrixUnit(problem, facts);
  if (unit) return [matrixStage(problem, unit, facts)];
  const { tile, splits } = tiling(problem, facts);
  return tiledStages(problem, tile, splits, scratch);
}

export const matmulKernel: Kernel = defineKernel({
  op: 'matmul',
  plan: (call, facts, scratch) => productStages(problemOf(call), facts, scratch),
});
