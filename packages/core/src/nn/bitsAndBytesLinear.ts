import type { ComputeDType } from '../backend/dtype.js';
import { dynamicMap } from '../quant/index.js';
import type { Engine } from '../tensor/engine.js';
import {
  dequantizeOp,
  NESTED_BLOCK,
  type QuantizedAttrs,
  quantizedMatmulOp,
} from '../tensor/ops/quantized.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { BitsAndBytesEncoder, codeMaps } from './bitsAndBytesEncoder.js';
import type { Parameter } from './module.js';
import {
  type DequantizedDType,
  QuantizedLayer,
  type QuantizedLayerSpec,
} from './quantizedLayer.js';

/** How bitsandbytes holds a linear layer's weight. Names are its own. */
export interface BitsAndBytesFormat {
  readonly quantType: 'nf4' | 'fp4' | 'int8';
  /** Numbers that share a scale; int8 has one scale for each row. Default 64. */
  readonly blockSize: number;
  /**
   * Double quantisation: the scales are 8-bit codes themselves. 4.13 instead of 4.5 bits a number.
   */
  readonly nested: boolean;
  /** What the operands of products are rounded to. */
  readonly compute: ComputeDType;
}

/** A weight on the host, as it lies in a file of bitsandbytes. */
export interface BitsAndBytesWeight {
  readonly codes: Uint8Array;
  /** float32 scales, or with double quantisation their 8-bit codes. */
  readonly absmax: Float32Array | Uint8Array;
  /** Double quantisation has a scale for each 256 scales, and an offset that is added to all. */
  readonly nestedAbsmax?: Float32Array;
  readonly offset?: number;
}

/**
 * y = x dequantised(W)^T + b. The weight [out, in] is held in 4 or 8 bits, frozen, and dequantised
 * on the way into the product, forward and for the gradient to x; it never exists whole in float32.
 *
 * Dettmers et al. 2023 (QLoRA), https://arxiv.org/abs/2305.14314; int8 holds what LLM.int8() holds,
 * and multiplies it unrounded: activations stay float32.
 */
export class BitsAndBytesLinear extends QuantizedLayer<BitsAndBytesWeight> {
  readonly format: BitsAndBytesFormat;
  readonly #codes: Parameter;
  readonly #absmax: Parameter;
  readonly #map: Parameter;
  readonly #nested: { readonly absmax: Parameter; readonly map: Parameter } | null;
  readonly #encoder: BitsAndBytesEncoder;
  #offset = 0;

  constructor(
    engine: Engine,
    options: QuantizedLayerSpec & {
      readonly format: BitsAndBytesFormat;
      readonly maps: QuantizationMaps;
    },
  ) {
    super(engine, options);
    const { inFeatures, outFeatures, format } = options;
    this.format =
      format.quantType === 'int8' ? { ...format, blockSize: inFeatures, nested: false } : format;
    const size = outFeatures * inFeatures;
    const blocks = Math.ceil(size / this.format.blockSize);
    const words = (bytes: number) => engine.empty([Math.ceil(bytes / 4)], 'uint32');
    this.#codes = this.addBuffer('weight', words((size * this.#bits) / 8));
    this.#absmax = this.addBuffer(
      'weight.absmax',
      this.format.nested ? words(blocks) : engine.empty([blocks]),
    );
    this.#encoder = options.maps.encoder;
    // All layers have the same one and share its memory.
    this.#map = this.addBuffer('weight.quant_map', engine.alias(options.maps.codes));
    this.#nested = this.format.nested
      ? {
          absmax: this.addBuffer(
            'weight.nested_absmax',
            engine.empty([Math.ceil(blocks / NESTED_BLOCK)]),
          ),
          map: this.addBuffer('weight.nested_quant_map', engine.alias(options.maps.nested)),
        }
      : null;
  }

  get precision(): string {
    return `${this.#bits} bits (${this.format.quantType})`;
  }

  get #bits(): 4 | 8 {
    return this.format.quantType === 'int8' ? 8 : 4;
  }

  /** Bytes on the device, without the maps that all layers share and without the bias. */
  get storedBytes(): number {
    return [this.#codes, this.#absmax, this.#nested?.absmax].reduce(
      (sum, part) => sum + (part?.tensor.byteLength ?? 0),
      0,
    );
  }

  /** What is added to nested scales. */
  get offset(): number {
    return this.#offset;
  }

  override encode(rows: Float32Array): BitsAndBytesWeight {
    return this.#encoder.encode(rows, this.format);
  }

  override encodeStored(rows: Uint16Array, dtype: 'float16' | 'bfloat16'): BitsAndBytesWeight {
    return this.#encoder.encodeStored(rows, dtype, this.format);
  }

  load({ codes, absmax, nestedAbsmax, offset = 0 }: BitsAndBytesWeight): void {
    this.#write('codes', this.#codes, codes);
    this.#write('absmax', this.#absmax, absmax);
    if (this.#nested) this.#write('nested absmax', this.#nested.absmax, nestedAbsmax);
    this.#offset = offset;
  }

  async read(): Promise<BitsAndBytesWeight> {
    const blocks = Math.ceil(this.weightSize / this.format.blockSize);
    const floats = async (part: Parameter) => new Float32Array(bufferOf(await part.read()));
    const codes = (await this.#codes.read()).slice(
      0,
      Math.ceil((this.weightSize * this.#bits) / 8),
    );
    if (!this.#nested) return { codes, absmax: await floats(this.#absmax) };
    return {
      codes,
      absmax: (await this.#absmax.read()).slice(0, blocks),
      nestedAbsmax: await floats(this.#nested.absmax),
      offset: this.#offset,
    };
  }

  override forward(x: Tensor): Tensor {
    const { outFeatures, inFeatures, bias, format, engine } = this;
    const inputs = [x, ...this.#parts, ...(bias ? [bias.tensor] : [])];
    return engine.run(quantizedMatmulOp, inputs, {
      ...this.#attrs,
      outFeatures,
      inFeatures,
      transposed: false,
      scale: 1,
      accumulate: false,
      compute: format.compute === 'float32' ? engine.computeDType : format.compute,
    })[0]!;
  }

  dequantize(dtype: DequantizedDType = 'float32'): Tensor {
    const shape = [this.outFeatures, this.inFeatures];
    return this.engine.run(dequantizeOp, this.#parts, { ...this.#attrs, shape, dtype })[0]!;
  }

  get #parts(): Tensor[] {
    const nested = this.#nested ? [this.#nested.absmax, this.#nested.map] : [];
    return [this.#codes, this.#absmax, this.#map, ...nested].map(({ tensor }) => tensor);
  }

  get #attrs(): QuantizedAttrs {
    const { blockSize, nested } = this.format;
    return { bits: this.#bits, blockSize, nested, offset: this.#offset };
  }

  #write(name: string, to: Parameter, values: Float32Array | Uint8Array | undefined): void {
    const { tensor } = to;
    const { storage, byteOffset, dtype } = tensor;
    const words = values instanceof Uint8Array ? toWords(values) : values;
    if (words?.length !== tensor.size || (dtype === 'float32') !== words instanceof Float32Array)
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `${name} of a quantised weight [${this.outFeatures}, ${this.inFeatures}]: ${values ? `${values.length} ${values instanceof Uint8Array ? 'bytes' : 'floats'}` : 'missing'}, expected ${tensor.size} ${dtype === 'uint32' ? 'words of 4 bytes' : 'floats'}.`,
        { remedy: `It was quantised in another way than ${JSON.stringify(this.format)}.` },
      );
    this.engine.backend.write(storage.buffer, byteOffset, words);
  }
}

/** What all layers of a model share. */
export interface QuantizationMaps {
  /** The numbers that codes stand for, once on the device. */
  readonly codes: Tensor;
  readonly nested: Tensor;
  /** Makes codes on the host. */
  readonly encoder: BitsAndBytesEncoder;
}

/** The code maps of a backend. They end with the scope: layers hold on to the memory. */
export const quantizationMaps = (
  engine: Engine,
  quantType: BitsAndBytesFormat['quantType'],
): QuantizationMaps => ({
  codes: engine.tensor(codeMaps[quantType]()),
  nested: engine.tensor(dynamicMap()),
  encoder: new BitsAndBytesEncoder(quantType),
});

/** The bytes alone, wherever they lie in theirs. */
const bufferOf = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer;

/** Bytes as little-endian words, padded with zeros. */
function toWords(bytes: Uint8Array): Uint32Array {
  if (bytes.length % 4 === 0 && bytes.byteOffset % 4 === 0)
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}
