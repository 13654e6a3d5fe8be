import { defineKernel, type Kernel } from '../kernel.js';
import { problemOf } from './problem.js';
import { acceptsSubgroups, subgroupStage, subgroupTile } from './subgroup.js';
import { acceptsMatrixUnit, matrixStage } from './subgroupMatrix.js';
import { tiledStages, tiling } from './tiled.js';

/**
 * scale * a b + what is added, in one of these ways: values of a handed round within a subgroup (a
 * software device), on the matrix unit (float16 where a device has one), or tiles in workgroup memory
 * (everything else).
 */
export const matmulKernel: Kernel = defineKernel({
  op: 'matmul',
  plan: (call, facts, scratch) => {
    const problem = problemOf(call);
    if (acceptsSubgroups(problem, facts))
      return [subgroupStage(problem, subgroupTile(problem, facts.subgroupSize), facts)];
    const unit = acceptsMatrixUnit(problem, facts);
    if (unit) return [matrixStage(problem, unit, facts)];
    const { tile, splits } = tiling(problem, facts);
    return tiledStages(problem, tile, splits, scratch);
  },
});
