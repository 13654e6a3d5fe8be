import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type LanguageModel,
  sequenceScores,
} from '@attune/core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { reference } from '../models/support.js';

const config = {
  model_type: 'llama',
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  max_position_embeddings: 32,
  num_labels: 1,
  pad_token_id: 0,
};

let attune: Attune;
let model: LanguageModel;
beforeAll(async () => {
  attune = await reference();
  model = await AutoModelForSequenceClassification.fromConfig(config, { attune, seed: 5 });
});
afterAll(() => attune.dispose());

/** What `scores` gives for one row alone, without padding. */
const alone = async (ids: readonly number[]) => {
  const { engine } = attune;
  const scores = engine.scope('alone', () =>
    engine.noGrad(() =>
      engine.keep(
        model.scores!({ inputIds: engine.tensor([...ids], [1, ids.length], 'int32') }).reshape(1),
      ),
    ),
  );
  const [value] = await scores.data();
  scores.dispose();
  return value!;
};

test('each row has the score that it has alone, whatever is beside it, and nothing stays', async () => {
  const rows = [[3, 4, 5], [9], [7, 0, 0], Array.from({ length: 32 }, (_, i) => i + 1)];
  const { liveTensors } = attune.engine;
  model.root.train();
  const scores = await sequenceScores(model, rows);
  expect(model.root.training).toBe(true);
  expect(attune.engine.liveTensors).toBe(liveTensors);
  expect(new Set(scores).size).toBe(4);
  for (const [i, ids] of rows.entries()) expect(scores[i]).toBeCloseTo(await alone(ids), 5);
});

test('no rows have no scores', async () => {
  expect(await sequenceScores(model, [])).toEqual(new Float64Array());
});

test('models without a single score are refused', async () => {
  const language = await AutoModelForCausalLM.fromConfig(config, { attune });
  await expect(sequenceScores(language, [[1]])).rejects.toThrow(/has no score for a sequence/);
  const classes = await AutoModelForSequenceClassification.fromConfig(
    { ...config, num_labels: 3 },
    { attune },
  );
  await expect(sequenceScores(classes, [[1]])).rejects.toThrow(/has 3 scores for a sequence/);
});

test('rows that the model cannot read are refused', async () => {
  await expect(sequenceScores(model, [[1], []])).rejects.toThrow(/row 1 has no token/);
  await expect(sequenceScores(model, [[1], Array(33).fill(1)])).rejects.toThrow(
    /row 1 has 33 tokens.*32/,
  );
  await expect(sequenceScores(model, [[2, 40]])).rejects.toThrow(/row 0 has the token id 40/);
});
