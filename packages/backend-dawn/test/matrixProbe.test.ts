import { describe, expect, test } from 'vitest';
import { createDawnBackend, defineKernel } from '../src/index.js';
import { attentionKernels } from '../src/kernels/attention/index.js';
import { matrixTiles } from '../src/kernels/matmul/matrixTile.js';
import { matrixStages } from '../src/kernels/matmul/subgroupMatrix.js';
import { matrixUnitFault } from '../src/matrixProbe.js';
import { emulatedFacts, emulatedStage, type Fault, scaledTile } from './emulatedUnit.js';

/** Tiles that differ in what of the unit they use; each is compiled anew for each fault. */
const few = [matrixTiles.at(-3)!, matrixTiles.at(-2)!, matrixTiles.at(-1)!].map(scaledTile);

describe('the probe of the matrix unit', () => {
  /** @param inAttention whether products are right and attention is not */
  const faultOf = (fault: Fault, inAttention = false) =>
    matrixUnitFault((kernels) => createDawnBackend({ tuning: false, kernels }), {
      tiles: () => few,
      stages: (problem, tile, splits, facts, scratch) =>
        matrixStages(problem, tile, splits, emulatedFacts(facts), scratch).map((stage) =>
          emulatedStage(stage, inAttention ? 'none' : fault),
        ),
      widths: [16],
      attention: attentionKernels.map((kernel) =>
        defineKernel({
          op: kernel.op,
          plan: (call, facts, scratch) =>
            kernel
              .plan(call, emulatedFacts(facts), scratch)
              .map((stage) => emulatedStage(stage, fault)),
        }),
      ),
    });

  test('trusts one that computes', async () => {
    expect(await faultOf('none')).toBeNull();
  });

  test.each([
    ['columns as rows', /^NT product by matrix32x16x8:2x2: \d+ in place of \d+ in row \d+, column/],
    ['rows as columns', /^NT product by .* in place of/],
    ['sum is lost', /^NT product by .* in place of/],
    ['low precision', /^NT product by .* in place of/],
  ] as const)('names one that does not: %s', async (fault, expected) => {
    expect(await faultOf(fault)).toMatch(expected);
  });

  test('names what is wrong in attention', async () => {
    expect(await faultOf('sum is lost', true)).toMatch(
      /^attention with heads of 16: out\[\d+\] is \S+ in place of/,
    );
  });

  test('names one whose shaders the driver refuses', async () => {
    const fault = await matrixUnitFault(
      (kernels) => createDawnBackend({ tuning: false, kernels }),
      {
        tiles: () => few,
        stages: (problem, tile, splits, facts, scratch) =>
          matrixStages(problem, tile, splits, emulatedFacts(facts), scratch),
        attention: [],
        widths: [],
      },
    );
    expect(fault).toMatch(/f16|subgroup_matrix/);
  });
});
