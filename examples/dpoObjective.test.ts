import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  type DeviceBatch,
  type HostBatch,
  type LanguageModel,
  loadDataset,
  silentLogger,
  Trainer,
  type TrainingArgumentsInput,
} from '@attune/core';
import { getPeftModel, peft } from '@attune/peft';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { dpo } from './dpoObjective.js';

const here = (path: string) => join(import.meta.dirname, path);
const base = here('demo/base');
const pairs = () => loadDataset('json', { dataFiles: here('demo/data/preferences.train.jsonl') });

let outputDir: string;
beforeEach(async () => {
  outputDir = await mkdtemp(join(tmpdir(), 'attune-dpo-'));
});
afterEach(() => rm(outputDir, { recursive: true }));

async function trainerOn(attune: Attune, args: TrainingArgumentsInput) {
  return new Trainer({
    model: await AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' }),
    tokenizer: await AutoTokenizer.fromPretrained(base),
    trainDataset: (await pairs()).select(4), // each update has the largest batch
    objective: dpo(0.1, 256),
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    args: { outputDir, saveStrategy: 'no', loggingSteps: 1, seed: 3, ...args },
  });
}

const uploaded = ({ engine }: LanguageModel, batch: HostBatch): DeviceBatch =>
  Object.fromEntries(
    Object.entries(batch).map(([name, { data, shape, dtype }]) => [
      name,
      engine.fromBytes(data, shape, dtype),
    ]),
  );

describe('the preference loss of examples/dpoObjective.ts', () => {
  test('starts at log 2 and moves the margin up on the demo pairs', async () => {
    await using attune = await createAttune({ plugins: [dawn(), peft()], logger: silentLogger });
    const trainer = await trainerOn(attune, {
      maxSteps: 6,
      perDeviceTrainBatchSize: 4,
      learningRate: 2e-3,
      lrSchedulerType: 'constant',
    });
    const plan = await trainer.planMemory();
    await trainer.train();
    const { peakBytes } = attune.backend.stats;
    expect(Math.abs(plan.peakBytes / peakBytes - 1)).toBeLessThan(0.1);
    const rows = trainer.state.logHistory.filter((row) => row.loss !== undefined);
    expect(rows[0]!.loss).toBeCloseTo(Math.log(2), 6); // the adapter does nothing yet
    expect(rows[0]!['rewards/margins']).toBeCloseTo(0, 6);
    const margins = rows.map((row) => row['rewards/margins']!);
    expect(Math.min(...margins.slice(3))).toBeGreaterThan(Math.max(0, ...margins.slice(0, 2)));
    expect(rows.at(-1)!.loss).toBeLessThan(Math.log(2));
  });

  test('holds one copy of the base, and no logits [2B, T, V]', async () => {
    await using attune = await createAttune({
      plugins: [peft()],
      backend: 'reference',
      logger: silentLogger,
    });
    const [vocab, length, count] = [32_768, 64, 8];
    const model = await AutoModelForCausalLM.fromConfig(
      {
        model_type: 'llama',
        vocab_size: vocab,
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: length,
        tie_word_embeddings: true,
      },
      { attune },
    );
    const baseBytes = [...model.root.namedParameters()].reduce((n, [, p]) => n + 4 * p.size, 0);
    const ids = Array.from({ length }, (_, t) => t + 3);
    const text = { inputIds: ids, labels: ids };
    const { rows: _, ...tokenised } = dpo(0.1, length);
    const trainer = new Trainer({
      model,
      objective: tokenised, // rows are examples as they are
      trainDataset: Array.from({ length: count }, () => ({ chosen: text, rejected: text })),
      peftConfig: { peftType: 'LORA', r: 2, targetModules: ['q_proj'] },
      args: { outputDir, maxSteps: 1, perDeviceTrainBatchSize: count },
    });
    const plan = await trainer.planMemory();
    expect(plan.batch.inputIds).toEqual([2 * count, length]);
    expect(plan.bytesOf('weights')).toBeGreaterThanOrEqual(baseBytes);
    expect(plan.bytesOf('weights')).toBeLessThan(1.2 * baseBytes);
    const logits = 4 * 2 * count * length * vocab; // 134 MB
    expect(plan.peakBytes - plan.bytesOf('weights')).toBeLessThan(logits / 4);
  });

  test("is TRL's sigmoid loss, and its gradient that of central differences", async () => {
    await using attune = await createAttune({
      plugins: [peft()],
      backend: 'reference',
      logger: silentLogger,
    });
    const { engine } = attune;
    const beta = 0.3;
    const maxLength = 16;
    const objective = dpo(beta, maxLength);
    const plain = await AutoModelForCausalLM.fromPretrained(here('../parity/fixtures/tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    const model = getPeftModel(plain, { peftType: 'LORA', r: 2, targetModules: ['q_proj'] });
    const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
    // Away from the start, where policy and reference are one.
    for (const [i, [, parameter]] of trained.entries())
      parameter.write(
        Float32Array.from({ length: parameter.size }, (_, j) => 0.4 * Math.sin(1 + 3 * i + j)),
      );

    const prompt = [5, 9, 2];
    const example = (completion: readonly number[]) => ({
      inputIds: [...prompt, ...completion],
      labels: [...prompt.map(() => -100), ...completion],
    });
    const completions = [
      { chosen: [7, 30], rejected: [8, 41, 12, 3] },
      { chosen: [100, 4, 17], rejected: [21] },
    ];
    const host = objective.collate(
      completions.map(({ chosen, rejected }) => ({
        chosen: example(chosen),
        rejected: example(rejected),
      })),
    );
    const lossNow = async (): Promise<number> => {
      const loss = engine.noGrad(() =>
        engine.scope('loss', () => objective.loss(model, uploaded(model, host)).loss),
      );
      const [value] = await loss.data();
      loss.dispose();
      return value!;
    };

    /** log p of a completion by the whole logits of its row: sum over its tokens. */
    const logProb = async (completion: readonly number[]): Promise<number> => {
      const ids = [...prompt, ...completion];
      const out = engine.noGrad(() =>
        engine.scope('row', () =>
          model
            .forward({ inputIds: engine.tensor(Int32Array.from(ids), [1, ids.length], 'int32') })
            .logSoftmax(),
        ),
      );
      const values = await out.data();
      out.dispose();
      return completion.reduce(
        (sum, id, t) => sum + values[(prompt.length - 1 + t) * 256 + id]!,
        0,
      );
    };
    const reference = (completion: readonly number[]) =>
      model.withAdaptersDisabled(() => logProb(completion));
    // trl/trainer/dpo_trainer.py: -F.logsigmoid(beta * (chosen_logratios - rejected_logratios))
    let byHand = 0;
    for (const { chosen, rejected } of completions) {
      const ratio = async (c: readonly number[]) => (await logProb(c)) - (await reference(c));
      const margin = beta * ((await ratio(chosen)) - (await ratio(rejected)));
      expect(Math.abs(margin)).toBeGreaterThan(1e-3);
      byHand += Math.log1p(Math.exp(-margin));
    }
    expect(await lossNow()).toBeCloseTo(byHand, 6);

    engine.scope('step', () => engine.backward(objective.loss(model, uploaded(model, host)).loss));
    const [, parameter] = trained[1]!;
    const { tensor } = parameter;
    const values = Float32Array.from(await tensor.data());
    const gradient = [...(await tensor.grad!.data())];
    const scale = Math.max(...gradient.map(Math.abs));
    expect(scale).toBeGreaterThan(1e-4);
    for (const at of [0, 5, 17, 40]) {
      const shifted = async (by: number) => {
        parameter.write(values.map((v, i) => (i === at ? v + by : v)));
        return lossNow();
      };
      const h = 2 ** -8;
      const numeric = ((await shifted(h)) - (await shifted(-h))) / (2 * h);
      parameter.write(values);
      expect(Math.abs(numeric - gradient[at]!)).toBeLessThan(1e-4 * scale);
    }
    parameter.clearGrad();
  });
});
