import { defineAlignmentObjective, type PairBatch } from '@attune/align';
import { alignmentObjectiveKit } from '@attune/align/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinObjectives } from '../src/objectives/create.js';

for (const definition of builtinObjectives)
  describe(definition.name, () => {
    const options = { beta: 0.4 };
    const checks = alignmentObjectiveKit(definition, {
      options,
      otherOptions: [{ beta: 0.7 }],
      // z0 of KTO is a mean over the batch, and held constant. Tokens of answers are averaged over
      // the accumulated batch, which trainers.test.ts looks at.
      isSeparable: !['kto', 'orpo', 'cpo'].includes(definition.name),
      exactGradients: definition.name !== 'kto',
    });
    for (const { name, run } of checks) test(name, run);
  });

describe('an objective that', () => {
  const broken = (loss: (x: PairBatch) => PairBatch['chosen']) =>
    alignmentObjectiveKit(
      defineAlignmentObjective({
        name: 'broken',
        format: 'pairs',
        options: z.strictObject({}),
        needsReference: false,
        loss: (x) => ({
          losses: loss(x),
          rewards: { chosen: x.chosen.detach(), rejected: x.rejected.detach() },
        }),
      }),
    );
  const failures = async (checks: ReturnType<typeof broken>) => {
    const failed: string[] = [];
    for (const { name, run } of checks) await Promise.resolve(run()).catch(() => failed.push(name));
    return failed;
  };

  test('gives a mean is caught', async () => {
    const failed = await failures(
      broken(({ chosen, rejected }) => rejected.sub(chosen).mean().reshape(1)),
    );
    expect(failed.join()).toMatch(/micro-batch/);
  });

  test('cuts a gradient is caught', async () => {
    const failed = await failures(broken((x) => x.rejected.detach().sub(x.chosen)));
    expect(failed.join()).toMatch(/finite/);
  });

  test('is right is not', async () => {
    expect(await failures(broken((x) => x.rejected.sub(x.chosen)))).toEqual([]);
  });
});
