import { AttuneError, createAttune, QuantizationFormats, silentLogger } from '@attune/core';
import type { QuantizationFormat } from '@attune/core/models';
import type { QuantizedLayer } from '@attune/core/nn';
import { type QuantizationFormatKitOptions, quantizationFormatKit } from '@attune/core/testing';
import { describe, expect, it, test } from 'vitest';
import { z } from 'zod';

await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
const bitsAndBytes = attune.registry(QuantizationFormats).get('bitsandbytes');

// Half of the widest step between neighbours of the map, in shares of the largest number.
const claims: readonly (readonly [string, QuantizationFormatKitOptions])[] = [
  ['nf4', { options: { loadIn4bit: true, bnb4bitQuantType: 'nf4' }, largestError: 0.152 }],
  ['fp4', { options: { loadIn4bit: true }, largestError: 1 / 6 + 1e-6 }],
  // And the rounding to float16 before it.
  ['int8', { options: { loadIn8bit: true }, largestError: 0.5 / 127 + 2 ** -11 }],
  [
    'nf4 with double quantisation',
    {
      options: { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
      largestError: 0.17,
    },
  ],
];

describe.each(claims)('%s', (_, options) => {
  for (const { name, run } of quantizationFormatKit(bitsAndBytes, options)) test(name, run);
});

/** Every layer of bitsandbytes after `change`; another name, so that the kit adds it. */
const changed = (
  change: (layer: QuantizedLayer) => Partial<QuantizedLayer> | { encode: undefined },
  format: Partial<QuantizationFormat> = {},
): QuantizationFormat => ({
  ...bitsAndBytes,
  method: 'broken',
  layers: (engine, options) => {
    const layerOf = bitsAndBytes.layers(engine, options);
    return (spec) => {
      const layer = layerOf(spec);
      return Object.assign(layer, change(layer));
    };
  },
  ...format,
});

const nf4 = claims[0]![1];
const sizes = [[2, 64]] as const;

/** What the kit says of a format: the messages of the checks that fail. */
async function faults(format: QuantizationFormat, options = {}): Promise<string[]> {
  const said: string[] = [];
  for (const { run } of quantizationFormatKit(format, { ...nf4, sizes, ...options }))
    await run().catch((error: unknown) => {
      expect(error).toBeInstanceOf(AttuneError);
      expect(error).toMatchObject({ code: 'KIT' });
      said.push((error as AttuneError).description);
    });
  return said;
}

describe('the kit', () => {
  it('finds nothing in a format that keeps its promises', async () => {
    expect(await faults(changed(() => ({})))).toEqual([]);
  });

  it('takes a format that reads and makes no codes, and one that writes none', async () => {
    const reads = changed(() => ({ encode: undefined }), { write: undefined } as object);
    const encode = (layer: QuantizedLayer, rows: Float32Array) =>
      Object.getPrototypeOf(layer).encode.call(layer, rows);
    expect(await faults(reads, { encode })).toEqual([]);
  });

  let leaked = 0;
  it.each<[string, QuantizationFormat, RegExp]>([
    [
      'a larger error than is claimed',
      changed((layer) => ({
        encode: (rows) =>
          Object.getPrototypeOf(layer).encode.call(
            layer,
            rows.map((w) => 1.2 * w),
          ),
      })),
      /off by more than/,
    ],
    [
      'another weight in forward than in dequantize',
      changed((layer) => ({ dequantize: (dtype) => dequantized(layer, dtype).mul(1.01) })),
      /with dequantised weights/,
    ],
    [
      'a gradient that does not reach the input',
      changed((layer) => ({
        forward: (x) =>
          Object.getPrototypeOf(layer).forward.call(layer, x.detach()).add(x.sum().mul(0)),
      })),
      /the tape says/,
    ],
    [
      'other codes for weights as they lie in a file',
      changed((layer) => ({
        encodeStored: (bits, dtype) =>
          Object.getPrototypeOf(layer).encodeStored.call(
            layer,
            // One bit of one number: that of its sign.
            bits.map((b, i) => (i === 1 ? b ^ 0x8000 : b)),
            dtype,
          ),
      })),
      /encodeStored makes other codes of float16/,
    ],
    [
      'stored weights that are not finite',
      changed((layer) => ({
        encodeStored: (bits, dtype) =>
          Object.getPrototypeOf(layer).encodeStored.call(
            layer,
            bits.map((b) => ((b & 0x7c00) === 0x7c00 && (b & 0x7fff) > 0x7f7f ? 0 : b)),
            dtype,
          ),
      })),
      /a weight with NaN in bfloat16/,
    ],
    [
      'codes that depend on what was there',
      changed((layer) => ({
        encode: (rows) => {
          const codes = Object.getPrototypeOf(layer).encode.call(layer, rows);
          return { ...codes, count: ++leaked };
        },
      })),
      /one weight has two forms/,
    ],
    [
      'codes that are taken at once',
      changed((layer) => ({
        encode: (rows) => {
          const codes = Object.getPrototypeOf(layer).encode.call(layer, rows);
          layer.load(codes);
          return codes;
        },
      })),
      /encode changes the layer/,
    ],
    [
      'a read that leaves something out',
      changed((layer) => ({
        read: async () => {
          const held = await Object.getPrototypeOf(layer).read.call(layer);
          return { ...held, absmax: held.absmax.map(() => 1) };
        },
      })),
      /after load\(await read\(\)\)/,
    ],
    [
      'a storage that is not the one asked for',
      changed((layer) => ({ dequantize: () => dequantized(layer, 'float32') })),
      /dequantize\("float16"\) is float32/,
    ],
    [
      'a tensor that outlives its layer',
      changed((layer) => {
        layer.engine.keep(layer.engine.tensor([1]));
        return {};
      }),
      /outlive the layer/,
    ],
    [
      'memory that no plan sees',
      changed((layer) => ({
        load: (weight) => {
          void layer.engine.keep(layer.engine.tensor([1])).storage.buffer;
          Object.getPrototypeOf(layer).load.call(layer, weight);
        },
      })),
      /are planned/,
    ],
    [
      'a weight of NaN that is taken',
      changed((layer) => ({
        encode: (rows) =>
          Object.getPrototypeOf(layer).encode.call(
            layer,
            rows.map((w) => (Number.isFinite(w) ? w : 0)),
          ),
      })),
      /a weight with NaN is taken/,
    ],
    [
      'options that are not checked',
      changed(() => ({}), { options: bitsAndBytes.options.loose() } as object),
      /an unknown option is taken/,
    ],
    [
      'an error of its own kind',
      changed(() => ({}), {
        options: bitsAndBytes.options.extend({ note: z.unknown().optional() }),
        check: ({ note }: { note?: string }) => void note?.toUpperCase(),
      } as object),
      /as an object gives/,
    ],
    [
      'a file without the scales',
      changed(() => ({}), {
        write: (path, layer) => {
          const tensors = bitsAndBytes.write!(path, layer);
          return tensors.map((t) =>
            t.name.endsWith('absmax') ? { ...t, data: new Float32Array(t.shape[0]!).fill(1) } : t,
          );
        },
      }),
      /another weight after saving/,
    ],
    [
      'sizes that are not checked',
      changed(() => ({}), {
        read: async (weights, path, layer) => {
          try {
            return await bitsAndBytes.read(weights, path, layer);
          } catch {
            return Object.getPrototypeOf(layer).encode.call(
              layer,
              new Float32Array(layer.weightSize),
            );
          }
        },
      }),
      /a checkpoint of another size is taken/,
    ],
  ])('finds %s', async (_, format, says) => {
    const said = await faults(format);
    expect(said.join('\n')).toMatch(says);
  });
});

const dequantized = (
  layer: QuantizedLayer,
  dtype?: Parameters<QuantizedLayer['dequantize']>[0],
): ReturnType<QuantizedLayer['dequantize']> =>
  Object.getPrototypeOf(layer).dequantize.call(layer, dtype);
