import { isDeepStrictEqual } from 'node:util';
import { encode as toStorage, widen } from '../backend/dtype.js';
import { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import type { QuantizationFormat } from '../models/quantization/quantizationFormat.js';
import type { QuantizedLayer } from '../nn/quantizedLayer.js';
import { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { Rng } from '../util/rng.js';
import { checkGradients } from './gradients.js';
import { type KitCheck, kitOf } from './kit.js';
import { quantizedModelChecks } from './quantizedModelChecks.js';

/** Options of the kit for quantisation formats. */
export interface QuantizationFormatKitOptions {
  /** Options of the format, camelCase. Products in float32. Default none. */
  readonly options?: Readonly<Record<string, unknown>>;
  /**
   * What the format claims: a number that is held is off by at most this share of the largest |w|
   * of the weight.
   */
  readonly largestError: number;
  /** Sizes [out, in] of weights. Default [1, 64] and [6, 128]. */
  readonly sizes?: readonly (readonly [out: number, inner: number])[];
  /**
   * Codes of a weight, float32 [out * in], where the layers of the format make none (`encode`).
   * Default: those of the layer.
   */
  readonly encode?: (layer: QuantizedLayer, rows: Float32Array) => unknown;
}

/**
 * What every quantisation format must do, as checks for any test framework:
 *
 *     for (const { name, run } of quantizationFormatKit(format, { options, largestError }))
 *       test(name, run);
 *
 * Weights are held as well as is claimed. `forward` multiplies with what `dequantize` gives, and
 * its gradient to the input is that of central differences. Codes depend on the rows alone, are the
 * same for rows as they lie in a file (`encodeStored`), and are refused for what is not finite.
 * What is read can be loaded again. Options are checked, and go through config.json. A model holds
 * the bytes that are planned. Saved and loaded, it has the same bits. A file that is not what
 * config.json says is an AttuneError.
 */
export function quantizationFormatKit(
  format: QuantizationFormat,
  kit: QuantizationFormatKitOptions,
): KitCheck[] {
  const { options = {}, largestError, sizes = [[1, 64] as const, [6, 128] as const] } = kit;
  const subject = `quantisation format "${format.method}"`;
  const { check, fail, rejected } = kitOf(subject);

  const layerOn = (engine: Engine, [outFeatures, inFeatures]: readonly number[], bias = true) =>
    engine.scope('layer', () => {
      const spec = { path: 'kit.layer', bias, dtype: 'float32' as const };
      const read = format.options.parse(options);
      const layer = format.layers(
        engine,
        read,
      )({
        ...spec,
        outFeatures: outFeatures!,
        inFeatures: inFeatures!,
      });
      layer.bias?.write(normal(outFeatures!, 7));
      return layer;
    });
  const encode = (layer: QuantizedLayer, rows: Float32Array): unknown =>
    kit.encode?.(layer, rows) ??
    layer.encode?.(rows) ??
    fail('its layers have no encode', 'Give the kit `encode`, for a format that only reads.');
  const filled = (engine: Engine, size: readonly number[], seed = 1, bias = true) => {
    const layer = layerOn(engine, size, bias);
    layer.load(encode(layer, normal(layer.weightSize, seed)));
    return layer;
  };

  const layerChecks = sizes.flatMap((size) => {
    const where = `[${size.join(', ')}]`;
    const [out, inner] = size;
    return [
      check(`a weight ${where} is held within ${largestError} of its largest number`, () => {
        const { engine, values } = newEngine();
        const layer = layerOn(engine, size);
        for (const scale of [1, 1e-3, 0]) {
          const rows = normal(out * inner, 1).map((w) => scale * w);
          layer.load(encode(layer, rows));
          const held = values(() => layer.dequantize());
          const limit = largestError * rows.reduce((most, w) => Math.max(most, Math.abs(w)), 0);
          const at = held.findIndex((w, i) => !(Math.abs(w - rows[i]!) <= limit + 1e-12));
          if (held.length !== rows.length || at !== -1)
            fail(
              `of a weight ${where}, number ${at} is ${rows[at]} and held as ${held[at]}, off by more than ${limit}`,
              'Look for codes in another order, or scales of other rows; or claim a larger error.',
            );
        }
      }),
      check(`forward ${where} multiplies with what dequantize gives`, () => {
        for (const bias of [true, false]) {
          const { engine, values } = newEngine();
          const layer = filled(engine, size, 1, bias);
          const weight = values(() => layer.dequantize());
          const x = normal(6 * inner, 2);
          const b = bias ? normal(out, 7) : null;
          const shape = (...lead: number[]) => engine.tensor(x, [...lead, inner]);
          for (const lead of [[6], [2, 3]]) {
            const y = values(() => layer.forward(shape(...lead)));
            const expected = Float64Array.from({ length: 6 * out }, (_, i) => {
              const [row, column] = [Math.floor(i / out), i % out];
              let sum = b?.[column] ?? 0;
              for (let k = 0; k < inner; k++)
                sum += x[row * inner + k]! * weight[column * inner + k]!;
              return sum;
            });
            const at = expected.findIndex(
              (e, i) => !(Math.abs(y[i]! - e) <= 1e-5 * (1 + Math.abs(e))),
            );
            if (at !== -1 || y.length !== expected.length)
              fail(
                `${bias ? 'with' : 'without'} a bias, of x [${lead}, ${inner}] number ${at} is ${y[at]}, and ${expected[at]} with dequantised weights ${where}`,
                'forward is x W^T + b with the W that dequantize gives.',
              );
          }
        }
      }),
      check(`the gradient to the input is that of differences ${where}`, () => {
        const layers = new Map<Engine, QuantizedLayer>();
        const layerFor = (engine: Engine) => {
          const layer = layers.get(engine) ?? filled(engine, size);
          layers.set(engine, layer);
          return layer;
        };
        const { ok, message } = checkGradients(
          ([x], engine) => layerFor(engine).forward(x!).square(),
          [{ shape: [2, inner], values: normal(2 * inner, 3) }],
          { tolerance: 1e-6 },
        );
        if (!ok) fail(message, 'The gradient of x W^T + b to x is g W, of the same W.');
      }),
      check(`codes ${where} depend on the rows alone`, () => {
        const { engine, values } = newEngine();
        const [layer, other] = [filled(engine, size), filled(engine, size, 5)];
        const before = values(() => layer.dequantize());
        const rows = normal(out * inner, 5);
        const [codes, again] = [encode(layer, rows), encode(other, rows)];
        if (!isDeepStrictEqual(codes, again))
          fail('one weight has two forms', 'Let encode read nothing but its rows and the options.');
        if (
          !isDeepStrictEqual(
            values(() => layer.dequantize()),
            before,
          )
        )
          fail('encode changes the layer', 'Give the codes back; load writes them.');
      }),
      check(`weights ${where} as they lie in a file have the codes of their numbers`, () => {
        const { engine } = newEngine();
        const layer = layerOn(engine, size);
        if (!layer.encodeStored) return;
        for (const dtype of ['float16', 'bfloat16'] as const)
          for (const scale of [1, 1e-3, 0]) {
            const rows = normal(out * inner, 5).map((w, i) => (i % 5 ? scale * w : 0));
            const bits = toStorage(rows, dtype) as Uint16Array;
            const stored = layer.encodeStored(bits.slice(), dtype);
            if (!isDeepStrictEqual(stored, encode(layer, widen(bits, dtype))))
              fail(
                `encodeStored makes other codes of ${dtype} than encode of the same numbers`,
                'Round as encode does, and order codes alike; or leave encodeStored out.',
              );
          }
      }),
      check(`what is read ${where} can be loaded again, bit for bit`, async () => {
        const { engine, values } = newEngine();
        const layer = filled(engine, size);
        const before = values(() => layer.dequantize());
        const held = await layer.read();
        layer.load(encode(layer, normal(out * inner, 5)));
        layer.load(held);
        if (
          !isDeepStrictEqual(
            values(() => layer.dequantize()),
            before,
          )
        )
          fail('a weight is another one after load(await read())', 'read all that load writes.');
      }),
      check(`dequantize ${where} gives the storage that is asked for`, () => {
        const { engine } = newEngine();
        const layer = filled(engine, size);
        for (const dtype of ['float32', 'float16', 'bfloat16'] as const)
          engine.scope('dequantize', () => {
            const weight = layer.dequantize(dtype);
            if (weight.dtype !== dtype || !isDeepStrictEqual([...weight.shape], [out, inner]))
              fail(
                `dequantize("${dtype}") is ${weight.dtype} [${weight.shape.join(', ')}], expected ${dtype} ${where}`,
                'Cast it: weight.cast(dtype).',
              );
          });
      }),
      check(`a step ${where} leaves no memory behind, and dispose frees all`, () => {
        const { engine } = newEngine();
        const { stats } = engine.backend;
        const layer = filled(engine, size);
        const before = stats.liveBytes;
        engine.scope('step', () => {
          const x = engine.tensor(normal(2 * inner, 3), [2, inner]);
          x.requiresGrad = true;
          engine.backward(layer.forward(x).square().sum());
          x.grad?.dispose();
        });
        if (stats.liveBytes !== before)
          fail(
            `a step leaves ${stats.liveBytes - before} bytes behind`,
            'Keep none of what forward makes.',
          );
        layer.dispose();
        if (stats.liveBytes !== 0)
          fail(
            `${stats.liveBytes} bytes outlive the layer`,
            'Hold what the layer needs with addBuffer.',
          );
      }),
    ];
  });

  return [
    check('an option that it does not have is refused', async () => {
      await rejected(
        'an unknown option',
        () => format.options.parse({ ...options, 'no such option': 1 }),
        'Make options a z.strictObject({ ... }).',
      );
    }),
    ...layerChecks,
    check('numbers that are not finite are refused', async () => {
      const { engine } = newEngine();
      const layer = layerOn(engine, sizes[0]!);
      if (!layer.encode) return;
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const rows = normal(layer.weightSize, 1);
        rows[3] = value;
        const remedy = 'Throw an AttuneError with the code QUANTIZATION_INVALID.';
        const forms: [string, () => unknown][] = [['', () => layer.encode?.(rows)]];
        for (const dtype of ['float16', 'bfloat16'] as const) {
          const bits = toStorage(rows, dtype) as Uint16Array;
          forms.push([` in ${dtype}`, () => layer.encodeStored?.(bits, dtype)]);
        }
        for (const [stored, run] of layer.encodeStored ? forms : forms.slice(0, 1)) {
          const what = `a weight with ${value}${stored}`;
          const error = await rejected(what, run, remedy);
          if (!AttuneError.isInstance(error) || error.code !== 'QUANTIZATION_INVALID')
            fail(`${what} gives ${String(error)}`, remedy);
        }
      }
    }),
    ...quantizedModelChecks(format, options, encode, kitOf(subject)),
  ];
}

/** An engine of float64 with what functions on it give. */
function newEngine() {
  const backend = new ReferenceBackend();
  const engine = new Engine(backend);
  const values = (fn: () => Tensor): Float64Array =>
    engine.noGrad(() => engine.scope('values', () => backend.peek(fn().operand).slice()));
  return { engine, values };
}

/** N(0, 1): no two rows have one scale. */
function normal(length: number, seed: number): Float32Array {
  const rng = new Rng(seed);
  return Float32Array.from({ length }, () => rng.normal());
}
