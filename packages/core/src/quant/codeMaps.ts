import { AttuneError } from '../util/errors.js';

/** Numbers that codes stand for: the i-th belongs to code i. 16 of them for 4 bits, 256 for 8. */
export type CodeMap = Float32Array;

/**
 * NormalFloat4: quantiles of a normal distribution, scaled to [-1, 1], with an exact zero.
 * The values of bitsandbytes. Dettmers et al. 2023, https://arxiv.org/abs/2305.14314
 */
export const nf4Map = (): CodeMap =>
  Float32Array.of(
    -1,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1,
  );

/**
 * 4-bit floats (sign, two bits of exponent, one of fraction) scaled to [-1, 1], as in bitsandbytes.
 */
export function fp4Map(): CodeMap {
  const positive = [0, 0.0625, 8, 12, 4, 6, 2, 3].map((v) => v / 12);
  return Float32Array.from([...positive, ...positive.map((v) => 0 - v)]);
}

/** Whole numbers from -128 to 127 (as two's complement) over 127: absmax quantisation to int8. */
export const int8Map = (): CodeMap =>
  Float32Array.from({ length: 256 }, (_, code) => (code < 128 ? code : code - 256) / 127);

/**
 * The dynamic map of bitsandbytes, 256 values in ascending order: from 1e-6 to 1 a bit of exponent
 * more leaves a bit of fraction less. Signed: the scales of double quantisation, the first moment
 * of 8-bit Adam. Unsigned, with a bit of fraction more: its second moment. Dettmers 2016,
 * https://arxiv.org/abs/1511.04561
 */
export function dynamicMap({ signed = true } = {}): CodeMap {
  const { fround } = Math;
  const values = [0, 1];
  for (let i = 0; i < 7; i++) {
    const steps = signed ? 2 ** i : 2 ** (i + 1);
    const bounds = linspace(fround(0.1), 1, steps + 1);
    const power = fround(10 ** (i - 6));
    for (let j = 0; j < steps; j++) {
      const value = fround(power * fround(fround(bounds[j]! + bounds[j + 1]!) / 2));
      values.push(value);
      if (signed) values.push(-value);
    }
  }
  return Float32Array.from(values).sort();
}

/** torch.linspace in float32: from both ends to the middle. */
function linspace(first: number, last: number, count: number): number[] {
  const { fround } = Math;
  const step = fround(fround(last - first) / (count - 1));
  return Array.from({ length: count }, (_, i) =>
    // One rounding each, as a fused multiply-add: a product with i is exact in float64.
    i < count >> 1 ? fround(first + step * i) : fround(last - step * (count - 1 - i)),
  );
}

/** 4 or 8: how many bits choose among the values of a map. @throws QUANTIZATION_INVALID */
export function bitsOf(map: CodeMap): 4 | 8 {
  if (map.length === 16) return 4;
  if (map.length === 256) return 8;
  throw new AttuneError('QUANTIZATION_INVALID', `a code map has ${map.length} values.`, {
    remedy: 'Give 16 values for codes of 4 bits, or 256 for 8.',
  });
}
