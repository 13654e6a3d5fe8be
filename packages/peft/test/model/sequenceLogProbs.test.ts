import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  collatePredictions,
  createAttune,
  inference,
  type LanguageModel,
  type Objective,
  ops,
  sequenceLogProbs,
  silentLogger,
  type Tensor,
  type TokenExample,
  Trainer,
  upload,
} from '@attune/core';
import { causalLmLoss } from '@attune/core/training';
import { getPeftModel, type PeftConfigInput, peft } from '@attune/peft';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let attune: Attune;
beforeEach(async () => {
  attune = await createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });
});
afterEach(() => attune.dispose());

const base = (changes: object = {}, in4bit = false) =>
  AutoModelForCausalLM.fromConfig(
    {
      model_type: 'llama',
      vocab_size: 23,
      hidden_size: 16,
      intermediate_size: 24,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-5,
      initializer_range: 0.3,
      tie_word_embeddings: false,
      ...changes,
    },
    { attune, seed: 1, ...(in4bit && { quantization: { loadIn4bit: true } }) },
  );

/** 64 and more rows of hidden states: several chunks of a head. */
const examples: TokenExample[] = [33, 40, 28].map((length, seed) => {
  const inputIds = Array.from({ length }, (_, t) => (seed * 7 + t * t * 3 + t) % 23);
  return { inputIds, labels: inputIds.map((id, t) => (t % 5 === 4 ? -100 : id)) };
});
const batchOf = (model: LanguageModel) =>
  upload(model.engine, collatePredictions(examples, 40), model);

/** Away from its first values, at which an adapter does nothing. */
async function stir(model: LanguageModel): Promise<void> {
  let n = 0;
  for (const [name, parameter] of model.root.namedParameters())
    if (/lora_|prompt/.test(name))
      parameter.write(Float32Array.from({ length: parameter.size }, () => 0.2 * Math.sin(++n)));
}

const numbers = async (x: Tensor) => Array.from(await x.data());
const near = (ours: readonly number[], theirs: readonly number[], tolerance = 1e-6) => {
  expect(ours).toHaveLength(theirs.length);
  ours.forEach((value, i) => {
    expect(Math.abs(value - theirs[i]!)).toBeLessThan(tolerance * (1 + Math.abs(theirs[i]!)));
  });
};

/**
 * A loss that weighs tokens by what they become, as a policy gradient does, and the gradients that
 * it leaves.
 */
async function gradients(model: LanguageModel, perToken: Tensor) {
  model.engine.backward(perToken.mul(0.3).exp().sum());
  const found = new Map<string, number[]>();
  for (const [name, parameter] of model.root.namedParameters()) {
    if (parameter.trainable) found.set(name, await numbers(parameter.tensor.grad!));
    parameter.clearGrad();
  }
  expect(found.size).toBeGreaterThan(0);
  return found;
}

const configs: readonly [string, PeftConfigInput, boolean][] = [
  ['LoRA on the head', { peftType: 'LORA', r: 3, targetModules: ['lm_head', 'q_proj'] }, false],
  [
    'a head that is trained whole',
    { peftType: 'LORA', targetModules: ['q_proj'], modulesToSave: ['lm_head'] },
    false,
  ],
  ['LoRA on a base of 4 bits', { peftType: 'LORA', r: 3, targetModules: 'all-linear' }, true],
  ['prefixes', { peftType: 'PREFIX_TUNING', numVirtualTokens: 3 }, false],
];

describe('sequenceLogProbs', () => {
  it.each(configs)(
    'with %s: values and gradients are those of whole logits',
    async (_, config, in4bit) => {
      const model = getPeftModel(await base({}, in4bit), config);
      await model.ready();
      await stir(model);
      for (const temperature of [1, 0.7]) {
        const batch = batchOf(model);
        const { inputIds, positions, segments, labels } = batch;
        const logits = model
          .forward({ inputIds: inputIds!, positions: positions!, segments: segments! })
          .mul(1 / temperature);
        const flat = labels!.reshape(labels!.size);
        const whole = ops.crossEntropy(logits.reshape(flat.size, -1), flat).neg();
        const expected = await numbers(whole);
        const expectedGradients = await gradients(model, whole);
        const ours = sequenceLogProbs(model, batch, {
          temperature,
          perToken: true,
          withCorrect: true,
          statistics: ['entropy', 'meanLogit', 'concentration'],
        });
        const statistics = ops.rowStatistics(logits.reshape(flat.size, -1), flat);
        for (const [column, name] of (['entropy', 'meanLogit', 'concentration'] as const).entries())
          near(
            await numbers(ours.statistics![name]!.reshape(flat.size, 1)),
            (await numbers(statistics.slice(1, column, column + 1))).map((value) =>
              name === 'meanLogit' ? value * temperature : value,
            ),
          );
        near(await numbers(ours.perToken!), expected);
        const rows = [0, 1, 2].map((b) => expected.slice(b * 40, (b + 1) * 40));
        near(
          await numbers(ours.sums),
          rows.map((row) => row.reduce((sum, x) => sum + x, 0)),
        );
        const top = await numbers(
          ops.labelIsTop(logits.reshape(flat.size, -1), flat).reshape(3, 40).sum(1),
        );
        expect(await numbers(ours.correct!)).toEqual(top);
        const told = inference(model, () =>
          sequenceLogProbs(model, batch, { temperature, perToken: true, withCorrect: true }),
        );
        expect(await numbers(told.perToken!)).toEqual(await numbers(ours.perToken!));
        expect(await numbers(told.correct!)).toEqual(top);
        const found = await gradients(model, ours.perToken!);
        expect([...found.keys()]).toEqual([...expectedGradients.keys()]);
        for (const [name, values] of found) near(values, expectedGradients.get(name)!);
      }
    },
  );

  it('counts the first tokens that virtual tokens predict, as the loss of SFT does', async () => {
    const model = getPeftModel(await base(), { peftType: 'PROMPT_TUNING', numVirtualTokens: 4 });
    await model.ready();
    await stir(model);
    const batch = batchOf(model);
    const { loss, extraItems } = causalLmLoss(model, batch);
    expect(extraItems).toBe(3);
    const { sums, counts, perToken } = sequenceLogProbs(model, batch, { perToken: true });
    near([await sums.sum().item()], [-(await loss.item())]);
    const asked = examples.map(({ labels }) => Array.from(labels).filter((id) => id >= 0).length);
    expect(await numbers(counts)).toEqual(asked);
    const inPlace = await numbers(perToken!.sum(1));
    const all = await numbers(sums);
    all.forEach((sum, b) => {
      expect(sum).toBeLessThan(inPlace[b]! - 0.1); // the first token's own
    });
    expect((await gradients(model, sums)).size).toBe(1);
  });

  it('is a reference with the adapter off, without dropout, within a step', async () => {
    const model = getPeftModel(await base(), {
      peftType: 'LORA',
      r: 3,
      loraDropout: 0.5,
      targetModules: 'all-linear',
    });
    await stir(model);
    const plain = await base();
    const expected = await numbers(sequenceLogProbs(plain, batchOf(plain)).sums);
    const quiet = await numbers(sequenceLogProbs(model, batchOf(model)).sums);
    model.root.train();
    const sums = () => sequenceLogProbs(model, batchOf(model)).sums;
    expect(await numbers(sums())).not.toEqual(await numbers(sums())); // dropout
    const policy = sums();
    const told = inference(model, sums);
    const reference = model.withAdaptersDisabled(() => inference(model, sums));
    near(await numbers(told), quiet);
    near(await numbers(reference), expected);
    expect(model.root.training).toBe(true);
    const grads = await gradients(model, policy.sub(reference));
    expect([...grads.keys()].every((name) => name.includes('lora_'))).toBe(true);
  });

  it('holds no logits for a head with an adapter either', async () => {
    const [rows, length, vocab] = [16, 64, 32768];
    const model = await base({ vocab_size: vocab, hidden_size: 8 });
    const ids = Array.from({ length }, (_, t) => t + 3);
    const objective: Objective<TokenExample> = {
      name: 'policy',
      collate: (given) => collatePredictions(given, length),
      countItems: ({ inputIds }) => inputIds!.shape[0]!,
      loss: (policy, batch) => ({ loss: sequenceLogProbs(policy, batch).sums.exp().sum() }),
    };
    const trainer = new Trainer({
      model,
      objective,
      peftConfig: { peftType: 'LORA', r: 2, targetModules: ['lm_head'] },
      trainDataset: Array.from({ length: rows }, () => ({ inputIds: ids, labels: ids })),
      args: {
        outputDir: await mkdtemp(join(tmpdir(), 'attune-peft-')),
        maxSteps: 1,
        perDeviceTrainBatchSize: rows,
      },
    });
    const { peakBytes } = await trainer.planMemory();
    expect(peakBytes).toBeLessThan((rows * length * vocab * 4) / 2);
  });
});
