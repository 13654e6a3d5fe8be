/**
 * A quantisation format in one file: symmetric 4 bits with one scale for each row. Tested in
 * integration/quantizationFormat.test.ts.
 */
import {
  AttuneError,
  definePlugin,
  defineQuantizationFormat,
  type Engine,
  ops,
  QuantizationFormats,
  type Tensor,
} from '@attune/core';
import { type Parameter, QuantizedLayer, type QuantizedLayerSpec } from '@attune/core/nn';
import { quant } from '@attune/core/tensor';
import { z } from 'zod';

interface RowWeight {
  /** Two codes a byte, row by row. */
  readonly codes: Uint8Array;
  /** Largest |w| of each row. */
  readonly scales: Float32Array;
}

/** What the 16 codes stand for, as a share of the scale: -8/7, -1, ..., 6/7, 1. */
const shares = () => Float32Array.from({ length: 16 }, (_, code) => (code - 8) / 7);

export class RowLinear extends QuantizedLayer<RowWeight> {
  readonly precision = '4 bits (row-int4)';
  readonly #codes: Parameter;
  readonly #scales: Parameter;
  readonly #table: Parameter;

  constructor(engine: Engine, spec: QuantizedLayerSpec, table: Tensor) {
    super(engine, spec);
    // Buffers, so that a memory plan counts them. One table for all layers.
    this.#codes = this.addBuffer('codes', engine.empty([this.weightSize / 8], 'uint32'));
    this.#scales = this.addBuffer('scales', engine.empty([this.outFeatures]));
    this.#table = this.addBuffer('table', engine.alias(table));
  }

  override encode(rows: Float32Array): RowWeight {
    const { codes, absmax } = quant.quantizeBlockwise(rows, shares(), this.inFeatures);
    return { codes, scales: absmax };
  }

  load({ codes, scales }: RowWeight): void {
    this.#codes.write(new Uint32Array(codes.slice().buffer));
    this.#scales.write(scales);
  }

  async read(): Promise<RowWeight> {
    const scales = await this.#scales.read();
    return { codes: await this.#codes.read(), scales: new Float32Array(scales.slice().buffer) };
  }

  dequantize(dtype: ops.DequantizeAttrs['dtype'] = 'float32'): Tensor {
    const { engine, outFeatures, inFeatures } = this;
    const held = [this.#codes.tensor, this.#scales.tensor, this.#table.tensor];
    const how = { bits: 4, blockSize: inFeatures, nested: false, offset: 0 } as const;
    const shape = [outFeatures, inFeatures];
    return engine.run(ops.dequantizeOp, held, { ...how, shape, dtype })[0]!;
  }
}

export const rowInt4 = defineQuantizationFormat({
  method: 'row-int4',
  options: z.strictObject({
    modulesToNotConvert: z.array(z.string()).nullable().default(null),
    /** Nothing else is implemented, so other checkpoints are refused. */
    symmetric: z.literal(true).default(true),
  }),
  skipOption: 'modulesToNotConvert',
  layers: (engine) => {
    const table = engine.tensor(shares());
    return (spec) => {
      if (spec.inFeatures % 8 === 0) return new RowLinear(engine, spec, table);
      throw new AttuneError(
        'QUANTIZATION_INVALID',
        `${spec.path} has ${spec.inFeatures} inputs; row-int4 holds multiples of 8.`,
        { remedy: 'Name it in modulesToNotConvert.' },
      );
    };
  },
  codes: 'weight_packed',
  tensors: /^weight_scale$/,
  read: async (weights, path, { weightSize, outFeatures }) => {
    if (!weights.has(`${path}.weight_packed`)) return null; // floats
    const codes = await weights.readPart(`${path}.weight_packed`, 'U8', weightSize / 2);
    const scales = await weights.readPart(`${path}.weight_scale`, 'F32', 4 * outFeatures);
    return { codes, scales: new Float32Array(scales.buffer) };
  },
  write: (path, layer) => {
    const { outFeatures, inFeatures } = layer;
    return [
      {
        name: `${path}.weight_packed`,
        dtype: 'U8',
        shape: [outFeatures, inFeatures / 2],
        data: async () => (await layer.read()).codes,
      },
      {
        name: `${path}.weight_scale`,
        dtype: 'F32',
        shape: [outFeatures],
        data: async () => (await layer.read()).scales,
      },
    ];
  },
});

export const rowInt4Plugin = () =>
  definePlugin({
    name: 'row-int4',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(QuantizationFormats, rowInt4),
  });
