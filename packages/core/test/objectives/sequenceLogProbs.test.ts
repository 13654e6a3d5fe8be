import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  collatePredictions,
  inference,
  type LanguageModel,
  type Objective,
  sequenceLogProbs,
  type Tensor,
  type TokenExample,
  Trainer,
  upload,
} from '@attune/core';
import { causalLmLoss } from '@attune/core/training';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fixture, fixtureJson, largestDifference, reference } from '../models/support.js';
import { minuteLlama, temporaryFolder } from '../trainer/support.js';

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Case {
  readonly name: string;
  readonly inputs: { readonly ids: Numbers; readonly labels: Numbers };
  readonly attrs: { model: string; temperature: number; lengths: number[] };
  readonly outputs: Record<
    'perToken' | 'sums' | 'counts' | 'averages' | 'loss' | (typeof statistics)[number],
    Numbers
  >;
  readonly gradNorm: Record<string, number>;
  readonly gradWave: Record<string, number>;
}
const statistics = ['entropy', 'meanLogit', 'concentration'] as const;
const { cases } = fixtureJson('row410-sequence-log-probs.json') as { cases: Case[] };

/** The fixture's rows, without their padding. */
const examplesOf = ({ inputs, attrs }: Case): TokenExample[] =>
  attrs.lengths.map((length, b) => {
    const of = ({ data, shape }: Numbers) => data.slice(b * shape[1]!, b * shape[1]! + length);
    return { inputIds: of(inputs.ids), labels: of(inputs.labels) };
  });

const run = (
  model: LanguageModel,
  examples: readonly TokenExample[],
  options: Parameters<typeof sequenceLogProbs>[2] = {},
  maxLength = 32,
) =>
  sequenceLogProbs(
    model,
    upload(model.engine, collatePredictions(examples, maxLength), model),
    options,
  );

const numbers = async (x: Tensor | undefined) => Array.from(await x!.data());
const near = (ours: readonly number[], theirs: readonly number[], tolerance: number) =>
  expect(largestDifference(ours, theirs)).toBeLessThan(tolerance);

describe.each(cases)('$name: what torch and TRL compute', (given) => {
  const { attrs, outputs } = given;
  const [rows, width] = outputs.perToken.shape as [number, number];

  // Padded to 32 the labelled rows alone go through the head; at 11 there are too many of them.
  it.each([11, 32])('padded to %i tokens', async (maxLength) => {
    const model = await AutoModelForCausalLM.fromPretrained(fixture(attrs.model), {
      attune,
      dtype: 'float32',
    });
    const { temperature } = attrs;
    const options = { temperature, perToken: true, statistics };
    const found = run(model, examplesOf(given), options, maxLength);
    const { sums, counts, perToken } = found;
    expect(perToken!.shape).toEqual([rows, maxLength]);
    const tokens = await numbers(perToken);
    const padded = ({ data }: Numbers) =>
      Array.from({ length: rows * maxLength }, (_, i) => {
        const [b, t] = [Math.floor(i / maxLength), i % maxLength];
        return t < width ? data[b * width + t]! : 0;
      });
    near(tokens, padded(outputs.perToken), 2e-5);
    for (const name of statistics) {
      const statistic = found.statistics![name]!;
      expect(statistic.requiresGrad).toBe(false);
      expect(statistic.shape).toEqual([rows, maxLength]);
      near(await numbers(statistic), padded(outputs[name]), 2e-5);
    }
    near(await numbers(sums), outputs.sums.data, 1e-4);
    expect(await numbers(counts)).toEqual(outputs.counts.data);
    const averages = await numbers(sums.div(counts));
    expect(averages[2]).toBeNaN(); // of a row without labels
    near([averages[0]!, averages[1]!, averages[3]!], outputs.averages.data, 2e-5);

    const margin = sums
      .slice(0, 0, 1)
      .sub(sums.slice(0, 1, 2))
      .mul(0.5);
    const asked = perToken!.slice(0, 3, 4).reshape(maxLength).slice(0, 0, 9); // labels of row 3
    const loss = margin.logSigmoid().sum().add(asked.mul(0.1).exp().sum()).neg();
    expect(await loss.item()).toBeCloseTo(outputs.loss.data[0]!, 5);
    attune.engine.backward(loss);
    const grads = Object.entries(given.gradNorm);
    expect(grads.length).toBeGreaterThan(10);
    for (const [name, norm] of grads) {
      const { tensor } = new Map(model.root.namedParameters()).get(name)!;
      const grad = await numbers(tensor.grad!);
      expect(Math.abs(Math.hypot(...grad) - norm), name).toBeLessThan(1e-4 * (1 + norm));
      const wave = grad.reduce((sum, g, i) => sum + g * Math.cos(i), 0);
      expect(Math.abs(wave - given.gradWave[name]!), name).toBeLessThan(1e-4 * (1 + norm));
    }
  });
});

/** 17 tokens, some of them asked. */
const example = (length: number, seed: number, prompt = 2): TokenExample => {
  const inputIds = Array.from({ length }, (_, t) => (seed * 7 + t * t * 3 + t) % 17);
  return { inputIds, labels: inputIds.map((id, t) => (t < prompt ? -100 : id)) };
};

describe('sequenceLogProbs', () => {
  it('gives the examples of a packed row what it gives them alone', async () => {
    const model = await minuteLlama(attune);
    const [one, two] = [example(9, 1), example(6, 2)];
    const packed: TokenExample = {
      inputIds: [...Array.from(one.inputIds), ...Array.from(two.inputIds)],
      labels: [...Array.from(one.labels), ...Array.from(two.labels)],
      seqLengths: [9, 6],
    };
    const apart = run(model, [one, two], { perToken: true });
    const together = run(model, [packed], { perToken: true });
    const tokens = await numbers(together.perToken);
    const alone = await numbers(apart.perToken);
    near(tokens.slice(0, 9), alone.slice(0, 9), 1e-12);
    near(tokens.slice(9, 15), alone.slice(32, 38), 1e-12);
    const [first, second] = (await numbers(apart.sums)) as [number, number];
    near(await numbers(together.sums), [first + second], 1e-5);
    expect(await numbers(together.counts)).toEqual([7 + 4]);
  });

  it('adds up to the loss of SFT', async () => {
    const model = await minuteLlama(attune);
    const batch = upload(attune.engine, collatePredictions([example(9, 1), example(30, 2)], 32));
    const { sums, correct } = sequenceLogProbs(model, batch, { withCorrect: true });
    const { loss, metrics } = causalLmLoss(model, batch);
    expect(await sums.sum().item()).toBeCloseTo(-(await loss.item()), 5);
    const { sum } = metrics!.meanTokenAccuracy!;
    expect(await correct!.sum().item()).toBe(await sum.item());
  });

  it('says of each row what greedy decoding would have written', async () => {
    const model = await minuteLlama(attune);
    const prompt = [1, 5, 9];
    const { sequences } = await model.generate({
      inputIds: prompt,
      maxNewTokens: 5,
      eosTokenId: null,
    });
    const ids = sequences[0]!;
    const labels = ids.map((id, t) => (t < 3 ? -100 : id));
    const other = [...ids.slice(0, 5), (ids[5]! + 1) % 17, ...ids.slice(6)];
    const wrong = other.map((id, t) => (t < 3 ? -100 : id));
    const rows = [
      { inputIds: ids, labels },
      { inputIds: other, labels: wrong },
    ];
    const { correct, counts } = run(model, rows, { withCorrect: true });
    expect(await numbers(counts)).toEqual([5, 5]);
    const [all, some] = await numbers(correct);
    expect(all).toBe(5);
    expect(some).toBeLessThan(5);
  });

  it('is the same under inference, to the bit, and then has no history', async () => {
    const model = await minuteLlama(attune);
    const rows = [example(9, 1), example(30, 2)];
    const learned = run(model, rows, { perToken: true, temperature: 0.8 });
    const before = attune.engine.tape.length;
    const told = inference(model, () => run(model, rows, { perToken: true, temperature: 0.8 }));
    expect(attune.engine.tape.length).toBe(before);
    expect(told.sums.requiresGrad).toBe(false);
    expect(learned.sums.requiresGrad).toBe(true);
    expect(await numbers(told.perToken)).toEqual(await numbers(learned.perToken));
    expect(await numbers(told.sums)).toEqual(await numbers(learned.sums));
  });

  it('tells what it is asked for, and loses and gradients are what they were', async () => {
    const model = await minuteLlama(attune);
    const rows = [example(9, 1), example(30, 2)];
    const [, weight] = [...model.root.namedParameters()].at(-1)!;
    const learn = async (asked: ('entropy' | 'meanLogit')[]) => {
      const {
        sums,
        correct,
        statistics: told = {},
      } = run(model, rows, {
        withCorrect: true,
        statistics: asked,
      });
      attune.engine.backward(sums.sum());
      const grad = await numbers(weight.tensor.grad!);
      weight.clearGrad();
      const names = Object.keys(told);
      return { names, numbers: [grad, await numbers(sums), await numbers(correct)] };
    };
    const [plain, told] = [await learn([]), await learn(['meanLogit', 'entropy'])];
    expect([plain.names, told.names]).toEqual([[], ['meanLogit', 'entropy']]);
    expect(told.numbers).toEqual(plain.numbers);
    const packed = { inputIds: [3, 1, 4, 1, 5, 9], labels: [3, 1, 4, 1, 5, 9], seqLengths: [4, 2] };
    const { entropy } = run(model, [packed], { statistics: ['entropy'] }).statistics!;
    const positive = (await numbers(entropy)).map((value) => value > 0);
    expect(positive.slice(0, 6)).toEqual([true, true, true, false, true, false]);
  });

  it('gives values of the head, from the same pass as the log-probs', async () => {
    const model = await AutoModelForCausalLMWithValueHead.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
      seed: 2,
    });
    const passes = vi.spyOn(model, 'hiddenStates');
    for (const prompt of [2, 20]) {
      // With a long prompt, only the labelled rows go through the heads.
      const rows = [example(9, 1), example(30, 2, prompt)];
      const batch = upload(attune.engine, collatePredictions(rows, 32), model);
      const { positions, segments, labels } = batch;
      const all = await numbers(
        model.values({ inputIds: batch.inputIds!, positions: positions!, segments: segments! }),
      );
      const asked = (await numbers(labels)).map((label) => label >= 0);
      passes.mockClear();
      const { values, sums } = sequenceLogProbs(model, batch, { withValues: true });
      expect(passes).toHaveBeenCalledTimes(1);
      near(
        await numbers(values),
        all.map((value, i) => (asked[i] ? value : 0)),
        1e-6,
      );
      attune.engine.backward(values!.square().sum().sub(sums.sum()));
      for (const name of ['v_head.summary.weight', 'model.embed_tokens.weight']) {
        const { tensor } = new Map(model.root.namedParameters()).get(name)!;
        expect(Math.max(...(await numbers(tensor.grad!)).map(Math.abs))).toBeGreaterThan(1e-3);
      }
    }
    const plain = await minuteLlama(attune);
    expect(() => run(plain, [example(4, 1)], { withValues: true })).toThrow(
      /LOG_PROBS_INPUT: withValues: the model has no value head.*\n.*WithValueHead/,
    );
  });

  it.each([[['entropie']], ['entropy'], [[3]]])('refuses statistics %j', async (given) => {
    const model = await minuteLlama(attune);
    expect(() => run(model, [example(4, 1)], { statistics: given as never })).toThrow(
      /LOG_PROBS_INPUT: statistics has .*\n.*'entropy', 'meanLogit', 'concentration'/,
    );
  });

  it('frees what it made but for what it gives', async () => {
    const model = await minuteLlama(attune);
    const { engine } = attune;
    const before = engine.liveTensors;
    engine.scope('micro', () => {
      const { sums } = run(model, [example(9, 1), example(30, 2)], { statistics });
      engine.backward(sums.sum());
    });
    expect(engine.liveTensors).toBe(before);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('refuses temperature %f', async (t) => {
    const model = await minuteLlama(attune);
    expect(() => run(model, [example(4, 1)], { temperature: t })).toThrow(/temperature is/);
  });

  it('says what a batch lacks', async () => {
    const model = await minuteLlama(attune);
    const { labels: _, ...rest } = collatePredictions([example(4, 1)], 32);
    expect(() => sequenceLogProbs(model, upload(attune.engine, rest))).toThrow(
      /LOG_PROBS_INPUT: the batch has no labels/,
    );
  });
});

describe('planMemory of a preference loss with a reference', () => {
  const pairs = 8;
  const length = 64;
  const vocab = 32768;
  const logitsBytes = 2 * pairs * length * vocab * 4; // 134 MB

  /** -log sigmoid of the margin above the reference's; two forwards of [2B, T]. */
  const preference = (logProbs: typeof sequenceLogProbs): Objective<TokenExample> => ({
    name: 'preference',
    collate: (examples) => collatePredictions(examples, length),
    countItems: ({ inputIds }) => inputIds!.shape[0]! / 2,
    loss(model, batch) {
      const reference = inference(model, () => logProbs(model, batch).sums);
      const own = logProbs(model, batch, { statistics });
      const gain = own.sums.sub(reference);
      const half = gain.size / 2;
      const margin = gain.slice(0, 0, half).sub(gain.slice(0, half, 2 * half));
      const loss = margin.mul(0.1).logSigmoid().sum().neg();
      if (!own.statistics) return { loss };
      return { loss, metrics: { entropy: { sum: own.statistics.entropy!.sum() } } };
    },
  });

  const peakOf = async (logProbs: typeof sequenceLogProbs) => {
    const model = await minuteLlama(attune, 0, {
      vocab_size: vocab,
      max_position_embeddings: length,
    });
    const ids = Array.from({ length }, (_, t) => t + 3);
    const trainer = new Trainer({
      model,
      objective: preference(logProbs),
      trainDataset: Array.from({ length: 2 * pairs }, () => ({ inputIds: ids, labels: ids })),
      args: {
        outputDir: await temporaryFolder(),
        maxSteps: 1,
        perDeviceTrainBatchSize: 2 * pairs,
      },
    });
    const { peakBytes } = await trainer.planMemory();
    model.dispose();
    return peakBytes;
  };

  it('has no logits in it', async () => {
    expect(await peakOf(sequenceLogProbs)).toBeLessThan(logitsBytes / 4);
    // The same with whole logits, so that the bound is seen to bind.
    const whole: typeof sequenceLogProbs = (model, { inputIds, labels, positions, segments }) => {
      const [count, width] = labels!.shape as [number, number];
      const logits = model.forward({
        inputIds: inputIds!,
        positions: positions!,
        segments: segments!,
      });
      const flat = logits.reshape(count * width, vocab);
      const sums = flat.logSoftmax().sum(1).reshape(count, width).sum(1);
      return { sums, counts: sums };
    };
    expect(await peakOf(whole)).toBeGreaterThan(logitsBytes);
  });
});
