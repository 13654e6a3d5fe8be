import { createAttune, type Engine } from '@attune/core';
import { encode, widen } from '@attune/core/backend';
import { BitsAndBytesLinear, quantizationMaps } from '@attune/core/nn';
import { expect, it } from 'vitest';

// 16-bit weights as they lie in a file have the codes of their numbers in float32.

const layerOf = (engine: Engine, quantType: 'nf4' | 'fp4' | 'int8', nested: boolean) =>
  new BitsAndBytesLinear(engine, {
    path: 'layer',
    inFeatures: 192,
    outFeatures: 200,
    bias: false,
    dtype: 'float32',
    format: { quantType, blockSize: 64, nested, compute: 'float32' },
    maps: quantizationMaps(engine, quantType),
  });

it.each([
  ['nf4', true],
  ['nf4', false],
  ['fp4', false],
  ['int8', false],
] as const)('%s, double quantisation %s', async (quantType, nested) => {
  await using attune = await createAttune({ backend: 'reference' });
  attune.engine.scope('test', () => {
    const layer = layerOf(attune.engine, quantType, nested);
    const numbers = Float32Array.from({ length: layer.weightSize }, (_, i) => Math.sin(i) ** 3 / 9);
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const bits = encode(numbers, dtype) as Uint16Array;
      const before = bits.slice();
      const stored = layer.encodeStored(bits, dtype);
      expect(stored).toEqual(layer.encode(widen(bits, dtype)));
      expect(bits).toEqual(before);
    }
    layer.dispose();
  });
});
