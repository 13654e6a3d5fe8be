import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  causalLmObjective,
  createAttune,
  silentLogger,
  type TokenExample,
} from '@attune/core';
import { packExamples } from '@attune/core/text';
import { Rng } from '@attune/core/util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, fixtureJson, onDawn } from './support.js';

const objective = causalLmObjective({ maxLength: 96 });

/** Sum of the loss over all batches, and every gradient of it. */
async function lossAndGradients(
  attune: Attune,
  model: CausalLM,
  batches: readonly (readonly TokenExample[])[],
) {
  const { engine } = attune;
  let loss = 0;
  for (const [, { tensor }] of model.root.namedParameters()) tensor.grad = null;
  for (const batch of batches.map((examples) => objective.collate(examples)))
    loss += await engine
      .scope('batch', () => {
        const device = Object.fromEntries(
          Object.entries(batch).map(([name, { data, shape, dtype }]) => [
            name,
            engine.fromBytes(data, shape, dtype),
          ]),
        );
        const output = objective.loss(model, device);
        engine.backward(output.loss);
        return output.loss;
      })
      .item();
  const gradients: Record<string, Float32Array> = {};
  for (const [name, { tensor }] of model.root.namedParameters())
    gradients[name] = Float32Array.from(await tensor.grad!.data());
  return { loss, gradients };
}

const norm = (values: ArrayLike<number>) => Math.hypot(...Array.from(values));

describe.each(['reference', 'dawn'])('%s', (backend) => {
  let attune: Attune;
  beforeAll(async () => {
    attune =
      backend === 'dawn'
        ? await onDawn()
        : await createAttune({ backend: 'reference', logger: silentLogger });
  });
  afterAll(() => attune.dispose());
  const tiny = () =>
    AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune, dtype: 'float32' });

  test('row 12: a packed row has the logits, loss and gradients of its segments alone', async () => {
    const [row] = fixtureJson('row12-packed-model.json').cases;
    const model = await tiny();
    const packed = {
      inputIds: row.inputs.inputIds.data as number[],
      labels: row.inputs.labels.data as number[],
      seqLengths: row.attrs.seqLengths as number[],
    };
    const { inputIds, positions, segments } = objective.collate([packed]);
    const int = (host: typeof inputIds) =>
      attune.engine.fromBytes(host!.data, host!.shape, host!.dtype);
    const logits = await model
      .forward({ inputIds: int(inputIds), positions: int(positions), segments: int(segments) })
      .data();
    const [, tokens, ids] = row.outputs.logits.shape;
    for (let t = 0; t < tokens; t++)
      for (let v = 0; v < ids; v++)
        expect(Math.abs(logits[t * 256 + v]! - row.outputs.logits.data[t * ids + v])).toBeLessThan(
          1e-5,
        );
    const { loss, gradients } = await lossAndGradients(attune, model, [[packed]]);
    expect(Math.abs(loss / row.outputs.loss.data[0] - 1)).toBeLessThan(1e-5);
    for (const [name, expected] of Object.entries(row.grads))
      expect(
        Math.abs(norm(gradients[name]!) / (expected as { data: number[] }).data[0]! - 1),
      ).toBeLessThan(1e-4);
  });

  test('loss of packed rows is that of the same rows unpacked, and so is each gradient', async () => {
    const model = await tiny();
    const rng = new Rng(7);
    const { vocabSize } = model.config;
    // Lengths from one token to a full row, some labels left out, id 0 (the padding's) among them.
    const rows = [1, 2, 96, 33, 60, 17, 5, 90, 41, 64, 3].map((length) => {
      const inputIds = Array.from({ length }, (_, t) => (t % 7 === 3 ? 0 : rng.below(vocabSize)));
      return { inputIds, labels: inputIds.map((id, t) => (t % 5 === 1 ? -100 : id)) };
    });
    const packed = packExamples(rows, 96);
    expect(packed.length).toBeLessThan(6);
    const apart = await lossAndGradients(attune, model, [rows.slice(0, 6), rows.slice(6)]);
    const together = await lossAndGradients(attune, model, [packed]);
    expect(Math.abs(together.loss / apart.loss - 1)).toBeLessThan(1e-5);
    for (const [parameter, expected] of Object.entries(apart.gradients)) {
      const difference = expected.map((value, i) => value - together.gradients[parameter]![i]!);
      // float32 sums in another order.
      expect(norm(difference) / norm(expected), parameter).toBeLessThan(1e-5);
    }
  });
});
