import type { OpCall, OperandSpec, OpTiming } from '@attune/core/backend';

const QUERY_RESOLVE = 0x0200;
const COPY_SRC = 0x04;
const COPY_DST = 0x08;
const MAP_READ = 0x01;
/** WebGPU's limit for one query set; a kernel takes two. */
const QUERIES = 4096;

interface Timed {
  readonly call: OpCall;
  readonly kernels: string[];
}

/** A clock on every kernel: each has a compute pass of its own with a timestamp at both ends. */
export class DispatchTimer {
  readonly #sets: GPUQuerySet[] = [];
  readonly #ops: Timed[] = [];
  #used = 0;

  constructor(private readonly device: GPUDevice) {}

  /** The kernels that follow belong to this op. */
  begin(call: OpCall): void {
    this.#ops.push({ call, kernels: [] });
  }

  /** The timestamps of the pass that runs one kernel of the op begun last. */
  next(kernel: string): GPUComputePassTimestampWrites {
    this.#ops.at(-1)!.kernels.push(kernel);
    const at = this.#used % QUERIES;
    if (at === 0)
      this.#sets.push(this.device.createQuerySet({ type: 'timestamp', count: QUERIES }));
    this.#used += 2;
    return {
      querySet: this.#sets.at(-1)!,
      beginningOfPassWriteIndex: at,
      endOfPassWriteIndex: at + 1,
    };
  }

  /** Call when everything was submitted. @param wait for the device, in the backend's way */
  async read(wait: <T>(promise: Promise<T>) => Promise<T>): Promise<OpTiming[]> {
    if (this.#used === 0) return [];
    const size = this.#used * 8;
    const resolved = this.device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    const readable = this.device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    try {
      const encoder = this.device.createCommandEncoder();
      for (const [i, set] of this.#sets.entries()) {
        const count = Math.min(QUERIES, this.#used - i * QUERIES);
        encoder.resolveQuerySet(set, 0, count, resolved, i * QUERIES * 8);
      }
      encoder.copyBufferToBuffer(resolved, 0, readable, 0, size);
      this.device.queue.submit([encoder.finish()]);
      await wait(readable.mapAsync(1, 0, size));
      return this.#timings(new BigInt64Array(readable.getMappedRange(0, size).slice(0)));
    } finally {
      resolved.destroy();
      readable.destroy();
      for (const set of this.#sets) set.destroy();
    }
  }

  #timings(nanoseconds: BigInt64Array): OpTiming[] {
    const first = nanoseconds[0]!;
    const us = (at: number) => Number(nanoseconds[at]! - first) / 1000;
    let at = 0;
    return this.#ops.map(({ call, kernels }) => ({
      op: call.op,
      inputs: call.inputs.map(spec),
      outputs: call.outputs.map(spec),
      attrs: call.attrs,
      kernels: kernels.map((name) => {
        const startUs = us(at);
        const durationUs = Math.max(0, us(at + 1) - startUs);
        at += 2;
        return { name, startUs, durationUs };
      }),
    }));
  }
}

const spec = ({ shape, dtype }: OperandSpec): OperandSpec => ({ shape, dtype });
