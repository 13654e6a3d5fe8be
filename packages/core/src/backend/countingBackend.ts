import type { Backend, BackendInfo, BackendLimits, BackendStats, MemoryModel } from './backend.js';
import type { DType, HostArray } from './dtype.js';
import type { BufferHandle, OpCall, OpSpec } from './opCall.js';

/** One allocation that is only counted. */
interface Counted extends BufferHandle {
  /** Bytes that the device would set aside for it. */
  readonly capacity: number;
}

/** What was there at one time: bytes under each label. */
export type Ledger = ReadonlyMap<string, number>;

/** The label of what was on the device before the counting began. */
export const BEFORE = 'before';
/** The label of what allocations take beyond the bytes that were asked for. */
export const ROUNDING = 'rounding';
/** The label of memory that kernels borrow for the length of a call. */
export const SCRATCH = 'scratch';

/**
 * A device that allocates nothing and computes nothing, but decides and counts as another one does:
 * which ops have kernels, what they borrow, how sizes are rounded, what the pool hands out again.
 * Work recorded on it tells what it would hold on the other, to the byte.
 *
 * Values that are read are zero.
 */
export class CountingBackend implements Backend {
  readonly info: BackendInfo;
  readonly limits: BackendLimits;
  readonly stats: BackendStats;
  /** Names what is allocated from now on. */
  label: () => string = () => 'allocated';
  readonly #free: Map<number, number>;
  readonly #labels = new Map<BufferHandle, string>();
  readonly #ledger = new Map<string, number>();
  #peak: Map<string, number>;
  #nextId = -1;

  constructor(private readonly model: MemoryModel) {
    const { liveBytes, reservedBytes, free } = model.held;
    this.info = model.info;
    this.limits = model.limits;
    this.stats = {
      dispatches: 0,
      submits: 0,
      readbacks: 0,
      pipelines: 0,
      bindGroups: 0,
      buffersCreated: 0,
      liveBytes,
      peakBytes: liveBytes,
      reservedBytes,
    };
    this.#free = new Map(free);
    this.#ledger.set(BEFORE, liveBytes);
    this.#peak = new Map(this.#ledger);
  }

  /** What was there when the most was. Sums to `stats.peakBytes`. */
  get peak(): Ledger {
    return this.#peak;
  }

  /** Begins to look for the peak anew. */
  resetPeak(): void {
    this.stats.peakBytes = this.stats.liveBytes;
    this.#peak = new Map(this.#ledger);
  }

  /**
   * A handle for memory that is on the device already: it only changes its label, and may be freed.
   */
  adopt(byteLength: number, label: string): BufferHandle {
    const handle = this.#handle(byteLength);
    this.#add(BEFORE, -handle.capacity);
    this.#enter(handle, label);
    return handle;
  }

  /** As if memory that is on the device had never been taken. */
  omit(byteLength: number): void {
    const capacity = this.model.capacity(byteLength);
    this.#add(BEFORE, -capacity);
    this.stats.liveBytes -= capacity;
    this.stats.reservedBytes -= capacity;
    this.resetPeak();
  }

  relabel(handle: BufferHandle, label: string): void {
    const old = this.#labels.get(handle);
    if (old === undefined) return;
    this.#add(old, -handle.byteLength);
    this.#add(label, handle.byteLength);
    this.#labels.set(handle, label);
  }

  supports(call: OpSpec): boolean {
    return this.model.supports(call);
  }

  alloc(byteLength: number, _dtype: DType): BufferHandle {
    return this.#take(byteLength, this.label());
  }

  free(buffer: BufferHandle): void {
    const label = this.#labels.get(buffer);
    if (label === undefined) return;
    const { capacity, byteLength } = buffer as Counted;
    this.#labels.delete(buffer);
    this.#add(label, -byteLength);
    this.#add(ROUNDING, byteLength - capacity);
    this.stats.liveBytes -= capacity;
    this.#free.set(capacity, (this.#free.get(capacity) ?? 0) + 1);
  }

  write(_buffer: BufferHandle, _byteOffset: number, _data: HostArray): void {}

  dispatch(call: OpCall): void {
    this.stats.dispatches++;
    const lent = (this.model.scratch?.(call) ?? []).map((bytes) => this.#take(bytes, SCRATCH));
    for (const handle of lent) this.free(handle);
  }

  flush(): void {
    this.stats.submits++;
  }

  async read(_buffer: BufferHandle, _byteOffset: number, byteLength: number): Promise<ArrayBuffer> {
    this.stats.readbacks++;
    return new ArrayBuffer(byteLength);
  }

  async sync(): Promise<void> {}

  /** What this one holds, for counting further from here. */
  memoryModel(): MemoryModel {
    const { liveBytes, reservedBytes } = this.stats;
    return { ...this.model, held: { liveBytes, reservedBytes, free: new Map(this.#free) } };
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #take(byteLength: number, label: string): Counted {
    const handle = this.#handle(byteLength);
    const { capacity } = handle;
    const pooled = this.#free.get(capacity) ?? 0;
    if (pooled > 0) {
      this.#free.set(capacity, pooled - 1);
    } else {
      this.stats.buffersCreated++;
      this.stats.reservedBytes += capacity;
    }
    this.#enter(handle, label);
    this.stats.liveBytes += capacity;
    if (this.stats.liveBytes > this.stats.peakBytes) this.resetPeak();
    return handle;
  }

  #handle(byteLength: number): Counted {
    return { id: this.#nextId--, byteLength, capacity: this.model.capacity(byteLength) };
  }

  #enter(handle: Counted, label: string): void {
    this.#labels.set(handle, label);
    this.#add(label, handle.byteLength);
    this.#add(ROUNDING, handle.capacity - handle.byteLength);
  }

  #add(label: string, bytes: number): void {
    this.#ledger.set(label, (this.#ledger.get(label) ?? 0) + bytes);
  }
}

/** How a backend takes memory; of one that says nothing about it, to the byte. */
export const memoryModelOf = (backend: Backend): MemoryModel =>
  backend.memoryModel?.() ?? {
    info: backend.info,
    limits: backend.limits,
    supports: (call) => backend.supports(call),
    capacity: (byteLength) => byteLength,
    held: {
      liveBytes: backend.stats.liveBytes,
      reservedBytes: backend.stats.reservedBytes,
      free: new Map(),
    },
  };
