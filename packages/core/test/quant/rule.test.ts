import { decode, encode } from '@attune/core/backend';
import { quant } from '@attune/core/tensor';
import { describe, expect, it } from 'vitest';

// The rule of bitsandbytes as it reads, number by number, beside the loops that find the same
// codes.

const { fround } = Math;
const TINY = fround(1e-38);

/** The first of the nearest values in ascending order, by the limits between neighbours. */
function byRule(values: Float32Array, map: Float32Array, blockSize: number) {
  const order = Array.from(map.keys()).sort((a, b) => map[a]! - map[b]!);
  const limits = order.slice(1).map((code, i) => fround(fround(map[order[i]!]! + map[code]!) / 2));
  const codes: number[] = [];
  const absmax: number[] = [];
  for (let first = 0; first < values.length; first += blockSize) {
    const block = values.subarray(first, first + blockSize);
    const isWhole = block.length === blockSize;
    const largest = block.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const scale = Math.max(largest, TINY);
    absmax.push(isWhole ? largest : scale);
    for (const x of block) {
      const share = isWhole ? fround(x * fround(1 / scale)) : fround(x / scale);
      const clamped = Math.max(-1, Math.min(1, share));
      codes.push(order[limits.filter((limit) => limit < clamped).length]!);
    }
  }
  return { codes, absmax };
}

function unpacked({ codes, size, map }: quant.BlockwiseCodes): number[] {
  if (map.length === 256) return [...codes];
  const all = [...codes].flatMap((byte) => [byte >> 4, byte & 15]);
  return all.slice(0, size);
}

const maps = {
  nf4: quant.nf4Map(),
  fp4: quant.fp4Map(),
  dynamic: quant.dynamicMap(),
  unsigned: quant.dynamicMap({ signed: false }),
} as const;

/** Numbers from a small generator, about those of a trained weight. */
function drawn(size: number, seed: number): Float32Array {
  let state = seed;
  const next = () => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length: size }, () => (next() + next() + next() - 1.5) * 0.04);
}

const bfloat16 = (values: Float32Array) =>
  decode(
    encode(values, 'bfloat16').buffer as ArrayBuffer,
    'bfloat16',
    values.length,
  ) as Float32Array;

const inputs: Readonly<Record<string, (size: number) => Float32Array>> = {
  float32: (size) => drawn(size, 1),
  bfloat16: (size) => bfloat16(drawn(size, 2)),
  'multiples of 1/64': (size) => drawn(size, 3).map((x) => Math.round(x * 600) / 64),
  'mostly zeros': (size) => drawn(size, 4).map((x, i) => (i % 7 === 0 ? x : i % 2 ? 0 : -0)),
  'below the smallest scale': (size) => drawn(size, 5).map((x) => x * 1e-37),
  subnormal: (size) => drawn(size, 6).map((x) => x * 1e-42),
  'at the end of float32': (size) => drawn(size, 7).map((x) => x * 5e39),
  'many magnitudes': (size) => drawn(size, 8).map((x, i) => x * 10 ** ((i % 40) - 20)),
};

describe.each(Object.keys(maps) as (keyof typeof maps)[])('%s', (name) => {
  it.each(Object.keys(inputs))('%s: codes and scales of the rule', (kind) => {
    for (const blockSize of [64, 256, 2, 3, 7])
      for (const size of [0, 1, 63, 64, 65, 1537]) {
        const values = inputs[kind]!(size);
        const ours = quant.quantizeBlockwise(values, maps[name], blockSize);
        const rule = byRule(values, maps[name], blockSize);
        const where = `${size} in blocks of ${blockSize}`;
        expect(unpacked(ours), where).toEqual(rule.codes);
        expect([...ours.absmax], where).toEqual(rule.absmax);
      }
  });

  it('shares beside each limit, to the last bit', () => {
    const map = maps[name];
    const ordered = Float32Array.from(map).sort();
    const bits = new Int32Array(1);
    const float = new Float32Array(bits.buffer);
    const shares: number[] = [];
    for (let i = 1; i < ordered.length; i++) {
      const limit = fround(fround(ordered[i - 1]! + ordered[i]!) / 2);
      for (let off = -9; off <= 9; off++) {
        float[0] = limit;
        bits[0] = bits[0]! + off;
        shares.push(limit === 0 ? off * 2 ** -149 : float[0]!);
      }
    }
    for (const scale of [1, 0.37, 3.3e-5, 1.7e20]) {
      // Each block begins with its largest number, so that shares are what they are meant to be.
      const rows = Math.ceil(shares.length / 63);
      const values = Float32Array.from({ length: 64 * rows }, (_, i) =>
        i % 64 === 0 ? scale : (shares[i - Math.floor(i / 64) - 1] ?? 0) * scale,
      );
      expect(unpacked(quant.quantizeBlockwise(values, map, 64))).toEqual(
        byRule(values, map, 64).codes,
      );
    }
  });
});

describe('int8', () => {
  const halfEven = (x: number) => {
    const low = Math.floor(x);
    return x - low > 0.5 || (x - low === 0.5 && low % 2 !== 0) ? low + 1 : low;
  };

  it.each(Object.keys(inputs))('%s: codes and scales of the rule', (kind) => {
    for (const columns of [64, 3, 100]) {
      const values = inputs[kind]!(1537);
      const { codes, absmax } = quant.quantizeInt8(values, columns);
      const expected = [...values].map((x, i) => {
        const largest = absmax[Math.floor(i / columns)]!;
        const product = fround(x * fround(fround(1 / largest) * 127));
        return Number.isFinite(product) ? halfEven(product) & 255 : 0;
      });
      expect([...codes], `${columns} columns`).toEqual(expected);
    }
  });

  it('names the number that is not finite by its place among all', () => {
    const values = drawn(40_000, 10);
    values[33_333] = Number.POSITIVE_INFINITY;
    expect(() => quant.quantizeInt8(values, 64)).toThrow('value 33333 is Infinity');
    expect(() => quant.quantizeBlockwise(values, maps.nf4, 64)).toThrow('value 33333 is Infinity');
  });
});

it('numbers that come part by part have the codes of an array', () => {
  const values = drawn(50_001, 9);
  const room = new Float32Array(20_000);
  const parts: quant.FloatSource = {
    length: values.length,
    read(first, end) {
      room.set(values.subarray(first, end));
      return room.subarray(0, end - first);
    },
  };
  for (const blockSize of [64, 7, 18_000])
    expect(quant.quantizeBlockwise(parts, maps.nf4, blockSize)).toEqual(
      quant.quantizeBlockwise(values, maps.nf4, blockSize),
    );
  expect(quant.quantizeInt8(parts, 100)).toEqual(quant.quantizeInt8(values, 100));
});
