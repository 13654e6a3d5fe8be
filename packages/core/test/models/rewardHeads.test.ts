import { readFile } from 'node:fs/promises';
import {
  type Attune,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
  collatePredictions,
  type DeviceBatch,
  type LanguageModel,
  sequenceLogProbs,
  type Tensor,
  type TokenExample,
  upload,
} from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../trainer/support.js';
import { fixture, fixtureJson, largestDifference, reference } from './support.js';

interface Numbers {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Case {
  readonly name: string;
  readonly inputs: { readonly ids: Numbers };
  readonly attrs: { readonly lengths: readonly number[]; readonly pad: number };
  readonly outputs: { readonly scores: Numbers; readonly values: Numbers };
}
const { cases } = fixtureJson('row411-reward-heads.json') as { cases: Case[] };

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const numbers = async (x: Tensor) => Array.from(await x.data());
const wave = (size: number, of: (x: number) => number) =>
  Float32Array.from({ length: size }, (_, i) => 0.2 * of(i + 1));
const set = (model: LanguageModel, name: string, values: Float32Array) =>
  new Map(model.root.namedParameters()).get(name)!.write(values);
const int32 = (values: readonly number[], shape: readonly number[]) =>
  attune.engine.tensor(values as number[], shape as number[], 'int32');

/** The fixture's rows on the device; padding is a segment of its own. */
const rowsOf = ({ inputs: { ids }, attrs: { lengths } }: Case) => {
  const [rows, width] = ids.shape as [number, number];
  const mask = Array.from({ length: rows * width }, (_, i) =>
    Number(i % width < lengths[Math.floor(i / width)]!),
  );
  return { inputIds: int32(ids.data, ids.shape), attentionMask: int32(mask, ids.shape), mask };
};

describe.each(cases)('$name: what transformers computes', (given) => {
  const { attrs, inputs, outputs } = given;
  const width = inputs.ids.shape[1]!;
  const options = () => ({ attune, dtype: 'float32' as const });

  test('a reward model, pooled by the length or by the ids', async () => {
    const load = (folder: string) =>
      AutoModelForSequenceClassification.fromPretrained(folder, {
        ...options(),
        numLabels: 1,
        padTokenId: attrs.pad,
      });
    const model = await load(fixture(given.name));
    expect(model.scoring).toEqual({ numLabels: 1, problemType: 'regression' });
    set(model, 'score.weight', wave(model.config.hiddenSize, Math.sin));
    const { mask: _, ...input } = rowsOf(given);
    const byLength = await numbers(model.scores(input));
    const expected = outputs.scores.data;
    expect(largestDifference(byLength.slice(0, 2), expected.slice(0, 2))).toBeLessThan(2e-5);
    // The rightmost token that is not of padding: of the last row one before its own last.
    const lastTokens = attrs.lengths.map((_, row) => {
      const ids = inputs.ids.data.slice(row * width, (row + 1) * width);
      return ids.findLastIndex((id) => id !== attrs.pad);
    });
    expect(lastTokens).toEqual([7, 4, 4]);
    const byId = await numbers(model.scores({ ...input, lastTokens: int32(lastTokens, [3]) }));
    expect(largestDifference(byId, expected)).toBeLessThan(2e-5);

    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    const config = JSON.parse(await readFile(`${folder}/config.json`, 'utf8'));
    expect(config.architectures[0]).toMatch(/^\w+ForSequenceClassification$/);
    expect(Object.keys(config.id2label)).toEqual(['0']);
    expect(config.pad_token_id).toBe(attrs.pad);
    await using file = await SafetensorsFile.open(`${folder}/model.safetensors`);
    const heads = [...file.names].filter((name) => /lm_head|score/.test(name));
    expect(heads).toEqual(['score.weight']);
    expect(await numbers((await load(folder)).scores(input))).toEqual(byLength);
  });

  test('a critic, whose values come with the log-probs', async () => {
    const model = await AutoModelForCausalLMWithValueHead.fromPretrained(
      fixture(given.name),
      options(),
    );
    set(model, 'v_head.summary.weight', wave(model.config.hiddenSize, Math.cos));
    set(model, 'v_head.summary.bias', Float32Array.of(0.1));
    const { inputIds, attentionMask, mask } = rowsOf(given);
    const all = await numbers(model.values({ inputIds, segments: attentionMask }));
    const own = all.map((value, i) => value * mask[i]!);
    expect(largestDifference(own, outputs.values.data)).toBeLessThan(2e-5);
    // The last three tokens of a row are an answer; what predicts them stands one before.
    const examples: TokenExample[] = attrs.lengths.map((length, row) => {
      const ids = inputs.ids.data.slice(row * width, row * width + length);
      return { inputIds: ids, labels: ids.map((id, t) => (t < length - 3 ? -100 : id)) };
    });
    const batch: DeviceBatch = upload(attune.engine, collatePredictions(examples, width), model);
    const { values } = sequenceLogProbs(model, batch, { withValues: true });
    const asked = outputs.values.data.map((value, i) => {
      const length = attrs.lengths[Math.floor(i / width)]!;
      const t = i % width;
      return t >= length - 4 && t < length - 1 ? value : 0;
    });
    expect(largestDifference(await numbers(values!), asked)).toBeLessThan(2e-5);
  });
});

test.each([
  [999, /LABELS_INVALID: padTokenId is 999, and the model has 256 tokens/],
  [-1, /padTokenId/],
  [1.5, /padTokenId/],
])('padTokenId %j is refused', async (padTokenId, message) => {
  await expect(
    AutoModelForSequenceClassification.fromPretrained(fixture('tiny-llama'), {
      attune,
      padTokenId,
    }),
  ).rejects.toThrow(message);
});
