import { createAttune, type Engine } from '@attune/core';
import { encode, widen } from '@attune/core/backend';
import { BitsAndBytesLinear, quantizationMaps } from '@attune/core/nn';
import { describe, expect, it } from 'vitest';

// 16-bit weights as they lie in a file have the codes of their numbers in float32.

interface Shape {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly blockSize: number;
}
const usual = { inFeatures: 192, outFeatures: 200, blockSize: 64 };

type QuantType = 'nf4' | 'fp4' | 'int8';

const layerOf = (engine: Engine, quantType: QuantType, nested: boolean, shape: Shape = usual) =>
  new BitsAndBytesLinear(engine, {
    path: 'layer',
    inFeatures: shape.inFeatures,
    outFeatures: shape.outFeatures,
    bias: false,
    dtype: 'float32',
    format: { quantType, blockSize: shape.blockSize, nested, compute: 'float32' },
    maps: quantizationMaps(engine, quantType),
  });

type Layer = ReturnType<typeof layerOf>;

/** Where two arrays differ first; -1: nowhere. With long arrays `toEqual` takes seconds. */
const same = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  if (a.length !== b.length) return -2;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return i;
  return -1;
};

function expectSame(layer: Layer, bits: Uint16Array, dtype: 'float16' | 'bfloat16', of: string) {
  const before = bits.slice();
  const stored = layer.encodeStored(bits, dtype);
  const expected = layer.encode(widen(bits, dtype));
  expect(same(stored.codes, expected.codes), `${of}: codes`).toBe(-1);
  expect(same(stored.absmax, expected.absmax), `${of}: scales`).toBe(-1);
  expect(stored.nestedAbsmax, of).toEqual(expected.nestedAbsmax);
  expect(stored.offset, of).toBe(expected.offset);
  expect(same(bits, before), `${of}: its bits`).toBe(-1);
}

const onEngine = async (test: (engine: Engine) => void) => {
  await using attune = await createAttune({ backend: 'reference' });
  attune.engine.scope('test', () => test(attune.engine));
};

const wave = (i: number) => Math.sin(i) ** 3 / 9;
const numbers: Readonly<Record<string, (i: number) => number>> = {
  'a trained weight': wave,
  'zeros between': (i) => (i % 7 ? wave(i) : i % 2 ? 0 : -0),
  'blocks of zeros': (i) => (i % 600 < 200 ? 0 : wave(i)),
  'all zeros': () => 0,
  'many magnitudes': (i) => wave(i) * 10 ** ((i % 5) - 3),
  'rows of many magnitudes': (i) => wave(i) * 10 ** ((Math.floor(i / 192) % 7) - 6),
  'at the end of float16': (i) => wave(i) * 5.8e5,
  small: (i) => wave(i) * 1e-6,
};
const beyondFloat16: Readonly<Record<string, (i: number) => number>> = {
  subnormal: (i) => wave(i) * 1e-37,
  'rows of all magnitudes': (i) => wave(i) * 10 ** (76 * ((Math.floor(i / 192) % 9) / 8) - 38),
  'all magnitudes': (i) => wave(i) * 10 ** ((i % 76) - 38),
};

describe.each([
  ['nf4', true],
  ['nf4', false],
  ['fp4', false],
  ['int8', false],
] as const)('%s, double quantisation %s', (quantType, nested) => {
  it.each(Object.keys(numbers))('%s', (of) =>
    onEngine((engine) => {
      for (const shape of [
        usual,
        { inFeatures: 3, outFeatures: 43, blockSize: 64 },
        { inFeatures: 24, outFeatures: 6, blockSize: 8 },
        { inFeatures: 20, outFeatures: 6, blockSize: 20 },
      ]) {
        const layer = layerOf(engine, quantType, nested, shape);
        const values = Float32Array.from({ length: layer.weightSize }, (_, i) => numbers[of]!(i));
        for (const dtype of ['float16', 'bfloat16'] as const) {
          const bits = encode(values, dtype) as Uint16Array;
          expectSame(layer, bits, dtype, `${of}, ${shape.inFeatures} columns`);
          // As parts of a file may begin: between two words.
          const room = new Uint16Array(bits.length + 1);
          room.set(bits, 1);
          expectSame(layer, room.subarray(1), dtype, `${of}, off by half a word`);
        }
        layer.dispose();
      }
    }),
  );

  it('every ratio of two bfloat16 numbers', () =>
    onEngine((engine) => {
      // A row for 63 of the numbers up to its first one, with both signs, and 0.
      const rows = Math.ceil((2 * 18 * 128) / 62);
      const shape = { inFeatures: 64, outFeatures: 128 * rows, blockSize: 64 };
      const layer = layerOf(engine, quantType, nested, shape);
      const bits = new Uint16Array(layer.weightSize);
      for (const top of [0, 1, 16, 17, 118, 119, 127, 141, 142, 246, 247, 254]) {
        if (quantType === 'int8' && top > 142) continue;
        for (let row = 0; row < bits.length / 64; row++) {
          const largest = (top << 7) | (row % 128);
          bits[64 * row] = largest;
          bits[64 * row + 1] = 0;
          for (let i = 0; i < 62; i++) {
            const place = Math.floor(row / 128) * 62 + i;
            const magnitude = Math.max(0, largest - (place >> 1));
            bits[64 * row + 2 + i] = magnitude | (place & 1 ? 0x8000 : 0);
          }
        }
        expectSame(layer, bits, 'bfloat16', `exponent ${top}`);
      }
      layer.dispose();
    }));

  it('numbers that are not finite are named by their place', () =>
    onEngine((engine) => {
      const layer = layerOf(engine, quantType, nested);
      const bits = encode(new Float32Array(layer.weightSize).fill(0.5), 'bfloat16') as Uint16Array;
      for (const [value, name] of [
        [0x7f80, 'Infinity'],
        [0xff80, '-Infinity'],
        [0x7fc0, 'NaN'],
        [0xffc1, 'NaN'],
      ] as const) {
        const broken = bits.slice();
        broken[33_333] = value;
        expect(() => layer.encodeStored(broken, 'bfloat16')).toThrow(`value 33333 is ${name}`);
      }
      layer.dispose();
    }));
});

it.each(['nf4', 'fp4'] as const)('%s: magnitudes beyond float16', (quantType) =>
  onEngine((engine) => {
    const layer = layerOf(engine, quantType, false);
    for (const [of, at] of Object.entries(beyondFloat16)) {
      const values = Float32Array.from({ length: layer.weightSize }, (_, i) => at(i));
      expectSame(layer, encode(values, 'bfloat16') as Uint16Array, 'bfloat16', of);
    }
    layer.dispose();
  }),
);

it('int8: a number that float16 cannot hold is named by its place', () =>
  onEngine((engine) => {
    const layer = layerOf(engine, 'int8', false);
    const values = new Float32Array(layer.weightSize).fill(0.5);
    values[33_333] = 65_536;
    const bits = encode(values, 'bfloat16') as Uint16Array;
    expect(() => layer.encodeStored(bits, 'bfloat16')).toThrow('value 33333 is Infinity');
    layer.dispose();
  }));
