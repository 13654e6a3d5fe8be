import {
  bfloat16Bits,
  decode,
  encode,
  float16Bits,
  fromBfloat16Bits,
  fromFloat16Bits,
  parseDType,
} from '@attune/core/backend';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const formats = [
  { name: 'float16', narrow: float16Bits, widen: fromFloat16Bits, exponent: 0x7c00, digits: 10 },
  { name: 'bfloat16', narrow: bfloat16Bits, widen: fromBfloat16Bits, exponent: 0x7f80, digits: 7 },
] as const;

describe.each(formats)('$name', ({ narrow, widen, exponent, digits }) => {
  it('all 65,536 patterns survive the round trip; NaN stays NaN', () => {
    const changed: number[] = [];
    for (let bits = 0; bits < 0x10000; bits++) {
      const nan = (bits & exponent) === exponent && (bits & ((1 << digits) - 1)) !== 0;
      const value = widen(bits);
      const same = nan
        ? Number.isNaN(value) && Number.isNaN(widen(narrow(value)))
        : narrow(value) === bits;
      if (!same || Number.isNaN(value) !== nan) changed.push(bits);
    }
    expect(changed).toEqual([]);
  });

  it('between any two neighbours the nearer wins, and at the middle the even one', () => {
    const wrong: number[] = [];
    // Positive finite patterns; the last neighbour is infinity, whose middle rounds up in IEEE.
    for (let bits = 0; bits < exponent - 1; bits++) {
      const [low, high] = [widen(bits), widen(bits + 1)];
      const middle = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      // One float32 step to either side of the middle: exact where the middle is a float32.
      const step = Math.max((high - low) * 2 ** -10, 2 ** -149);
      const ok =
        (Math.fround(middle) !== middle || narrow(middle) === even) &&
        (middle - step < low || narrow(middle - step) === bits) &&
        (middle + step > high || narrow(middle + step) === bits + 1) &&
        (Math.fround(middle) !== middle || narrow(-middle) === (even | 0x8000));
      if (!ok) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  it('what is too large becomes infinity', () => {
    const largest = widen(exponent - 1);
    const ulp = largest - widen(exponent - 2);
    expect(narrow(largest + ulp * 0.49)).toBe(exponent - 1);
    expect(narrow(largest + ulp / 2)).toBe(exponent);
    expect(narrow(-largest - ulp)).toBe(exponent | 0x8000);
    expect(narrow(Number.POSITIVE_INFINITY)).toBe(exponent);
  });

  it('keeps the sign of zero', () => {
    expect(narrow(-0)).toBe(0x8000);
    expect(Object.is(widen(0x8000), -0)).toBe(true);
  });

  it('never orders two numbers the other way round', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), fc.float({ noNaN: true }), (a, b) => {
        expect(widen(narrow(Math.min(a, b)))).toBeLessThanOrEqual(widen(narrow(Math.max(a, b))));
      }),
    );
  });
});

describe('encode and decode', () => {
  it.each(['float32', 'float16', 'bfloat16', 'int32', 'uint32'] as const)('%s', (dtype) => {
    const values = [0, 1, 2, 100, 1.5].map((v) => (dtype.includes('int') ? Math.trunc(v) : v));
    const stored = encode(values, dtype);
    expect([...decode(stored.slice().buffer as ArrayBuffer, dtype, values.length)]).toEqual(values);
  });
});

describe('parseDType', () => {
  it('reads the names of torch, safetensors and ours', () => {
    expect(['torch.bfloat16', 'BF16', 'bf16', 'bfloat16'].map(parseDType)).toEqual(
      new Array(4).fill('bfloat16'),
    );
  });
  it('says what it stores', () => {
    expect(() => parseDType('F64')).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: DTYPE_UNKNOWN: dtype "F64" is not one that Attune stores.
        Fix: Use one of: float32, float16, bfloat16, int32, uint32.]
    `);
  });
});
