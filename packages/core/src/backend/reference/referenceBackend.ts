import type { OpDef, ReferenceArray } from '../../tensor/op.js';
import { opTable } from '../../tensor/opTable.js';
import { numel } from '../../tensor/shape.js';
import { AttuneError } from '../../util/errors.js';
import type { Backend, BackendInfo, BackendLimits, BackendStats } from '../backend.js';
import {
  bfloat16Bits,
  bytesPerElement,
  type DType,
  encode,
  float16Bits,
  fromBfloat16Bits,
  fromFloat16Bits,
  type HostArray,
  isFloat,
} from '../dtype.js';
import type { BufferHandle, OpCall, Operand, OpSpec } from '../opCall.js';

type HostValues = Float64Array | Int32Array | Uint32Array;

interface ReferenceBuffer extends BufferHandle {
  readonly dtype: DType;
  readonly data: HostValues;
}

const placeOf = (dtype: DType, elements: number): string =>
  `${isFloat(dtype) ? 'float' : dtype} ${elements}`;

function hostArray(dtype: DType, elements: number): HostValues {
  if (dtype === 'int32') return new Int32Array(elements);
  return dtype === 'uint32' ? new Uint32Array(elements) : new Float64Array(elements);
}

/**
 * The oracle: every op in float64, one loop after another, in the order of the calls.
 *
 * float32 tensors keep float64 precision (so that finite differences mean something); float16 and
 * bfloat16 tensors are rounded when written. Far too slow to train with, exact enough to judge by.
 */
export class ReferenceBackend implements Backend {
  readonly info: BackendInfo = {
    name: 'reference',
    device: 'float64 on the host',
    vendor: 'attune',
    software: true,
    features: [],
  };
  readonly limits: BackendLimits = { maxBufferBytes: Number.MAX_SAFE_INTEGER };
  readonly stats: BackendStats = {
    dispatches: 0,
    submits: 0,
    readbacks: 0,
    pipelines: 0,
    bindGroups: 0,
    buffersCreated: 0,
    liveBytes: 0,
    peakBytes: 0,
    reservedBytes: 0,
  };
  readonly #ops = new Map<string, NonNullable<OpDef['reference']>>();
  /**
   * Arrays to be used again, by their kind and length: most of a step's buffers are those of the
   * last.
   */
  readonly #freed = new Map<string, HostValues[]>();
  #nextId = 1;

  /** @param extraOps primitives of other packages, beside the built-in table. */
  constructor(extraOps: readonly OpDef[] = []) {
    for (const def of [...opTable, ...extraOps])
      if (def.reference) this.#ops.set(def.name, def.reference);
  }

  supports({ op }: OpSpec): boolean {
    return this.#ops.has(op);
  }

  alloc(byteLength: number, dtype: DType): BufferHandle {
    const elements = Math.ceil(byteLength / bytesPerElement[dtype]);
    const data = this.#freed.get(placeOf(dtype, elements))?.pop() ?? hostArray(dtype, elements);
    // Reading what was never written shows.
    data.fill(data instanceof Float64Array ? Number.NaN : 0);
    this.stats.buffersCreated++;
    this.stats.liveBytes += byteLength;
    this.stats.reservedBytes = this.stats.liveBytes;
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.liveBytes);
    const buffer: ReferenceBuffer = { id: this.#nextId++, byteLength, dtype, data };
    return buffer;
  }

  free(buffer: BufferHandle): void {
    const { dtype, data } = buffer as ReferenceBuffer;
    const place = placeOf(dtype, data.length);
    const freed = this.#freed.get(place);
    if (freed) freed.push(data);
    else this.#freed.set(place, [data]);
    this.stats.liveBytes -= buffer.byteLength;
    this.stats.reservedBytes = this.stats.liveBytes;
  }

  write(buffer: BufferHandle, byteOffset: number, data: HostArray): void {
    const { dtype, data: target } = buffer as ReferenceBuffer;
    const widen =
      dtype === 'float16' ? fromFloat16Bits : dtype === 'bfloat16' ? fromBfloat16Bits : undefined;
    target.set(widen ? Float64Array.from(data, widen) : data, byteOffset / bytesPerElement[dtype]);
  }

  /** Writes float64 values without rounding them to float32. For tests. */
  poke(operand: Operand, values: ArrayLike<number>): void {
    this.#view(operand).data.set(values);
  }

  /** The float64 values of an operand. For tests. */
  peek(operand: Operand): Float64Array {
    return new Float64Array(this.#view(operand).data);
  }

  dispatch(call: OpCall): void {
    const reference = this.#ops.get(call.op);
    if (!reference)
      throw new AttuneError('OP_UNSUPPORTED', `the reference backend has no op "${call.op}".`, {
        remedy:
          'Give the op `reference` and pass it to the ReferenceBackend, or give it `decompose`.',
      });
    this.stats.dispatches++;
    const outputs = call.outputs.map((o) => this.#view(o));
    reference({ inputs: call.inputs.map((o) => this.#view(o)), outputs, attrs: call.attrs });
    for (const out of outputs) roundToStorage(out);
  }

  flush(): void {
    this.stats.submits++;
  }

  async read(buffer: BufferHandle, byteOffset: number, byteLength: number): Promise<ArrayBuffer> {
    this.stats.readbacks++;
    const { dtype, data } = buffer as ReferenceBuffer;
    const start = byteOffset / bytesPerElement[dtype];
    const values = encode(data.subarray(start, start + byteLength / bytesPerElement[dtype]), dtype);
    return values.slice().buffer as ArrayBuffer;
  }

  async sync(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  #view(operand: Operand): ReferenceArray {
    const { data } = operand.buffer as ReferenceBuffer;
    const start = operand.byteOffset / bytesPerElement[operand.dtype];
    return {
      shape: operand.shape,
      dtype: operand.dtype,
      data: data.subarray(start, start + numel(operand.shape)),
    };
  }
}

function roundToStorage(out: ReferenceArray): void {
  if (out.dtype !== 'float16' && out.dtype !== 'bfloat16') return;
  const [narrow, widen] =
    out.dtype === 'float16' ? [float16Bits, fromFloat16Bits] : [bfloat16Bits, fromBfloat16Bits];
  for (let i = 0; i < out.data.length; i++) out.data[i] = widen(narrow(out.data[i]!));
}
