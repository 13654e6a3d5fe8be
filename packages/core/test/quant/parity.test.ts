import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SafetensorsFile } from '@attune/core/io';
import { quant } from '@attune/core/tensor';
import { describe, expect, it } from 'vitest';

// What bitsandbytes computes (parity/rows_quant.py).

interface FixtureTensor {
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
}
interface FixtureCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, FixtureTensor>>;
  readonly attrs: { readonly type: 'nf4' | 'fp4'; readonly blockSize: number };
  readonly outputs: Readonly<Record<string, FixtureTensor>>;
}

const cases = (file: string): FixtureCase[] =>
  JSON.parse(
    readFileSync(new URL(`../../../../parity/fixtures/${file}.json`, import.meta.url), 'utf8'),
  ).cases;
const numbers = (tensor: FixtureTensor | undefined): number[] => tensor!.data.map(Number);
const floats = (tensor: FixtureTensor | undefined): Float32Array =>
  Float32Array.from(numbers(tensor));
const near = (got: ArrayLike<number>, expected: readonly number[], rel: number) => {
  expect(got).toHaveLength(expected.length);
  const off = expected.findIndex((e, i) => Math.abs(got[i]! - e) > rel * Math.abs(e));
  expect(off === -1 ? null : { at: off, got: got[off], expected: expected[off] }).toBeNull();
};

const maps = cases('row62-quant-maps')[0]!.outputs;
it.each([
  ['dynamic', quant.dynamicMap()],
  ['nf4', quant.nf4Map()],
  ['fp4', quant.fp4Map()],
] as const)('the %s map, bit for bit', (name, map) => {
  expect(Array.from(map, (v) => v + 0)).toEqual(numbers(maps[name]).map((v) => v + 0));
});

describe.each(cases('row59-quant-4bit'))('$name', ({ inputs, attrs, outputs }) => {
  const map = { nf4: quant.nf4Map, fp4: quant.fp4Map }[attrs.type]();
  const ours = quant.quantizeBlockwise(floats(inputs.x), map, attrs.blockSize);

  it('codes and scales, byte for byte', () => {
    expect([...ours.codes]).toEqual(numbers(outputs.codes));
    expect([...ours.absmax]).toEqual(numbers(outputs.absmax));
  });

  it('the numbers back, bit for bit', () => {
    const back = Array.from(quant.dequantizeBlockwise(ours), (v) => v + 0);
    expect(back).toEqual(numbers(outputs.dequantized).map((v) => v + 0));
  });
});

// Whole matrices, by the hashes of what bitsandbytes makes of them.
const stories = new URL(
  '../../../../../shared/models/stories260k/model.safetensors',
  import.meta.url,
);

/** The generator of rows_quant.py: exact in float32. */
function drawn(size: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: size }, () => {
    let total = 0;
    for (let i = 0; i < 4; i++) {
      state = (Math.imul(1664525, state) + 1013904223) >>> 0;
      total += state >>> 12;
    }
    return (total - 2 ** 21) / 2 ** 25;
  });
}

const sha256 = (bytes: Uint8Array | Float32Array) =>
  createHash('sha256')
    .update(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength))
    .digest('hex');

interface WholeCase {
  readonly name: string;
  readonly attrs: {
    readonly type: 'nf4' | 'fp4';
    readonly shape?: readonly [number, number];
    readonly seed?: number;
    readonly stories260k?: string;
  };
  readonly outputs: { readonly codes: string; readonly absmax: string; readonly error: number };
}

describe('whole matrices', () => {
  for (const { name, attrs, outputs } of cases('row59-quant-whole') as unknown as WholeCase[])
    it.skipIf(attrs.stories260k !== undefined && !existsSync(stories))(
      `${name}${attrs.stories260k ? ' of stories260k (needs the shared model)' : ''}`,
      async () => {
        let x: Float32Array;
        if (attrs.shape) x = drawn(attrs.shape[0] * attrs.shape[1], attrs.seed!);
        else {
          const file = await SafetensorsFile.open(fileURLToPath(stories));
          const { data } = await file.read(attrs.stories260k!);
          x = Float32Array.from(data as Float32Array);
          await file.close();
        }
        const map = { nf4: quant.nf4Map, fp4: quant.fp4Map }[attrs.type]();
        const ours = quant.quantizeBlockwise(x, map, 64);
        expect(sha256(ours.codes)).toBe(outputs.codes);
        expect(sha256(ours.absmax)).toBe(outputs.absmax);
        const back = quant.dequantizeBlockwise(ours);
        const squares = x.reduce((sum, value, i) => sum + (value - back[i]!) ** 2, 0);
        near([Math.sqrt(squares / x.length)], [outputs.error], 1e-6);
      },
    );
});

describe.each(cases('row61-quant-double'))('double quantisation, $name', ({ inputs, outputs }) => {
  it('codes, offset, scales of the scales, and the scales back', () => {
    const ours = quant.doubleQuantize(floats(inputs.absmax));
    expect([...ours.codes.codes]).toEqual(numbers(outputs.codes));
    near([ours.offset], [Number(outputs.offset)], 1.2e-7);
    near(ours.codes.absmax, numbers(outputs.nestedAbsmax), 1e-5);
    near(quant.undoDoubleQuantize(ours), numbers(outputs.absmax), 1e-6);
  });
});

describe.each(cases('row58-quant-int8'))('int8, $name', ({ name, inputs, outputs }) => {
  it('codes, scales, and the numbers back', () => {
    const width = inputs.x!.shape[1]!;
    const ours = quant.quantizeInt8(floats(inputs.x), width);
    const codes = Array.from(Int8Array.from(ours.codes));
    const first = name === 'zeros' ? width : 0;
    expect(codes.slice(first)).toEqual(numbers(outputs.codes).slice(first));
    near(ours.absmax, numbers(outputs.absmax), 0);
    near(
      quant.dequantizeBlockwise(ours).slice(first),
      numbers(outputs.dequantized).slice(first),
      2e-7,
    );
  });
});

it.each(
  cases('row58-quant-int8-ties') as unknown as {
    readonly name: string;
    readonly attrs: { readonly first: number; readonly rows: number; readonly top: number };
    readonly outputs: { readonly codes: string; readonly absmax: string };
  }[],
)('int8 codes of shares at a half, rows $name, byte for byte', ({ attrs, outputs }) => {
  const { first, rows, top } = attrs;
  const columns = 2 * (top + 1);
  const x = Float32Array.from({ length: rows * columns }, (_, i) => {
    const share = Math.min((i % columns) >> 1, first + Math.floor(i / columns)) / 64;
    return i & 1 ? -share : share;
  });
  const ours = quant.quantizeInt8(x, columns);
  expect(sha256(ours.absmax)).toBe(outputs.absmax);
  expect(sha256(ours.codes)).toBe(outputs.codes);
});

describe('bad input', () => {
  const ones = new Float32Array(8).fill(1);

  it.each([0, -1, 1.5, Number.NaN])('blockSize %d', (blockSize) => {
    expect(() => quant.quantizeBlockwise(ones, quant.nf4Map(), blockSize)).toThrow(
      `a block has ${blockSize} numbers`,
    );
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('a weight of %d is named', (value) => {
    const values = ones.with(5, value);
    expect(() => quant.quantizeBlockwise(values, quant.nf4Map(), 4)).toThrow(`value 5 is ${value}`);
  });

  it('a map of another length', () => {
    expect(() => quant.quantizeBlockwise(ones, ones, 4)).toThrow('a code map has 8 values');
  });

  it('nothing at all', () => {
    const empty = quant.quantizeBlockwise(new Float32Array(), quant.nf4Map(), 64);
    expect([empty.codes.length, empty.absmax.length]).toEqual([0, 0]);
  });
});
