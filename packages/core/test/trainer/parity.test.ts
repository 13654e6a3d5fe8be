import {
  createAttune,
  type SftArgumentsInput,
  silentLogger,
  Trainer,
  type TrainLogs,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { causalLmObjective } from '../../src/objectives/causalLm.js';
import { argumentsOf, expectUpdates, type Update, updatesOf } from './recordedRun.js';
import { fixtureJson, tinyLlama } from './support.js';

const close = (ours: number, theirs: number, relative: number) =>
  expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(relative * Math.abs(theirs) + 1e-12);

/**
 * tiny-llama in float64; transformers' traces are in float32, which makes the difference: about
 * 1e-6 of the loss.
 */
async function run(rows: object[], args: SftArgumentsInput): Promise<TrainLogs[]> {
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  return await updatesOf(await tinyLlama(attune), { trainDataset: rows }, args);
}

describe('row 29: the trace of transformers.Trainer', () => {
  const { cases } = fixtureJson('row29-trainer-trace.json');
  for (const { name, rows, settings, trace } of cases)
    test(name, async () => {
      // The schedule spans the whole run, so all of it is run.
      expectUpdates(await run(rows, { ...argumentsOf(settings), maxSteps: 20 }), trace);
    });
});

test('row 28: a last window of one micro-batch is divided by its own items', async () => {
  const { settings, inputs, cases } = fixtureJson('row28-short-last-window.json');
  const rows: { input_ids: number[]; labels: number[] }[] = [];
  for (let i = 0; `input_ids${i}` in inputs; i++) {
    const [b, t] = inputs[`input_ids${i}`].shape;
    for (let r = 0; r < b; r++) {
      const cut = (key: string) => inputs[`${key}${i}`].data.slice(r * t, (r + 1) * t);
      const real = cut('attention_mask').filter((m: number) => m === 1).length;
      rows.push({
        input_ids: cut('input_ids').slice(0, real),
        labels: cut('labels').slice(0, real),
      });
    }
  }
  const logs = await run(rows, { ...argumentsOf(settings), maxSteps: 2 });
  expectUpdates(
    logs,
    cases.map((c: { attrs: Update }) => c.attrs),
  );
});

test('row 27: four unequal micro-batches equal one batch, in loss and gradient norm', async () => {
  const [row] = fixtureJson('row27-gradient-accumulation.json').cases;
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const model = await tinyLlama(attune);
  const { engine } = attune;
  const objective = causalLmObjective({ maxLength: 64 });
  let total = 0;
  for (let i = 0; i < 4; i++) {
    const { shape } = row.inputs[`input_ids${i}`];
    const [b, t] = shape;
    const examples = Array.from({ length: b }, (_, r) => ({
      inputIds: row.inputs[`input_ids${i}`].data.slice(r * t, (r + 1) * t),
      labels: row.inputs[`labels${i}`].data.slice(r * t, (r + 1) * t),
    }));
    const batch = objective.collate(examples);
    total += await engine
      .scope('micro', () => {
        const device = Object.fromEntries(
          Object.entries(batch).map(([k, v]) => [k, engine.fromBytes(v.data, v.shape, v.dtype)]),
        );
        const { loss } = objective.loss(model, device);
        engine.backward(loss, { scale: 1 / row.attrs.numItems });
        return loss;
      })
      .item();
  }
  close(total / row.attrs.numItems, row.outputs.loss.data?.[0] ?? row.outputs.loss, 1e-5);
  for (const [name, parameter] of model.root.namedParameters()) {
    const grad = await parameter.tensor.grad!.data();
    close(Math.hypot(...grad), row.attrs.gradNorm[name], 1e-4);
    const expected = row.grads[name]?.data as number[] | undefined;
    expected?.forEach((value, i) => {
      expect(Math.abs(grad[i]! - value)).toBeLessThan(1e-5);
    });
  }
});

test('row 3: without a label torch has NaN, ours an error before anything runs', async () => {
  for (const { inputs } of fixtureJson('row03-cross-entropy-empty.json').cases) {
    const { shape, data } = inputs.labels;
    const [b, t] = shape as [number, number];
    const rows = Array.from({ length: b }, (_, r) => ({
      input_ids: Array.from({ length: t }, (_, i) => i + 3),
      labels: data.slice(r * t, (r + 1) * t),
    }));
    await expect(run(rows, { maxSteps: 1 })).rejects.toThrow(/NO_TRAINED_TOKEN/);
  }
});

test('Trainer is the general name: the same objective by hand', async () => {
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const trainer = new Trainer({
    model: await tinyLlama(attune),
    objective: causalLmObjective({ maxLength: 32 }),
    trainDataset: [{ input_ids: [1, 2, 3, 4] }],
    args: { maxSteps: 1, saveStrategy: 'no' },
  });
  expect((await trainer.train()).globalStep).toBe(1);
});
