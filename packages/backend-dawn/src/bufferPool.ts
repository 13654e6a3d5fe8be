import { AttuneError, type BackendStats, type BufferHandle, sizeClass } from '@attune/core';

/** A device buffer on loan from the pool. */
export interface DawnBuffer extends BufferHandle {
  readonly gpu: GPUBuffer;
  /** Capacity in bytes: `byteLength` rounded up to its size class. */
  readonly capacity: number;
}

/**
 * Keeps freed buffers for reuse. Recorded commands run in order, so a buffer may be handed out again
 * as soon as it is freed. Of the free buffers of a class the one with the lowest id is taken: the same
 * calls then get the same buffers in every step, and their bind groups are found in the cache.
 */
export class BufferPool {
  readonly #free = new Map<number, DawnBuffer[]>();
  readonly #handedOut = new Set<DawnBuffer>();
  #nextId = 1;

  constructor(
    private readonly device: GPUDevice,
    private readonly usage: number,
    private readonly stats: BackendStats,
    private readonly maxBytes: number,
  ) {}

  /** Bytes that a buffer of `byteLength` takes. */
  capacity(byteLength: number): number {
    return Math.min(sizeClass(byteLength), this.maxBytes);
  }

  /** How many buffers of each capacity wait for their next use. */
  get free(): ReadonlyMap<number, number> {
    return new Map([...this.#free].map(([capacity, buffers]) => [capacity, buffers.length]));
  }

  /** @throws TENSOR_TOO_LARGE */
  take(byteLength: number): DawnBuffer {
    if (byteLength > this.maxBytes)
      throw new AttuneError(
        'TENSOR_TOO_LARGE',
        `a buffer of ${byteLength} bytes exceeds the device's ${this.maxBytes}.`,
        {
          remedy: 'Use a 16-bit dtype, a smaller batch or a shorter maxLength.',
        },
      );
    const capacity = this.capacity(byteLength);
    const buffer = this.#free.get(capacity)?.shift() ?? this.#create(capacity);
    this.#handedOut.add(buffer);
    this.stats.liveBytes += capacity;
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.liveBytes);
    return buffer;
  }

  give(buffer: DawnBuffer): void {
    if (!this.#handedOut.delete(buffer)) return;
    this.stats.liveBytes -= buffer.capacity;
    const free = this.#free.get(buffer.capacity);
    if (!free) {
      this.#free.set(buffer.capacity, [buffer]);
      return;
    }
    let at = free.length;
    while (at > 0 && free[at - 1]!.id > buffer.id) at--;
    free.splice(at, 0, buffer);
  }

  #create(capacity: number): DawnBuffer {
    const gpu = this.device.createBuffer({ size: capacity, usage: this.usage });
    this.stats.buffersCreated++;
    this.stats.reservedBytes += capacity;
    return { id: this.#nextId++, byteLength: capacity, capacity, gpu };
  }

  /** Destroys the buffers that nobody has. Only when no command that is not submitted names one. */
  trim(): void {
    for (const list of this.#free.values())
      for (const buffer of list) {
        this.stats.reservedBytes -= buffer.capacity;
        buffer.gpu.destroy();
      }
    this.#free.clear();
  }

  /** Destroys every buffer. Only after the last submitted command has run. */
  destroy(): void {
    for (const buffer of this.#handedOut) buffer.gpu.destroy();
    for (const list of this.#free.values()) for (const buffer of list) buffer.gpu.destroy();
    this.#handedOut.clear();
    this.#free.clear();
  }
}
