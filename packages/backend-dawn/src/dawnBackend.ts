import {
  AttuneError,
  type Backend,
  type BackendInfo,
  type BackendLimits,
  type BackendStats,
  type BufferHandle,
  bytesPerElement,
  type DType,
  type HostArray,
  type MemoryModel,
  numel,
  type OpCall,
  type Operand,
  type OpSpec,
  type OpTiming,
  sizeClass,
  type TuningOptions,
  type TuningReport,
} from '@attune/core';
import type { AdapterChoice } from './adapter.js';
import { Tuner } from './autotune/tuner.js';
import type { TuningFile } from './autotune/tuningFile.js';
import { BindGroupCache, type Binding } from './bindGroupCache.js';
import { BufferPool, type DawnBuffer } from './bufferPool.js';
import { type CachedCall, CallCache, type Command, type Lent } from './callCache.js';
import { Deferral } from './deferral.js';
import { DispatchTimer } from './dispatchTimer.js';
import { kernels as builtinKernels } from './kernels/index.js';
import type { DeviceFacts, Kernel, Param, Stage } from './kernels/kernel.js';
import { PipelineCache } from './pipelineCache.js';
import { Waiter } from './waiter.js';

const STORAGE = 0x80;
const COPY_DST = 0x08;
const COPY_SRC = 0x04;
const MAP_READ = 0x01;
/** A larger read-back buffer is destroyed after use: host memory should not stay at its peak. */
const KEPT_READBACK_BYTES = 16 * 2 ** 20;
/** Uploads between two submits go through this; larger ones submit first and are written directly. */
const STAGING_BYTES = 4 * 2 ** 20;

/** Uploads of this size and more wait while so many bytes of them are on their way. */
const UPLOAD_WINDOW_BYTES = 64 * 2 ** 20;

/**
 * WebGPU through Dawn: ops are recorded into one command encoder and submitted at `flush`, `read` or
 * `sync`. Buffers, pipelines and bind groups are kept, so that a step like the one before makes none.
 */
export class DawnBackend implements Backend {
  readonly info: BackendInfo;
  readonly limits: BackendLimits;
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
  readonly #kernels: ReadonlyMap<string, Kernel>;
  readonly #facts: DeviceFacts;
  readonly #pool: BufferPool;
  readonly #submissions = { asked: 0, submitted: 0, flush: () => this.flush() };
  readonly #pipelines: PipelineCache;
  readonly #bindGroups: BindGroupCache;
  readonly #calls = new CallCache();
  readonly #waiter: Waiter;
  readonly #deferral: Deferral;
  readonly #tuner: Tuner;

  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  #staging: GPUBuffer | null = null;
  #stagingUsed = 0;
  /** Bytes of large uploads since the device was last known to be done with them. */
  #uploading = 0;
  #timer: DispatchTimer | null = null;
  #readback: GPUBuffer[] = [];
  /** The first thing that went wrong on the device; every later wait rejects with it. */
  #failure: AttuneError | null = null;
  #disposed = false;

  constructor(
    readonly device: GPUDevice,
    /** Held, not only read: when Dawn's instance is collected as garbage its devices go with it. */
    readonly choice: AdapterChoice,
    extraKernels: readonly Kernel[] = [],
    /** Where choices among kernels are kept; null: nowhere. */
    tuningFile: TuningFile | null = null,
  ) {
    this.info = {
      name: 'dawn',
      device: choice.description,
      vendor: choice.adapter.info.vendor,
      software: choice.software,
      features: [...device.features].sort(),
    };
    const largest = Math.min(
      device.limits.maxStorageBufferBindingSize,
      device.limits.maxBufferSize,
    );
    // Bindings are whole 16 bytes, and some devices stop at 2^31 - 4.
    this.limits = { maxBufferBytes: Math.floor(largest / 16) * 16 };
    const subgroups = device.features.has('subgroups' as GPUFeatureName);
    this.#facts = {
      subgroupSize: subgroups ? choice.subgroupSize : 0,
      software: choice.software,
      maxBindings: device.limits.maxStorageBuffersPerShaderStage,
      maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
      maxInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
      matrixUnit: subgroups ? choice.matrixUnit : null,
    };
    // A kernel that comes later replaces an earlier one of the same op.
    this.#kernels = new Map([...builtinKernels, ...extraKernels].map((k) => [k.op, k]));
    this.#pool = new BufferPool(
      device,
      STORAGE | COPY_DST | COPY_SRC,
      this.stats,
      this.limits.maxBufferBytes,
      this.#submissions,
    );
    const refused = (error: Error) => this.#fail(refusal(error.message));
    this.#pipelines = new PipelineCache(device, this.stats, refused);
    this.#bindGroups = new BindGroupCache(device, this.stats);
    this.#waiter = new Waiter(choice.software);
    this.#deferral = new Deferral((promise) => this.#waiter.wait(promise), refused);
    this.#tuner = new Tuner(this.#facts, adapterName(choice), tuningFile);
    device.addEventListener('uncapturederror', this.#uncaptured);
    void device.lost.then((info) => {
      if (this.#disposed) return;
      this.#fail(
        new AttuneError(
          'DEVICE_LOST',
          `the GPU device was lost (${info.reason}): ${info.message}`,
          {
            remedy: 'Start again; a training run resumes from its last checkpoint.',
          },
        ),
      );
    });
  }

  supports(call: OpSpec): boolean {
    const kernel = this.#kernels.get(call.op);
    return kernel !== undefined && (kernel.accepts?.(call, this.#facts) ?? true);
  }

  alloc(byteLength: number, _dtype: DType): BufferHandle {
    this.#check();
    return this.#pool.take(byteLength);
  }

  free(buffer: BufferHandle): void {
    if (!this.#disposed) this.#pool.give(buffer as DawnBuffer);
  }

  write(buffer: BufferHandle, byteOffset: number, data: HostArray, lasting = false): void {
    this.#check();
    if (data.byteLength > STAGING_BYTES) this.#admitUpload(data.byteLength);
    const target = (buffer as DawnBuffer).gpu;
    // WebGPU writes whole words: an odd number of 16-bit values is padded.
    const bytes =
      data.byteLength % 4 === 0
        ? new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
        : paddedBytes(data);
    if (this.#deferral.isActive) {
      const copy = lasting ? bytes : bytes.slice(); // the caller may reuse the array
      this.#deferral.add(() => this.#write(target, byteOffset, copy));
    } else {
      this.#write(target, byteOffset, bytes);
    }
  }

  /**
   * Recording runs ahead of the device, and Dawn copies what is uploaded into memory of its own: a
   * model that streams from host memory would be there as a whole. So commands wait their turn.
   */
  #admitUpload(byteLength: number): void {
    this.#uploading += byteLength;
    if (this.#uploading <= UPLOAD_WINDOW_BYTES) return;
    this.#uploading = byteLength;
    this.#deferral.add(
      () => {},
      () => {
        this.#submit();
        return this.device.queue.onSubmittedWorkDone();
      },
    );
  }

  #write(target: GPUBuffer, byteOffset: number, bytes: Uint8Array<ArrayBuffer>): void {
    // queue.writeBuffer runs before everything that is recorded but not submitted, so once something
    // is recorded the bytes take a detour through a staging buffer and a copy inside the encoder.
    if (this.#encoder && bytes.byteLength + this.#stagingUsed > STAGING_BYTES) this.#submit();
    if (!this.#encoder) {
      this.device.queue.writeBuffer(target, byteOffset, bytes);
      return;
    }
    this.#staging ??= this.#createStaging();
    this.device.queue.writeBuffer(this.#staging, this.#stagingUsed, bytes);
    this.#endPass();
    this.#encoder.copyBufferToBuffer(
      this.#staging,
      this.#stagingUsed,
      target,
      byteOffset,
      bytes.byteLength,
    );
    this.#stagingUsed += bytes.byteLength;
  }

  #createStaging(): GPUBuffer {
    this.stats.buffersCreated++;
    this.stats.reservedBytes += STAGING_BYTES;
    return this.device.createBuffer({ size: STAGING_BYTES, usage: COPY_SRC | COPY_DST });
  }

  limitMemory(bytes: number | null): void {
    this.#pool.limit = bytes;
  }

  memoryModel(): MemoryModel {
    const { liveBytes, reservedBytes } = this.stats;
    return {
      info: this.info,
      limits: this.limits,
      supports: (call) => this.supports(call),
      capacity: (byteLength) => this.#pool.capacity(byteLength),
      scratch: (call) => this.#scratchOf(call),
      held: {
        liveBytes,
        reservedBytes: reservedBytes + (this.#staging ? 0 : STAGING_BYTES),
        free: this.#pool.free,
      },
    };
  }

  /** What the kernel of a call borrows, without running it. */
  #scratchOf(call: OpCall): number[] {
    const kernel = this.#kernels.get(call.op)!;
    const lent: number[] = [];
    const scratch = (elements: number, dtype: DType): Operand => {
      const byteLength = elements * bytesPerElement[dtype];
      lent.push(byteLength);
      return { buffer: { id: 0, byteLength }, byteOffset: 0, shape: [elements], dtype };
    };
    kernel.plan(call, this.#facts, scratch, this.#tuner.variant(kernel, call));
    return lent;
  }

  dispatch(call: OpCall): void {
    this.#check();
    // While kernels are timed, tuned or compiled every call takes the long way.
    const isPlain = !this.#timer && !this.#deferral.isActive && !this.#tuner.isTrying;
    const cached = isPlain ? this.#calls.find(call) : undefined;
    if (!cached || !this.#repeat(cached)) this.#plan(call, isPlain);
    this.stats.dispatches++;
  }

  /** @returns false, and does nothing, when the memory that the call borrowed is in use */
  #repeat({ commands, lent }: CachedCall): boolean {
    if (lent.length > 0) {
      const now = lent.map(({ bytes, dtype }) => this.alloc(bytes, dtype));
      for (const buffer of now) this.free(buffer); // later work alone can get it
      if (now.some((buffer, i) => buffer !== lent[i]!.buffer)) return false;
    }
    for (let i = 0; i < commands.length; i++) this.#encode(commands[i]!);
    return true;
  }

  #plan(call: OpCall, isPlain: boolean): void {
    const kernel = this.#kernels.get(call.op);
    if (!kernel)
      throw new AttuneError(
        'OP_UNSUPPORTED',
        `the Dawn backend has no kernel for op "${call.op}".`,
        {
          remedy: 'Give the op `decompose`, or pass a kernel to dawn({ kernels }).',
        },
      );
    const lent: Lent[] = [];
    const scratch = (elements: number, dtype: DType): Operand => {
      const bytes = elements * bytesPerElement[dtype];
      const buffer = this.alloc(bytes, dtype);
      lent.push({ bytes, dtype, buffer: buffer as DawnBuffer });
      return { buffer, byteOffset: 0, shape: [elements], dtype };
    };
    this.#timer?.begin(call);
    let commands: Command[];
    try {
      const variant = this.#tuner.variant(kernel, call);
      commands = kernel
        .plan(call, this.#facts, scratch, variant)
        .map((stage) => this.#record(stage));
    } finally {
      for (const { buffer } of lent) this.free(buffer);
    }
    if (isPlain) this.#calls.set(call, commands, lent);
  }

  #record(stage: Stage): Command {
    if (stage.params.length > 16)
      throw new AttuneError(
        'KERNEL_PARAMS',
        `a kernel passes ${stage.params.length} numbers; 16 fit.`,
        { remedy: 'Reduce the rank of the operands (reshape neighbouring axes together).' },
      );
    const pipeline = this.#pipelines.get(stage);
    const group = this.#bindGroups.get(
      pipeline.layout,
      `${stage.reads}/${stage.operands.length}`,
      stage.operands.map(bindingOf),
    );
    const command = { pipeline, group, words: wordsOf(stage.params), grid: stage.grid };
    const clock = this.#timer?.next(stage.key);
    if (pipeline.pipeline && !this.#deferral.isActive) this.#encode(command, clock);
    else this.#deferral.add(() => this.#encode(command, clock), pipeline.ready);
    return command;
  }

  #encode(
    { pipeline, group, words, grid }: Command,
    clock?: GPUComputePassTimestampWrites | undefined,
  ): void {
    const pass = this.#openPass(clock);
    pass.setPipeline(pipeline.pipeline!);
    pass.setBindGroup(0, group);
    // Newer than the types in use: a proposal that Dawn implements.
    if (words) (pass as unknown as ImmediatesEncoder).setImmediates(0, words);
    pass.dispatchWorkgroups(grid[0], grid[1], grid[2]);
  }

  #openEncoder(): GPUCommandEncoder {
    this.#encoder ??= this.device.createCommandEncoder();
    return this.#encoder;
  }

  /** @param clock timestamps of a pass of its own */
  #openPass(clock: GPUComputePassTimestampWrites | undefined): GPUComputePassEncoder {
    if (clock) {
      this.#endPass();
      this.#pass = this.#openEncoder().beginComputePass({ timestampWrites: clock });
    }
    this.#pass ??= this.#openEncoder().beginComputePass();
    return this.#pass;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = null;
  }

  get isCompiling(): boolean {
    return this.#deferral.isActive;
  }

  flush(): void {
    const flush = ++this.#submissions.asked;
    const submit = () => {
      this.#submit();
      this.#submissions.submitted = flush;
    };
    if (this.#deferral.isActive) this.#deferral.add(submit);
    else submit();
  }

  #submit(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.device.queue.submit([this.#encoder.finish()]);
    this.#encoder = null;
    this.#stagingUsed = 0;
    this.stats.submits++;
  }

  async read(buffer: BufferHandle, byteOffset: number, byteLength: number): Promise<ArrayBuffer> {
    this.#check();
    const size = Math.ceil(byteLength / 4) * 4;
    const target = this.#takeReadback(size);
    const source = (buffer as DawnBuffer).gpu;
    const copy = () => {
      this.#endPass();
      this.#openEncoder().copyBufferToBuffer(source, byteOffset, target, 0, size);
      this.#submit();
    };
    if (this.#deferral.isActive) this.#deferral.add(copy);
    else copy();
    this.stats.readbacks++;
    try {
      await this.#deferral.settle();
      this.#check();
      await this.#waiter.wait(target.mapAsync(1, 0, size));
      this.#check();
    } catch (cause) {
      this.#destroyReadback(target);
      this.#check();
      throw new AttuneError('READ_FAILED', 'reading from the device failed.', {
        remedy: 'Start again; a training run resumes from its last checkpoint.',
        cause,
      });
    }
    const bytes = target.getMappedRange(0, size).slice(0, byteLength);
    target.unmap();
    if (target.size <= KEPT_READBACK_BYTES) this.#readback.push(target);
    else this.#destroyReadback(target);
    return bytes;
  }

  /** @throws whatever `sync` does */
  async trim(): Promise<void> {
    await this.sync();
    while (this.#deferral.isActive) await this.#deferral.settle();
    this.#submit(); // what was recorded while this waited: no one may come between here and the end
    this.#calls.clear();
    this.#bindGroups.clear();
    this.#pool.trim();
  }

  /** @throws whatever failed, if it was not OUT_OF_MEMORY */
  async recover(): Promise<void> {
    if (this.#failure?.code !== 'OUT_OF_MEMORY') return this.#check();
    this.#deferral.clear();
    await this.#deferral.settle();
    this.#endPass();
    this.#encoder = null;
    this.#stagingUsed = 0;
    // What the device still has to say about commands without memory is said until then.
    await this.#waiter.wait(this.device.queue.onSubmittedWorkDone());
    this.#failure = null;
    await this.trim();
  }

  async sync(): Promise<void> {
    this.flush();
    await this.#deferral.settle();
    await this.#waiter.wait(this.device.queue.onSubmittedWorkDone());
    this.#check();
  }

  /** @throws PROFILE_UNSUPPORTED, PROFILE_NESTED */
  async profile(work: () => Promise<void>): Promise<readonly OpTiming[]> {
    if (!this.device.features.has('timestamp-query'))
      throw new AttuneError('PROFILE_UNSUPPORTED', `${this.info.device} has no timestamps.`, {
        remedy: 'Profile on another device; dawn({ adapter: "lavapipe" }) has them.',
      });
    if (this.#timer)
      throw new AttuneError('PROFILE_NESTED', 'a profile is running on this device.', {
        remedy: 'Await the first profile before the second.',
      });
    await this.sync();
    const timer = new DispatchTimer(this.device);
    this.#timer = timer;
    try {
      await work();
    } finally {
      this.flush();
      this.#timer = null;
    }
    await this.sync();
    return timer.read((promise) => this.#waiter.wait(promise));
  }

  async tune(work: () => Promise<void>, options: TuningOptions = {}): Promise<TuningReport> {
    try {
      return await this.#tuner.tune((timed) => this.profile(timed), work, options);
    } finally {
      this.#calls.clear(); // planned with what was chosen before
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#deferral.clear();
    await this.#deferral.settle(); // a shader that still compiles
    this.#endPass();
    this.#encoder = null;
    if (!this.#failure) await this.device.queue.onSubmittedWorkDone().catch(() => {});
    this.#pool.destroy();
    this.#staging?.destroy();
    for (const buffer of this.#readback) buffer.destroy();
    this.#readback = [];
    // Whoever still holds this backend holds no more than itself.
    this.#calls.clear();
    this.#bindGroups.clear();
    this.#pipelines.clear();
    this.device.removeEventListener('uncapturederror', this.#uncaptured);
    this.device.destroy();
  }

  /** A mappable buffer that nobody waits for; kept for the next read. */
  #takeReadback(size: number): GPUBuffer {
    const at = this.#readback.findIndex((b) => b.size >= size && b.size <= 8 * size + 4096);
    if (at >= 0) return this.#readback.splice(at, 1)[0]!;
    const capacity = sizeClass(size); // so that reads of slowly growing length share buffers
    this.stats.buffersCreated++;
    this.stats.reservedBytes += capacity;
    return this.device.createBuffer({ size: capacity, usage: MAP_READ | COPY_DST });
  }

  #destroyReadback(buffer: GPUBuffer): void {
    this.stats.reservedBytes -= buffer.size;
    buffer.destroy();
  }

  readonly #uncaptured = (event: Event): void => {
    const { error } = event as GPUUncapturedErrorEvent;
    this.#fail(deviceError(error, this.stats.reservedBytes));
  };

  #fail(error: AttuneError): void {
    this.#failure ??= error;
    this.#deferral.clear();
  }

  #check(): void {
    if (this.#failure) throw this.#failure;
    if (this.#disposed)
      throw new AttuneError('BACKEND_DISPOSED', 'the backend was disposed.', {
        remedy: 'Keep the Attune open (await using) as long as its tensors are used.',
      });
  }
}

/** The device and its driver: what a measurement holds for. */
const adapterName = ({ adapter: { info }, description }: AdapterChoice): string =>
  [info.vendor, info.architecture, info.device, description].filter(Boolean).join(' | ');

function deviceError(error: GPUError, reservedBytes: number): AttuneError {
  if (error.constructor.name === 'GPUOutOfMemoryError')
    return new AttuneError(
      'OUT_OF_MEMORY',
      `the device has no memory left; ${reservedBytes} bytes were asked for in all: ${error.message}`,
      {
        remedy:
          'Use a smaller perDeviceTrainBatchSize with more gradientAccumulationSteps, a shorter maxLength, or a 16-bit dtype.',
      },
    );
  return refusal(error.message);
}

const refusal = (message: string): AttuneError =>
  new AttuneError('GPU_ERROR', `the device refused a command: ${message}`, {
    remedy: 'This is a defect of a kernel: please report it with the message above.',
  });

interface ImmediatesEncoder {
  setImmediates(offset: number, data: ArrayBuffer): void;
}

function wordsOf(params: readonly Param[]): ArrayBuffer | null {
  if (params.length === 0) return null;
  const words = new DataView(new ArrayBuffer(4 * params.length));
  params.forEach(([type, value], i) => {
    if (type === 'u32') words.setUint32(4 * i, value, true);
    else words.setFloat32(4 * i, value, true);
  });
  return words.buffer as ArrayBuffer;
}

function bindingOf(operand: Operand): Binding {
  const { id, gpu } = operand.buffer as DawnBuffer;
  const bytes = numel(operand.shape) * bytesPerElement[operand.dtype];
  return { id, gpu, offset: operand.byteOffset, size: Math.max(16, Math.ceil(bytes / 16) * 16) };
}

function paddedBytes(data: HostArray): Uint8Array<ArrayBuffer> {
  const padded = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
  padded.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return padded;
}
