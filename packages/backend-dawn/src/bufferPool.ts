import { AttuneError } from '@attune/core';
import { type BackendStats, type BufferHandle, sizeClass } from '@attune/core/backend';

/** A device buffer on loan from the pool. */
export interface DawnBuffer extends BufferHandle {
  readonly gpu: GPUBuffer;
  /** Capacity in bytes: `byteLength` rounded up to its size class. */
  readonly capacity: number;
  /** Flushes that had been asked for when it was last in use. */
  freedAt: number;
  /** Another number for each time that it is handed out; 0: it is free; -1: it is destroyed. */
  tenant: number;
}

/** How far the device has been told of what was recorded. */
export interface Submissions {
  /** Flushes asked for so far. */
  readonly asked: number;
  /**
   * The last of them whose commands have been submitted: what was freed before it may be destroyed.
   */
  readonly submitted: number;
  flush(): void;
}

/**
 * Without a limit, the pool holds at most this many times what was ever in use at one time, or so
 * many bytes, ...
 */
const SLACK = 1.5;
const SMALL = 64 * 2 ** 20;
/**
 * ... and what was in use since so many flushes, one for each update. Equal steps then destroy
 * nothing.
 */
const YOUNG = 6;

/**
 * Keeps freed buffers for reuse. Recorded commands run in order, so a buffer may be handed out
 * again as soon as it is freed. A class gives the free buffer with the lowest id: the same calls
 * then get the same buffers in every step, and their bind groups are found in the cache.
 *
 * Where rows have many lengths, buffers of sizes that are gone would pile up: before another is
 * made, those that were unused for longest are destroyed, as far as the limit asks for it.
 */
export class BufferPool {
  readonly #free = new Map<number, DawnBuffer[]>();
  readonly #handedOut = new Set<DawnBuffer>();
  #nextId = 1;
  #nextTenant = 1;
  /** Bytes in buffers, in use or free. */
  #held = 0;
  /** Most bytes in use at one time. */
  #peak = 0;
  /**
   * Bytes that may exist on the device, if memory that is not in use can be destroyed for it; null:
   * none.
   */
  limit: number | null = null;

  constructor(
    private readonly device: GPUDevice,
    private readonly usage: number,
    private readonly stats: BackendStats,
    private readonly maxBytes: number,
    private readonly submissions: Submissions,
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
    buffer.tenant = this.#nextTenant++;
    this.stats.liveBytes += capacity;
    this.#notePeak(this.stats.liveBytes);
    return buffer;
  }

  /**
   * Free buffers are used by commands that were recorded earlier, as if they had been taken and
   * given back.
   *
   * @param bytes of them in use at one time
   */
  noteUse(bytes: number, buffers: readonly DawnBuffer[]): void {
    this.#notePeak(this.stats.liveBytes + bytes);
    for (const buffer of buffers) buffer.freedAt = this.submissions.asked;
  }

  #notePeak(bytes: number): void {
    this.stats.peakBytes = Math.max(this.stats.peakBytes, bytes);
    this.#peak = Math.max(this.#peak, bytes);
  }

  give(buffer: DawnBuffer): void {
    if (!this.#handedOut.delete(buffer)) return;
    this.stats.liveBytes -= buffer.capacity;
    buffer.tenant = 0;
    buffer.freedAt = this.submissions.asked;
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
    this.#makeRoom(capacity);
    const gpu = this.device.createBuffer({ size: capacity, usage: this.usage });
    this.stats.buffersCreated++;
    this.stats.reservedBytes += capacity;
    this.#held += capacity;
    return { id: this.#nextId++, byteLength: capacity, capacity, gpu, freedAt: 0, tenant: 0 };
  }

  /** Destroys what was unused for longest where `capacity` bytes more would be too many. */
  #makeRoom(capacity: number): void {
    const { stats, limit, submissions } = this;
    const inUse = Math.max(this.#peak, stats.liveBytes + capacity);
    const needed = () =>
      limit === null
        ? this.#held + capacity - Math.max(SMALL, SLACK * inUse)
        : stats.reservedBytes + capacity - limit;
    if (needed() <= 0) return;
    const age = limit === null ? YOUNG : 0;
    this.#destroyOldest(needed(), submissions.asked - age);
    if (limit === null || needed() <= 0) return;
    submissions.flush(); // so that what this update has freed may go, too
    this.#destroyOldest(needed(), submissions.asked);
  }

  /**
   * At least so many bytes, if there are.
   *
   * @param before of buffers that were freed before this flush
   */
  #destroyOldest(bytes: number, before: number): void {
    const latest = Math.min(before, this.submissions.submitted);
    const old = [...this.#free.values()].flat().filter(({ freedAt }) => freedAt < latest);
    old.sort((a, b) => a.freedAt - b.freedAt || b.capacity - a.capacity);
    let destroyed = 0;
    for (const buffer of old) {
      if (destroyed >= bytes) break;
      const list = this.#free.get(buffer.capacity)!;
      list.splice(list.indexOf(buffer), 1);
      this.#destroy(buffer);
      destroyed += buffer.capacity;
    }
  }

  #destroy(buffer: DawnBuffer): void {
    this.stats.reservedBytes -= buffer.capacity;
    this.#held -= buffer.capacity;
    buffer.tenant = -1;
    buffer.gpu.destroy();
  }

  /** Destroys the buffers that nobody has. Only when no command that is not submitted names one. */
  trim(): void {
    for (const list of this.#free.values()) for (const buffer of list) this.#destroy(buffer);
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
