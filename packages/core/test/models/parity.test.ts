import { AutoModelForCausalLM, ops, type Tensor } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  fixture,
  fixtureJson,
  hasStories,
  largestDifference,
  reference,
  stories,
  storiesNote,
} from './support.js';

/**
 * Logits, loss and every gradient against transformers on the CPU in float32.
 *
 * Ours are float64, so what remains is their rounding: 1e-5 on logits of size 1 is about 80 ulp
 * after two layers.
 */
const tolerance = 1e-5;

/** Mean cross-entropy of the next token, as transformers computes it from unshifted labels. */
function shiftedLoss(logits: Tensor, labels: readonly number[]): Tensor {
  const { engine } = logits;
  const [batch, length, vocab] = logits.shape as [number, number, number];
  const next = labels.map((_, i) => ((i + 1) % length === 0 ? -100 : labels[i + 1]!));
  const count = next.filter((label) => label >= 0).length;
  const nll = ops.crossEntropy(
    logits.reshape(batch * length, vocab),
    engine.tensor(next, [batch * length], 'int32'),
  );
  return nll.sum().mul(1 / count);
}

describe.each(['tiny-llama', 'tiny-llama-tied', 'tiny-qwen2'])('%s', (name) => {
  it('gives the logits, the loss and every gradient of transformers', async () => {
    await using attune = await reference();
    const model = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
    await using expected = await SafetensorsFile.open(fixture(`${name}/forward.safetensors`));
    const facts = fixtureJson(`${name}/forward.json`);
    const ids = await expected.read('input_ids');
    const labels = await expected.read('labels');

    const inputIds = attune.engine.tensor(ids.data, ids.shape, 'int32');
    const logits = model.forward({ inputIds });
    const theirs = await expected.read('logits');
    expect(logits.shape).toEqual(theirs.shape);
    expect(largestDifference(await logits.data(), theirs.data)).toBeLessThan(tolerance);

    const loss = shiftedLoss(logits, [...labels.data]);
    expect(await loss.item()).toBeCloseTo(facts.lossFloat64, 5);

    attune.engine.backward(loss);
    const parameters = [...model.root.namedParameters()];
    expect(parameters.map(([n]) => n).sort()).toEqual(Object.keys(facts.parameters).sort());
    for (const [path, parameter] of parameters) {
      const grad = await expected.read(`grad.${path}`);
      const ours = await parameter.tensor.grad!.data();
      expect(largestDifference(ours, grad.data), path).toBeLessThan(tolerance);
    }
  });

  it('gives the same logits at real positions when a row is padded on the right', async () => {
    await using attune = await reference();
    const model = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
    const { inputs, outputs } = fixtureJson(`${name}/forward.json`).cases[0];
    const { shape, data } = inputs.input_ids;
    const { engine } = attune;
    const logits = model.forward({
      inputIds: engine.tensor(data, shape, 'int32'),
      segments: engine.tensor(inputs.attention_mask.data, shape, 'int32'),
    });
    const [first, second] = [logits.slice(0, 0, 1), logits.slice(0, 1, 2)];
    const last = [...(await first.slice(1, 8, 9).data()), ...(await second.slice(1, 5, 6).data())];
    expect(largestDifference(last, outputs.lastRealLogits.data)).toBeLessThan(tolerance);
    expect(await shiftedLoss(logits, inputs.labels.data).item()).toBeCloseTo(
      outputs.loss.data[0],
      5,
    );
  });
});

describe.skipIf(!hasStories)(`stories260k${storiesNote}`, () => {
  let expected: SafetensorsFile;
  beforeAll(async () => {
    expected = await SafetensorsFile.open(fixture('stories260k/logits.safetensors'));
  });
  afterAll(() => expected.close());

  it('gives the logits of transformers for eight texts', async () => {
    await using attune = await reference();
    const model = await AutoModelForCausalLM.fromPretrained(stories, { attune, dtype: 'float32' });
    for (let i = 0; i < 8; i++) {
      const ids = await expected.read(`input_ids.${i}`);
      const theirs = await expected.read(`logits.${i}`);
      const logits = attune.engine.noGrad(() =>
        attune.engine.scope('text', () =>
          model.forward({
            inputIds: attune.engine.tensor(ids.data, [1, ids.data.length], 'int32'),
          }),
        ),
      );
      // Logits reach 20 here, so float32's own error is tenfold that of the tiny models.
      expect(largestDifference(await logits.data(), theirs.data), `text ${i}`).toBeLessThan(1e-4);
      logits.dispose();
    }
  });
});
