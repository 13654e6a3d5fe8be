import { readdir } from 'node:fs/promises';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
  causalLmObjective,
  frozenCopy,
  inference,
  type LanguageModel,
  type Objective,
  sequenceLogProbs,
  type Tensor,
  type TokenExample,
  Trainer,
} from '@attune/core';
import { DecoderModel, type ForwardInput } from '@attune/core/models';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from '../trainer/support.js';
import { fixture, reference } from './support.js';

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const inputOf = ({ engine }: LanguageModel): ForwardInput => ({
  inputIds: engine.tensor([5, 9, 2, 7, 11, 3], [2, 3], 'int32'),
});
async function numbersOf(model: LanguageModel): Promise<number[]> {
  const { engine } = model;
  const logits = engine.noGrad(() => engine.scope('forward', () => model.forward(inputOf(model))));
  const numbers = Array.from(await logits.data());
  logits.dispose();
  return numbers;
}

const load = (name: string, options = {}) =>
  AutoModelForCausalLM.fromPretrained(fixture(name), { attune, ...options });
const models: [string, () => Promise<DecoderModel>][] = [
  ['a Llama', () => load('tiny-llama')],
  ['one with a tied head', () => load('tiny-llama-tied')],
  ['a Gemma 2, capped and tied', () => load('tiny-gemma2')],
  ['a GPT-2', () => load('tiny-gpt2')],
  ['a Phi-3', () => load('tiny-phi3')],
  ['weights in 16 bits', () => load('tiny-llama', { dtype: 'bfloat16' })],
  ['layers in 4 bits, from the file', () => load('tiny-llama-tied-nf4')],
  [
    'layers in 4 bits, with nested scales and biases',
    () => load('tiny-qwen2', { quantization: { loadIn4bit: true, bnb4bitUseDoubleQuant: true } }),
  ],
  ['layers in 8 bits', () => load('tiny-llama', { quantization: { loadIn8bit: true } })],
  [
    'layers that were in 4 bits',
    async () => {
      const model = await load('tiny-llama', { quantization: { loadIn4bit: true } });
      model.dequantize();
      return model;
    },
  ],
  ['offloaded layers', () => load('tiny-llama', { offload: 'weights' })],
  [
    'a classifier',
    () => AutoModelForSequenceClassification.fromPretrained(fixture('tiny-classifier'), { attune }),
  ],
  [
    'a value head',
    () =>
      AutoModelForCausalLMWithValueHead.fromPretrained(fixture('tiny-llama'), { attune, seed: 3 }),
  ],
  ['a model from a config', () => minuteLlama(attune, 3)],
];

describe.each(models)('a frozen copy of %s', (_, make) => {
  test('is the same to the bit, and stays so; it leaves nothing behind', async () => {
    const model = await make();
    const { engine } = model;
    const before = await numbersOf(model);
    const bytes = engine.backend.stats.liveBytes;
    const live = engine.liveTensors;
    const empty = (model as DecoderModel).rebuilt(); // tables of rotary embeddings, code maps
    const tables = engine.backend.stats.liveBytes - bytes;
    empty.dispose();
    const copy = await frozenCopy(model);
    const taken = engine.backend.stats.liveBytes - bytes;
    expect(await numbersOf(copy)).toEqual(before);
    const parameters = [...copy.root.namedParameters()];
    expect(parameters.map(([name]) => name)).toEqual(
      [...model.root.namedParameters()].map(([name]) => name),
    );
    expect(parameters.some(([, { trainable }]) => trainable)).toBe(false);
    expect(copy.root.training).toBe(false);
    expect(copy.constructor).toBe(model.constructor);
    // As large as the weights in full precision on the device: quantised ones are shared.
    const own = [...new Set(parameters.map(([, parameter]) => parameter))]
      .filter(({ isOffloaded }) => !isOffloaded)
      .reduce((sum, { tensor }) => sum + tensor.byteLength, 0);
    expect(taken).toBeGreaterThanOrEqual(own);
    expect(taken).toBeLessThanOrEqual(own + tables);
    expect(tables).toBeLessThan(20_000);
    if ('values' in model) {
      const [ours, theirs] = [copy, model].map((m) =>
        engine.noGrad(() => engine.scope('values', () => (m as LanguageModel).values!(inputOf(m)))),
      ) as [Tensor, Tensor];
      expect(await ours.data()).toEqual(await theirs.data());
      for (const values of [ours, theirs]) values.dispose();
    }
    for (const [, parameter] of model.root.namedParameters()) {
      const was = await parameter.read();
      const size = was.byteLength / (parameter.dtype === 'float32' ? 4 : 2);
      parameter.write(
        parameter.dtype === 'float32' ? new Float32Array(size) : new Uint16Array(size),
      );
    }
    expect(await numbersOf(model)).not.toEqual(before);
    expect(await numbersOf(copy)).toEqual(before);
    copy.dispose();
    expect(engine.backend.stats.liveBytes).toBe(bytes);
    expect(engine.liveTensors).toBe(live);
  });
});

describe('frozenCopy', () => {
  test('of a copy, and after the original is gone', async () => {
    const model = await load('tiny-llama-tied-nf4');
    const before = await numbersOf(model);
    using copy = await frozenCopy(model);
    using again = await frozenCopy(copy);
    model.dispose();
    expect(await numbersOf(again)).toEqual(before);
    const folder = await temporaryFolder();
    await again.savePretrained(folder);
    const saved = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    expect(await numbersOf(saved)).toEqual(before);
    expect(
      (await again.generate({ inputIds: [5, 9], maxNewTokens: 3, eosTokenId: null })).sequences[0],
    ).toHaveLength(5);
  });

  test('refuses what it cannot copy', async () => {
    const model = await minuteLlama(attune);
    model.adapters = {} as never;
    await expect(frozenCopy(model)).rejects.toThrow(
      /COPY_ADAPTERS: frozenCopy: the model has adapters(.|\n)*withAdaptersDisabled(.|\n)*copyAdapter/,
    );
    model.adapters = null;
    const { root, config, dtype } = model;
    class Own extends DecoderModel {
      readonly taskType = 'CAUSAL_LM';
    }
    const own = new Own({ attune, root, config, dtype, nameOrPath: '', folder: null });
    await expect(frozenCopy(own)).rejects.toThrow(/COPY_UNSUPPORTED/);
    await expect(frozenCopy({ ...own, adapters: null } as never)).rejects.toThrow(
      /COPY_UNSUPPORTED/,
    );
  });
});

describe('the reference of a run that trains all weights', () => {
  const base = causalLmObjective({ maxLength: 16, preflight: 'off' });
  /** The loss, and the square of what changed in log-probs since the trainer was made. */
  function anchored() {
    const held: { copy?: DecoderModel } = {};
    const objective: Objective<TokenExample> = {
      ...base,
      name: 'anchored',
      isLogLikelihood: false,
      async prepare({ model }) {
        held.copy = await frozenCopy(model);
      },
      loss(model, batch) {
        const { sums } = sequenceLogProbs(model, batch);
        const copy = held.copy!;
        const before = inference(copy, () => sequenceLogProbs(copy, batch).sums);
        const drift = sums.sub(before).square().sum();
        return {
          loss: drift.sub(sums.sum()),
          metrics: { drift: { sum: drift.detach().reshape(1) } },
        };
      },
    };
    return { objective, held };
  }
  const make = async (args: object) => {
    const own = await float32Attune();
    const model = await minuteLlama(own, 3);
    const { objective, held } = anchored();
    const trainer = new Trainer({
      model,
      objective: objective as Objective,
      trainDataset: idRows(6),
      args: {
        perDeviceTrainBatchSize: 2,
        learningRate: 0.02,
        lrSchedulerType: 'constant',
        seed: 1,
        ...args,
      } as never,
    });
    return { model, trainer, held };
  };

  test('is the first model, in no checkpoint, and the same in a run that goes on', async () => {
    const [outputDir, halves] = [await temporaryFolder(), await temporaryFolder()];
    const whole = await make({ outputDir, maxSteps: 4, loggingSteps: 1, saveSteps: 4 });
    const began = await weightsOf(whole.model);
    await whole.trainer.train();
    expect(await weightsOf(whole.held.copy as never)).toEqual(began);
    const drifts = whole.trainer.state.logHistory.flatMap(({ drift }) => drift ?? []);
    expect(drifts[0]).toBe(0);
    expect(drifts[3]).toBeGreaterThan(1e-4);
    expect(
      (await readdir(`${outputDir}/checkpoint-4`)).some((file) => /objective/.test(file)),
    ).toBe(false);
    const first = await make({ outputDir: halves, maxSteps: 2, saveSteps: 2 });
    await first.trainer.train();
    const second = await make({ outputDir: halves, maxSteps: 4, resumeFromCheckpoint: true });
    await second.trainer.train();
    expect(await weightsOf(second.model)).toEqual(await weightsOf(whole.model));
  });

  test('is in the plan, to the byte', async () => {
    const { trainer, model, held } = await make({
      outputDir: await temporaryFolder(),
      maxSteps: 2,
    });
    const { peakBytes } = await trainer.planMemory();
    const bytes = [...held.copy!.root.namedParameters()].reduce((n, [, p]) => n + 4 * p.size, 0);
    expect(bytes).toBeGreaterThan(1000);
    const { stats } = model.engine.backend;
    stats.peakBytes = stats.liveBytes;
    await trainer.train();
    expect(stats.peakBytes).toBe(peakBytes);
    held.copy!.dispose();
    const { peakBytes: without } = await trainer.planMemory().catch(() => ({ peakBytes: 0 }));
    expect(without).toBe(0); // the loss reads a model that is gone
  });
});
