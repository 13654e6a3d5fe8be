import { readFile } from 'node:fs/promises';
import { createAttune, Engine, SFTTrainer, silentLogger } from '@attune/core';
import { type OpCall, ReferenceBackend } from '@attune/core/backend';
import { describe, expect, test } from 'vitest';
import { causalLmObjective } from '../../src/objectives/causalLm.js';
import { LossScaler } from '../../src/trainer/loop/lossScaler.js';
import { upload } from '../../src/training/upload.js';
import {
  backendPlugin,
  Float32Backend,
  fixtureJson,
  idRows,
  minuteLlama,
  temporaryFolder,
  tinyLlama,
  weightsOf,
} from './support.js';

interface ScaleCase {
  readonly name: string;
  readonly inputs: { readonly finite: { readonly data: number[] } };
  readonly attrs: Readonly<Record<string, number>>;
  readonly outputs: Readonly<Record<'scale' | 'tracker', { readonly data: number[] }>>;
}

describe('the loss scale takes the path of torch.amp.GradScaler', () => {
  test.each<ScaleCase>(fixtureJson('row202-loss-scale.json').cases)('$name', async (row) => {
    const engine = new Engine(new ReferenceBackend());
    const { init_scale, growth_factor, backoff_factor, growth_interval } = row.attrs;
    const scaler = new LossScaler(engine, {
      initScale: init_scale!,
      ...(growth_factor && { growthFactor: growth_factor }),
      ...(backoff_factor && { backoffFactor: backoff_factor }),
      growthInterval: growth_interval!,
    });
    const states = [];
    for (const finite of row.inputs.finite.data) {
      scaler.update(engine.tensor([1, 1, finite]));
      states.push(await scaler.exportState());
    }
    expect(states.map((s) => s.scale)).toEqual(row.outputs.scale.data);
    expect(states.map((s) => s.growthTracker)).toEqual(row.outputs.tracker.data);
  });
});

interface PrecisionCase {
  readonly name: 'float32' | 'bfloat16' | 'float16';
  readonly inputs: { readonly inputIds: { readonly data: number[]; readonly shape: number[] } };
  readonly outputs: Readonly<Record<'loss' | 'gradNorm', { readonly data: [number] }>>;
}

describe('loss and gradient of tiny-llama in the precision of torch.autocast', () => {
  const { cases } = fixtureJson('row201-mixed-precision.json') as { cases: PrecisionCase[] };
  const exact = cases.find(({ name }) => name === 'float32')!.outputs;

  test.each(cases)('$name', async ({ name, inputs, outputs }) => {
    await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const { engine } = attune;
    const model = await tinyLlama(attune);
    const [rows, length] = inputs.inputIds.shape as [number, number];
    const objective = causalLmObjective({ maxLength: length });
    const examples = Array.from({ length: rows }, (_, r) => {
      const inputIds = inputs.inputIds.data.slice(r * length, (r + 1) * length);
      return { inputIds, labels: inputIds };
    });
    const batch = objective.collate(examples);
    const items = objective.countItems(batch);
    const total = engine.scope('micro', () => {
      const { loss } = engine.withCompute(name, () => objective.loss(model, upload(engine, batch)));
      engine.backward(loss, { scale: 1 / items });
      return loss;
    });
    const loss = (await total.item()) / items;
    const grads = [];
    for (const [, { tensor }] of model.root.namedParameters())
      grads.push(...(await tensor.grad!.data()));
    const gradNorm = Math.hypot(...grads);
    // Within what 16 bits change in torch, or a part in a thousand; and not float32 in disguise.
    const bar = (key: 'loss' | 'gradNorm') =>
      name === 'float32'
        ? 1e-5 * exact[key].data[0]
        : Math.max(
            1e-3 * exact[key].data[0],
            2 * Math.abs(outputs[key].data[0] - exact[key].data[0]),
          );
    expect(Math.abs(loss - outputs.loss.data[0])).toBeLessThan(bar('loss'));
    expect(Math.abs(gradNorm - outputs.gradNorm.data[0])).toBeLessThan(bar('gradNorm'));
    if (name !== 'float32') expect(Math.abs(loss - exact.loss.data[0])).toBeGreaterThan(1e-6);
  });
});

/** Losses of a short run. */
async function train(args: object, backend = new Float32Backend()) {
  await using attune = await createAttune({
    plugins: [backendPlugin('test', () => backend)],
    logger: silentLogger,
  });
  const model = await minuteLlama(attune);
  const losses: number[] = [];
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(8),
    evalDataset: idRows(4),
    args: {
      outputDir: await temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 8,
      loggingSteps: 1,
      learningRate: 0.01,
      shuffle: false,
      ...args,
    },
  });
  trainer.on('log', ({ logs }) => losses.push(logs.loss));
  const output = await trainer.train();
  const { evalLoss } = await trainer.evaluate();
  return { losses, evalLoss, output, weights: await weightsOf(model), dtypes: dtypesOf(model) };
}

const dtypesOf = (model: Awaited<ReturnType<typeof minuteLlama>>) => [
  ...new Set([...model.root.namedParameters()].map(([, { tensor }]) => tensor.dtype)),
];

describe('a run in mixed precision', () => {
  test('follows the float32 run closely; the weights stay float32', async () => {
    const whole = await train({});
    for (const args of [{ bf16: true }, { fp16: true }]) {
      const { losses, evalLoss, output, dtypes, weights } = await train(args);
      expect(losses).toHaveLength(8);
      losses.forEach((loss, i) => {
        expect(Math.abs(loss - whole.losses[i]!)).toBeLessThan(0.02);
      });
      expect(Math.abs(evalLoss - whole.evalLoss)).toBeLessThan(0.02);
      expect(weights).not.toEqual(whole.weights);
      expect(output.metrics.skippedSteps).toBeUndefined();
      expect(dtypes).toEqual(['float32']);
    }
  });

  test('an overflow of float16 halves the scale and skips the update', async () => {
    // What float32 holds and float16 does not, in the gradient of the second update.
    class Overflowing extends Float32Backend {
      #updates = 0;
      override dispatch(call: OpCall): void {
        super.dispatch(call);
        if (call.op === 'crossEntropyInto' && ++this.#updates === 2)
          this.poke(call.outputs[0]!, this.peek(call.outputs[0]!).fill(1e10));
      }
    }
    const outputDir = await temporaryFolder();
    const saving = { outputDir, saveStrategy: 'steps', saveSteps: 8 };
    const { output } = await train({ fp16: true, ...saving }, new Overflowing());
    expect(output.metrics.skippedSteps).toBe(1);
    const saved = JSON.parse(await readFile(`${outputDir}/checkpoint-8/attune_state.json`, 'utf8'));
    expect(saved.loss_scaler).toEqual({ scale: 32768, growthTracker: 6 });
    const { output: inFloat32 } = await train({}, new Overflowing());
    expect(inFloat32.metrics.skippedSteps).toBeUndefined();
  });

  test('resumed, it goes on with its loss scale: bit for bit the uninterrupted run', async () => {
    const args = { fp16: true, saveStrategy: 'steps', saveSteps: 4, maxSteps: 8 };
    const outputDir = await temporaryFolder();
    const whole = await train({ ...args, outputDir });
    const resumed = await train({
      ...args,
      outputDir,
      resumeFromCheckpoint: `${outputDir}/checkpoint-4`,
    });
    expect(resumed.losses).toEqual(whole.losses.slice(4));
    expect(resumed.weights).toEqual(whole.weights);
  });

  test('bf16 and fp16 together are refused', async () => {
    await expect(train({ bf16: true, fp16: true })).rejects.toThrow(/bf16 and fp16 are both true/);
  });
});
