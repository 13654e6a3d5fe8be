import { type Attune, inference } from '@attune/core';
import { Embedding, type Module } from '@attune/core/nn';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { minuteLlama } from '../trainer/support.js';
import { reference } from './support.js';

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const modes = (root: Module) => [...root.namedModules()].map(([, module]) => module.training);

describe('inference', () => {
  const ids = () => attune.engine.tensor([1, 2, 3], [1, 3], 'int32');

  it('records no gradients, adds no noise, and lets what it made go but for its result', async () => {
    const { engine } = attune;
    const model = await minuteLlama(attune);
    const plain = await model.forward({ inputIds: ids() }).data();
    model.root.train();
    const embedding = [...model.root.namedModules()]
      .map(([, m]) => m)
      .find((m) => m instanceof Embedding) as Embedding;
    embedding.noise = 0.5;
    const inputIds = ids();
    const noisy = await engine.noGrad(() => model.forward({ inputIds })).data();
    expect(noisy).not.toEqual(plain);
    const [alive, taped, draws] = [engine.liveTensors, engine.tape.length, engine.dropoutDraws];
    const logits = inference(model, () => {
      expect(model.root.training).toBe(false);
      return model.forward({ inputIds });
    });
    expect(await logits.data()).toEqual(plain);
    expect(logits.requiresGrad).toBe(false);
    expect(engine.tape.length).toBe(taped);
    expect(engine.dropoutDraws).toBe(draws);
    expect(engine.liveTensors).toBe(alive + 1);
    expect(embedding.noise).toBe(0.5);
    expect(model.root.training).toBe(true);
  });

  it('leaves each module in the mode that it was in', async () => {
    const model = await minuteLlama(attune);
    model.root.train();
    model.root.submodule('model.layers.0').eval();
    model.root.submodule('model.layers.0.mlp').train();
    const before = modes(model.root);
    expect(new Set(before).size).toBe(2);
    inference(model, () => expect(modes(model.root)).not.toContain(true));
    expect(modes(model.root)).toEqual(before);
  });

  it('does so after an error, and inside of a loss that is being recorded', async () => {
    const { engine } = attune;
    const model = await minuteLlama(attune);
    model.root.train();
    expect(() =>
      inference(model, () => {
        throw new Error('within');
      }),
    ).toThrow('within');
    expect(modes(model.root)).not.toContain(false);
    expect(engine.gradEnabled).toBe(true);
    const loss = model.forward({ inputIds: ids() }).sum();
    const reference = inference(model, () => model.forward({ inputIds: ids() }).sum());
    engine.backward(loss.sub(reference).square());
    expect(model.root.child('lm_head').ownParameters.get('weight')!.tensor.grad).not.toBeNull();
  });

  it('refuses to wait', async () => {
    const model = await minuteLlama(attune);
    expect(() => inference(model, async () => 1)).toThrow(/SCOPE_ASYNC/);
  });
});
