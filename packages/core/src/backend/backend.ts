import type { DType, HostArray } from './dtype.js';
import type { BufferHandle, OpCall, OpSpec } from './opCall.js';
import type { TuningOptions } from './tuningOptions.js';

export type { TuningOptions } from './tuningOptions.js';

/** What a backend says about itself and its device. */
export interface BackendInfo {
  /** e.g. "dawn" or "reference". */
  readonly name: string;
  /** The device in words, e.g. "llvmpipe (LLVM 19.1.7, 256 bits)". */
  readonly device: string;
  readonly vendor: string;
  /** True when a CPU pretends to be the GPU: good for tests, never for a benchmark of GPUs. */
  readonly software: boolean;
  readonly features: readonly string[];
}

/** What a device does not go beyond. */
export interface BackendLimits {
  /** Largest single tensor in bytes. */
  readonly maxBufferBytes: number;
  /**
   * Bytes of a tensor that one kernel binds at most. Tables, heads, their gradients, optimizer
   * state and quantised forms may be larger; other tensors are kept below. Default: maxBufferBytes.
   */
  readonly maxBindingBytes?: number;
}

/** Counters since the backend was made; the promises about a steady step are tests over these. */
export interface BackendStats {
  dispatches: number;
  submits: number;
  readbacks: number;
  pipelines: number;
  bindGroups: number;
  /** GPU buffers created (a reuse from the pool does not count). */
  buffersCreated: number;
  /** Bytes handed out and not yet freed. */
  liveBytes: number;
  /** Highest `liveBytes` seen; may be reset by assigning. */
  peakBytes: number;
  /** Bytes that exist on the device, in use or pooled. */
  reservedBytes: number;
}

/** One op that ran under `Backend.profile`, and what its kernels took. */
export interface OpTiming extends OpSpec {
  /** In order. Microseconds; starts count from the first kernel of the profile. */
  readonly kernels: readonly {
    readonly name: string;
    readonly startUs: number;
    readonly durationUs: number;
  }[];
}

/** Dispatches that were made once and can be made again at once; see {@link Backend.record}. */
export interface Recording {
  readonly dispatches: number;
  /**
   * Makes all of them again, in the memory of the first time. What was taken and given back
   * meanwhile is used again, as if it had been taken.
   *
   * @param drawsLater added to every attribute `draw` (a place in a random stream)
   * @returns false, having done nothing, where memory is used in another way by now, or kernels are
   *   being timed or compiled
   */
  repeat(drawsLater: number): boolean;
}

/** How a backend takes memory: enough to count what work would hold without doing it. */
export interface MemoryModel {
  readonly info: BackendInfo;
  readonly limits: BackendLimits;
  /** As {@link Backend.supports}. */
  supports(call: OpSpec): boolean;
  /** Bytes that an allocation of so many takes. */
  capacity(byteLength: number): number;
  /**
   * Bytes of each buffer that the kernel of this call borrows until it is recorded. Default: none.
   */
  scratch?(call: OpCall): readonly number[];
  /** What is there now. */
  readonly held: {
    /** Handed out. */
    readonly liveBytes: number;
    /** On the device: handed out, pooled, and what the backend will need for itself. */
    readonly reservedBytes: number;
    /** Pooled buffers: how many of each capacity. */
    readonly free: ReadonlyMap<number, number>;
  };
}

/** What `trainer.tune` measured and chose. */
export interface TuningReport {
  /** False: the time was over before every variant had its turn. */
  readonly complete: boolean;
  readonly seconds: number;
  /** The chosen variant of each class of calls. */
  readonly choices: Readonly<Record<string, string>>;
  /** Where they are kept for later runs on this device; null: nowhere. */
  readonly file: string | null;
}

/**
 * The seam between tensors and a device. Everything but `read` and `sync` records and returns at
 * once; calls take effect in the order in which they were made, uploads included.
 */
export interface Backend extends AsyncDisposable {
  readonly info: BackendInfo;
  readonly limits: BackendLimits;
  readonly stats: BackendStats;

  /**
   * Whether `dispatch` has a kernel for this call; if not, the op's decomposition runs instead.
   * Asked once for equal calls.
   */
  supports(call: OpSpec): boolean;
  /**
   * Contents are undefined until written. When the device has no memory left, the next `read` or
   * `sync` rejects with OUT_OF_MEMORY: it learns of it later.
   *
   * @throws TENSOR_TOO_LARGE above `limits.maxBufferBytes`
   */
  alloc(byteLength: number, dtype: DType): BufferHandle;
  /** Gives the memory back; safe while recorded work still names it (reuse is ordered after it). */
  free(buffer: BufferHandle): void;
  /**
   * Copies host data in, ordered with dispatches. The array may be reused right after, unless it is
   * `lasting`: then it must never change, and the backend may read it later.
   */
  write(buffer: BufferHandle, byteOffset: number, data: HostArray, lasting?: boolean): void;
  dispatch(call: OpCall): void;
  /**
   * Runs `work`, and keeps what it dispatched. Null where that is not all that it did (it wrote
   * from the host, flushed, waited for a shader). Absent: dispatches are made one by one.
   *
   * @param known memory that is in use now and that the caller answers for: whoever repeats the
   *   recording has seen that it holds the same things again. Other memory is compared by its
   *   owner.
   */
  record?(work: () => void, known: ReadonlySet<BufferHandle>): Recording | null;
  /** Sends what was recorded to the device. */
  flush(): void;
  /**
   * Whether recorded commands wait for shaders; they are sent once those are compiled. Absent: none
   * ever do.
   */
  readonly isCompiling?: boolean;
  /** Flushes, waits, copies out. Rejects when the device was lost or a command was refused. */
  read(buffer: BufferHandle, byteOffset: number, byteLength: number): Promise<ArrayBuffer>;
  /** Resolves when everything recorded until now has run. Rejects as `read` does. */
  sync(): Promise<void>;
  /**
   * Bytes that shall exist on the device at most, as far as memory that is only pooled can be given
   * back for it; null: no such limit. Absent: nothing is pooled.
   */
  limitMemory?(bytes: number | null): void;
  /**
   * Gives pooled memory back to the system, when the device is done with it. Absent: nothing is
   * pooled.
   */
  trim?(): Promise<void>;
  /**
   * After OUT_OF_MEMORY: forgets what was not submitted and what failed, so that work goes on with
   * the tensors that are left. Rejects with any other failure. Absent: a failure is for good.
   */
  recover?(): Promise<void>;
  /**
   * How memory is taken here; see `CountingBackend`. Absent: to the byte, and no kernel borrows
   * any.
   */
  memoryModel?(): MemoryModel;
  /**
   * Runs `work` with a clock on every kernel, which slows it down a little, and waits for the
   * device. Absent, or rejecting with PROFILE_UNSUPPORTED, where the device has no timestamps.
   */
  profile?(work: () => Promise<void>): Promise<readonly OpTiming[]>;
  /**
   * Runs `work` with each variant of its kernels, keeps the fastest. Absent where there is no
   * choice; rejects as `profile` does.
   */
  tune?(work: () => Promise<void>, options?: TuningOptions): Promise<TuningReport>;
}

/** What a backend plugin adds to the `Backends` extension point. */
export interface BackendFactory {
  readonly name: string;
  create(): Promise<Backend>;
}
