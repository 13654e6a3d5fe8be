import { Engine, type Tensor } from '@attune/core';
import { type DType, ReferenceBackend } from '@attune/core/backend';
import { GatedMlp, Linear, Module } from '@attune/core/nn';
import { Rng } from '@attune/core/util';
import { describe, expect, it } from 'vitest';
import { weightsTogether } from '../../src/nn/linearsTogether.js';

const engine = new Engine(new ReferenceBackend());
const layer = (outFeatures: number, options: { bias?: boolean; dtype?: DType } = {}) =>
  new Linear(engine, { inFeatures: 8, outFeatures, ...options });

/** Its output is another than its weight's product. */
class Doubled extends Linear {
  override forward(x: Tensor): Tensor {
    return super.forward(x).mul(2);
  }
}

/** Those of a module with these layers, while nothing is trained. */
function together(...layers: readonly Linear[]): Tensor[] | null {
  const names = layers.map((_, i) => `layer${i}`);
  return engine.noGrad(() => weightsTogether(engine, holding(layers), names));
}

class Holder extends Module {}

function holding(layers: readonly Linear[]): Module {
  const module = new Holder();
  for (const [i, one] of layers.entries()) module.attach(`layer${i}`, one);
  return module;
}

describe('products that are made at once', () => {
  it('are those of plain layers of one shape while nothing is trained', () => {
    const layers = [layer(4), layer(4)];
    expect(together(...layers)).toEqual(layers.map(({ weight }) => weight.tensor));
    expect(weightsTogether(engine, holding(layers), ['layer0', 'layer1'])).toBeNull();
  });

  it.each([
    ['another shape', () => layer(5)],
    ['a bias', () => layer(4, { bias: true })],
    ['another storage', () => layer(4, { dtype: 'bfloat16' })],
    ['a forward of its own', () => new Doubled(engine, { inFeatures: 8, outFeatures: 4 })],
  ])('are none with %s', (_, other) => {
    expect(together(layer(4), other())).toBeNull();
  });

  it('change nothing of a feed-forward block', async () => {
    const sizes = { hiddenSize: 8, intermediateSize: 12, bias: false, dtype: 'float32' } as const;
    const mlp = new GatedMlp(engine, sizes);
    const rng = new Rng(3, 0);
    const values = (size: number) => Float32Array.from({ length: size }, () => rng.normal());
    for (const [, { tensor }] of mlp.namedParameters())
      engine.backend.write(tensor.storage.buffer, 0, values(tensor.size));
    const x = engine.tensor(values(24), [1, 3, 8]);
    const apart = await mlp.forward(x).data();
    expect(await engine.noGrad(() => mlp.forward(x)).data()).toEqual(apart);
  });
});
