import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  CausalLM,
  generateTask,
  runEvaluationTask,
  SFTTrainer,
  type Tensor,
} from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import {
  AutoModelForCausalLMWithValueHead,
  autoModel,
  DecoderModel,
  type DecoderModelParts,
  defineHead,
  type ForwardInput,
} from '@attune/core/models';
import { Linear, type LinearLike } from '@attune/core/nn';
import type { TextTokenizer } from '@attune/core/text';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { fixture, largestDifference, reference } from './support.js';

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const tiny = fixture('tiny-llama');
const temporary = () => mkdtemp(join(tmpdir(), 'attune-heads-'));
const ids = () => attune.engine.tensor([5, 9, 2, 7], [1, 4], 'int32');
const numbers = async (x: Tensor) => Array.from(await x.data());
const namesIn = async (folder: string) => {
  await using file = await SafetensorsFile.open(join(folder, 'model.safetensors'));
  return [...file.names];
};

describe('what a model is for', () => {
  it('is said by the model, not by its class', async () => {
    const causal = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    expect(causal.taskType).toBe('CAUSAL_LM');
    for (const name of ['scoring', 'scores', 'values', 'headModules'])
      expect(name in causal).toBe(false);
    const reward = await AutoModelForSequenceClassification.fromPretrained(tiny, {
      attune,
      numLabels: 1,
    });
    expect(reward.taskType).toBe('SEQ_CLS');
    expect(reward.scoring).toEqual({ numLabels: 1, problemType: 'regression' });
    const scores = reward.scores({ inputIds: ids() });
    expect(scores.shape).toEqual([1, 1]);
    expect(await numbers(scores)).toEqual(await numbers(reward.forward({ inputIds: ids() })));
    expect('generate' in reward).toBe(false);
    expect(reward).not.toBeInstanceOf(CausalLM);
  });

  it('keeps a classifier out of what needs text', async () => {
    const model = await AutoModelForSequenceClassification.fromPretrained(tiny, { attune });
    const tokenizer = {
      eosToken: null,
      encode: () => [1],
      decode: () => '',
    } as unknown as TextTokenizer;
    const task = generateTask({ name: 'sums', rows: [{ prompt: 'a', answer: 'b' }] });
    await expect(runEvaluationTask(task, { model, tokenizer })).rejects.toThrow(
      /task "sums": generateTask: a model for the task "SEQ_CLS" writes no text/,
    );
    const args = { outputDir: await temporary(), maxSteps: 1 };
    expect(() => new SFTTrainer({ model, trainDataset: [{ input_ids: [1, 2] }], args })).toThrow(
      /CAUSAL_LM_NEEDED.*"SEQ_CLS"/,
    );
  });

  it('loads a classifier with its layers in host memory, too', async () => {
    const options = { attune, numLabels: 3, seed: 5 };
    const plain = await AutoModelForSequenceClassification.fromPretrained(tiny, options);
    const model = await AutoModelForSequenceClassification.fromPretrained(tiny, {
      ...options,
      offload: 'weights',
    });
    expect([...model.root.namedParameters()].some(([, p]) => p.isOffloaded)).toBe(true);
    const [ours, theirs] = await Promise.all(
      [model, plain].map((m) => numbers(attune.engine.noGrad(() => m.scores({ inputIds: ids() })))),
    );
    expect(ours).toEqual(theirs);
  });
});

describe('a value head', () => {
  it('is beside the layer over the vocabulary, new where the files have none, the same when loaded again', async () => {
    const plain = await AutoModelForCausalLM.fromPretrained(tiny, { attune });
    const model = await AutoModelForCausalLMWithValueHead.fromPretrained(tiny, { attune, seed: 4 });
    expect(model.taskType).toBe('CAUSAL_LM');
    const forward = { inputIds: ids() };
    expect(await numbers(model.forward(forward))).toEqual(await numbers(plain.forward(forward)));
    expect((await model.generate({ inputIds: [5, 9], maxNewTokens: 3 })).sequences).toEqual(
      (await plain.generate({ inputIds: [5, 9], maxNewTokens: 3 })).sequences,
    );
    const values = await numbers(model.values(forward));
    expect(values).toHaveLength(4);
    expect(new Set(values).size).toBe(4);
    const folder = await temporary();
    await model.savePretrained(folder);
    const plainNames = await namesIn(tiny);
    expect((await namesIn(folder)).filter((name) => !plainNames.includes(name)).sort()).toEqual([
      'v_head.summary.bias',
      'v_head.summary.weight',
    ]);
    const again = await AutoModelForCausalLMWithValueHead.fromPretrained(folder, { attune });
    expect(await numbers(again.values(forward))).toEqual(values);
    await expect(AutoModelForCausalLM.fromPretrained(folder, { attune })).rejects.toThrow(
      /WEIGHTS_MISMATCH.*v_head/,
    );
  });
});

describe('a head from somebody else', () => {
  class Ranker extends DecoderModel {
    readonly taskType = 'RANK';
    readonly headModules = ['rank'];

    rank(input: ForwardInput): Tensor {
      return this.root.child<LinearLike>('rank').forward(this.hiddenStates(input));
    }
  }
  const rankHead = defineHead<Ranker, { readonly width?: number }>({
    name: 'ranker',
    options: z.strictObject({ width: z.number().optional() }),
    keepsOutputLayer: true,
    ownTensors: ['rank.weight'],
    configure: (raw, { width = 2 }, where) =>
      where === 'config' || raw.rank_width === undefined ? { ...raw, rank_width: width } : raw,
    attach(decoder, { engine, config, dtype }) {
      const outFeatures = config.raw.rank_width as number;
      decoder.attach(
        'rank',
        new Linear(engine, { inFeatures: config.hiddenSize, outFeatures, dtype }),
      );
      return decoder;
    },
    initialize: (_, parameter) => parameter.write(new Float32Array(parameter.size).fill(0.5)),
    create: (parts: DecoderModelParts) => new Ranker(parts),
  });
  const AutoModelForRanking = autoModel(rankHead);

  it('is loaded, begun, saved and loaded again by the same loader', async () => {
    const options = { attune, dtype: 'float32' } as const;
    const model = await AutoModelForRanking.fromPretrained(tiny, { ...options, width: 3 });
    const ranks = model.rank({ inputIds: ids() });
    expect(ranks.shape).toEqual([1, 4, 3]);
    const expected = model.hiddenStates({ inputIds: ids() }).sum(-1).mul(0.5);
    expect(
      largestDifference(
        await ranks.slice(2, 0, 1).reshape(4).data(),
        await expected.reshape(4).data(),
      ),
    ).toBeLessThan(1e-6);
    const folder = await temporary();
    await model.savePretrained(folder);
    const again = await AutoModelForRanking.fromPretrained(folder, options);
    expect(await numbers(again.rank({ inputIds: ids() }))).toEqual(await numbers(ranks));
    const config = { ...model.config.raw };
    const made = await AutoModelForRanking.fromConfig(config, { attune, width: 5 });
    const fresh = made.root.child('rank').ownParameters.get('weight')!.tensor;
    expect(fresh.shape).toEqual([5, 64]);
    expect(new Set(await numbers(fresh))).toEqual(new Set([0.5]));
    await expect(
      AutoModelForRanking.fromPretrained(tiny, { ...options, widths: 3 } as never),
    ).rejects.toThrow(/OPTION/);
  });
});
