import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  collatePredictions,
  createAttune,
  Engine,
  inference,
  ops,
  sequenceLogProbs,
  silentLogger,
  type Tensor,
  type TokenExample,
  upload,
} from '@attune/core';
import { type ComputeDType, ReferenceBackend } from '@attune/core/backend';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixture, onDawn } from './support.js';

// What the losses of alignment are made of: log-probabilities on the device.

let device: Attune;
let oracle: Attune;
beforeAll(async () => {
  device = await onDawn();
  oracle = await createAttune({ backend: 'reference', logger: silentLogger });
});
afterAll(async () => {
  await device.dispose();
  await oracle.dispose();
});

const examples: TokenExample[] = [70, 41].map((length, seed) => {
  const inputIds = Array.from({ length }, (_, t) => 3 + ((seed * 11 + t * t * 5 + t) % 90));
  return { inputIds, labels: inputIds.map((id, t) => (t < 6 ? -100 : id)) };
});

const load = (attune: Attune, name: string): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixture(name), { attune, dtype: 'float32' });

const logProbs = (model: CausalLM) =>
  sequenceLogProbs(model, upload(model.engine, collatePredictions(examples, 96)), {
    perToken: true,
    temperature: 0.9,
    withCorrect: true,
    statistics: ['entropy', 'meanLogit', 'concentration'],
  });

/** Weighs rows by what they become. */
const lossOf = ({ sums }: { readonly sums: Tensor }) => sums.mul(0.05).exp().sum();

describe.each(['tiny-llama', 'tiny-gemma2'])('%s', (name) => {
  it('has the values and gradients of the reference', async () => {
    const [ours, theirs] = await Promise.all([load(device, name), load(oracle, name)]);
    const found: Record<string, ArrayLike<number>>[] = [];
    for (const model of [ours, theirs]) {
      const given = logProbs(model);
      const values: Record<string, ArrayLike<number>> = {};
      const { statistics, ...others } = given;
      for (const [key, tensor] of Object.entries({ ...others, ...statistics }))
        values[key] = await tensor.data();
      model.engine.backward(lossOf(given));
      for (const [key, { tensor }] of model.root.namedParameters())
        values[key] = await tensor.grad!.data();
      found.push(values);
    }
    const [mine, expected] = found as [(typeof found)[0], (typeof found)[0]];
    expect(Object.keys(mine).length).toBeGreaterThan(15);
    for (const [key, values] of Object.entries(expected)) {
      const largest = Math.max(1e-9, ...Array.from(values, Math.abs));
      const error = Math.max(...Array.from(values, (v, i) => Math.abs(v - mine[key]![i]!)));
      expect(error / largest, key).toBeLessThan(2e-4);
    }
  });

  it.each<ComputeDType>(['float32', 'bfloat16', 'float16'])(
    'a reference in %s equals what the loss computes, to the bit',
    async (compute) => {
      const model = await load(device, name);
      const { engine } = model;
      const [learned, told] = engine.withCompute(compute, () => [
        logProbs(model),
        inference(model, () => logProbs(model)),
      ]) as [ReturnType<typeof logProbs>, ReturnType<typeof logProbs>];
      expect(learned.sums.requiresGrad).toBe(true);
      for (const key of ['perToken', 'sums', 'correct'] as const)
        expect(await told[key]!.data()).toEqual(await learned[key]!.data());
      for (const [key, tensor] of Object.entries(told.statistics!))
        expect(await tensor.data()).toEqual(await learned.statistics![key as 'entropy']!.data());
    },
  );
});

it('keeps the gradient to the head finite in float16 under a loss scale', async () => {
  const grads: Float32Array[] = [];
  const scale = 65536;
  for (const engine of [device.engine, new Engine(new ReferenceBackend())]) {
    const values = (n: number, step: number) =>
      Float32Array.from({ length: n }, (_, i) => Math.sin(i * step) * 2);
    const hidden = engine.tensor(values(70 * 16, 0.37), [70, 16]);
    const weight = engine.tensor(values(50 * 16, 0.11), [50, 16]);
    hidden.requiresGrad = true;
    weight.requiresGrad = true;
    const labels = engine.tensor(
      Int32Array.from({ length: 70 }, (_, i) => i % 50),
      [70],
      'int32',
    );
    const compute = engine === device.engine ? 'float16' : 'float32';
    const { losses } = engine.withCompute(compute, () =>
      ops.linearCrossEntropyRows(hidden, weight, labels),
    );
    engine.backward(losses.square().sum(), { scale });
    for (const { grad } of [hidden, weight])
      grads.push((await grad!.data()).map((g) => g / scale) as Float32Array);
  }
  for (const i of [0, 1]) {
    const [ours, exact] = [grads[i]!, grads[i + 2]!];
    const largest = Math.max(...exact.map(Math.abs));
    const error = Math.max(...exact.map((v, j) => Math.abs(v - ours[j]!)));
    expect(error / largest).toBeLessThan(0.005);
  }
});
