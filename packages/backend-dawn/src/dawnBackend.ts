import { AttuneError, type DType } from '@attune/core';
import type {
  Backend,
  BackendInfo,
  BackendLimits,
  BackendStats,
  BufferHandle,
  HostArray,
  MemoryModel,
  OpCall,
  OpSpec,
  OpTiming,
  Recording,
  TuningOptions,
  TuningReport,
} from '@attune/core/backend';
import type { AdapterChoice } from './adapter.js';
import { Tuner } from './autotune/tuner.js';
import type { TuningFile } from './autotune/tuningFile.js';
import { BindGroupCache } from './bindGroupCache.js';
import { BoundsCheck } from './boundsCheck.js';
import { BufferPool, type DawnBuffer } from './bufferPool.js';
import { type CachedCall, CallCache, type Command, type Lent, renumber } from './callCache.js';
import { Deferral } from './deferral.js';
import { adapterName, factsOf, infoOf, limitsOf } from './deviceFacts.js';
import { DispatchTimer } from './dispatchTimer.js';
import { DeviceHealth } from './errors.js';
import type { Kernel } from './kernels/kernel.js';
import { PipelineCache } from './pipelineCache.js';
import { Planner } from './planner.js';
import { Readback } from './readback.js';
import { Recorder } from './recorder.js';
import { DawnRecording, type Player } from './recording.js';
import { askedSize } from './subgroups.js';
import { Uploads } from './uploads.js';
import { Waiter } from './waiter.js';

const STORAGE = 0x80;
const COPY_DST = 0x08;
const COPY_SRC = 0x04;

/**
 * WebGPU through Dawn: ops are recorded into one command encoder and submitted at `flush`, `read`
 * or `sync`. Buffers, pipelines and bind groups are kept, so that a step like the one before makes
 * none.
 */
export class DawnBackend implements Backend {
  readonly info: BackendInfo;
  readonly limits: Required<BackendLimits>;
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
  readonly #health: DeviceHealth;
  readonly #pool: BufferPool;
  readonly #readback: Readback;
  readonly #recorder: Recorder;
  readonly #uploads: Uploads;
  readonly #submissions = { asked: 0, submitted: 0, flush: () => this.flush() };
  readonly #pipelines: PipelineCache;
  readonly #bindGroups: BindGroupCache;
  readonly #planner: Planner;
  readonly #check: BoundsCheck | null;
  readonly #calls = new CallCache();
  readonly #waiter: Waiter;
  readonly #deferral: Deferral;
  readonly #tuner: Tuner;
  readonly #player: Player;
  #timer: DispatchTimer | null = null;
  #recording: DawnRecording | null = null;
  /** Grows when known calls would be planned in another way from now on. */
  #epoch = 0;

  constructor(
    readonly device: GPUDevice,
    /** Held, not only read: when Dawn's instance is collected as garbage its devices go with it. */
    readonly choice: AdapterChoice,
    extraKernels: readonly Kernel[] = [],
    /** Where choices among kernels are kept; null: nowhere. */
    tuningFile: TuningFile | null = null,
    /** Bytes that a kernel shall bind at most. Default: what the device can. */
    maxBindingBytes?: number,
  ) {
    const { stats } = this;
    this.info = infoOf(device, choice);
    this.limits = limitsOf(device, maxBindingBytes);
    const facts = factsOf(device, choice);
    this.#health = new DeviceHealth(device, stats, () => this.#deferral.clear());
    const { refused } = this.#health;
    this.#waiter = new Waiter(choice.software);
    this.#deferral = new Deferral((promise) => this.#waiter.wait(promise), refused);
    this.#pool = new BufferPool(
      device,
      STORAGE | COPY_DST | COPY_SRC,
      stats,
      this.limits.maxBufferBytes,
      this.#submissions,
    );
    this.#recorder = new Recorder(device, stats);
    this.#uploads = new Uploads(device.queue, this.#recorder, this.#deferral);
    this.#readback = new Readback(device, stats, {
      recorder: this.#recorder,
      deferral: this.#deferral,
      waiter: this.#waiter,
      health: this.#health,
    });
    const check = choice.checked ? new BoundsCheck(device) : null;
    this.#check = check;
    this.#pipelines = new PipelineCache(device, stats, refused, check, askedSize(choice));
    this.#bindGroups = new BindGroupCache(device, stats);
    this.#tuner = new Tuner(facts, adapterName(choice), tuningFile);
    const [tuner, pipelines, bindGroups] = [this.#tuner, this.#pipelines, this.#bindGroups];
    this.#planner = new Planner({
      ...{ facts, extraKernels, tuner, pipelines, bindGroups, check },
      maxBindingBytes: this.limits.maxBindingBytes,
    });
    this.#player = this.#makePlayer();
  }

  supports(call: OpSpec): boolean {
    return this.#planner.supports(call);
  }

  alloc(byteLength: number, _dtype: DType): BufferHandle {
    this.#health.check();
    const buffer = this.#pool.take(byteLength);
    this.#recording?.take(buffer);
    return buffer;
  }

  free(buffer: BufferHandle): void {
    if (!this.#health.isClosed) this.#pool.give(buffer as DawnBuffer);
  }

  write(buffer: BufferHandle, byteOffset: number, data: HostArray, lasting = false): void {
    this.#health.check();
    this.#recording?.spoil();
    this.#uploads.write((buffer as DawnBuffer).gpu, byteOffset, data, lasting);
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
      scratch: (call) => this.#planner.scratchOf(call),
      held: {
        liveBytes,
        reservedBytes: reservedBytes + this.#recorder.bytesToCome,
        free: this.#pool.free,
      },
    };
  }

  /** While kernels are timed, tuned or compiled every call takes the long way. */
  get #isPlain(): boolean {
    return !this.#timer && !this.#deferral.isActive && !this.#tuner.isTrying;
  }

  dispatch(call: OpCall): void {
    this.#health.check();
    const isPlain = this.#isPlain;
    const cached = isPlain ? this.#calls.find(call) : undefined;
    if (!cached || !this.#repeat(call, cached)) this.#plan(call, isPlain);
    this.stats.dispatches++;
  }

  /** @returns false, and does nothing, when the memory that the call borrowed is in use */
  #repeat(call: OpCall, { commands, lent, live }: CachedCall): boolean {
    if (lent.length > 0) {
      const now = lent.map(({ bytes, dtype }) => this.alloc(bytes, dtype));
      for (const buffer of now) this.free(buffer); // later work alone can get it
      if (now.some((buffer, i) => buffer !== lent[i]!.buffer)) return false;
    }
    if (live) for (const command of commands) renumber(command, call.attrs);
    for (let i = 0; i < commands.length; i++) this.#recorder.encode(commands[i]!);
    if (this.#recording) this.#note(call, commands, lent);
    return true;
  }

  #plan(call: OpCall, isPlain: boolean): void {
    const lent: Lent[] = [];
    let commands: Command[];
    try {
      commands = this.#planner.commands(call, (bytes, dtype) => {
        const buffer = this.alloc(bytes, dtype) as DawnBuffer;
        lent.push({ bytes, dtype, buffer });
        return buffer;
      });
    } finally {
      for (const { buffer } of lent) this.free(buffer);
    }
    this.#timer?.begin(call);
    for (const command of commands) this.#encodeWhenReady(command);
    if (isPlain) this.#calls.set(call, commands, lent);
    if (this.#recording) this.#note(call, commands, lent);
  }

  #note(call: OpCall, commands: readonly Command[], lent: readonly Lent[]): void {
    if (this.#deferral.isActive) this.#recording!.spoil();
    const buffers = [...call.inputs, ...call.outputs, ...lent].map(({ buffer }) => buffer);
    this.#recording!.add(commands, buffers, call.attrs);
  }

  record(work: () => void, known: ReadonlySet<BufferHandle>): Recording | null {
    if (!this.#isPlain || this.#recording) {
      work();
      return null;
    }
    const { stats } = this;
    const recording = new DawnRecording(this.#player, known);
    const [before, live] = [stats.peakBytes, stats.liveBytes];
    stats.peakBytes = live;
    this.#recording = recording;
    try {
      work();
    } finally {
      this.#recording = null;
      recording.close(stats.peakBytes - live);
      stats.peakBytes = Math.max(before, stats.peakBytes);
    }
    return recording.isWhole ? recording : null;
  }

  #makePlayer(): Player {
    const backend = this;
    return {
      get epoch() {
        return backend.#epoch;
      },
      get isPlain() {
        return backend.#isPlain && !backend.#recording && !backend.#health.hasFailed;
      },
      encode: (command) => this.#recorder.encode(command),
      noteUse: (bytes, buffers) => this.#pool.noteUse(bytes, buffers),
      noteDispatches: (count) => {
        this.stats.dispatches += count;
      },
    };
  }

  #encodeWhenReady(command: Command): void {
    const { key, pipeline } = command;
    const clock = this.#timer?.next(key);
    if (pipeline.pipeline && !this.#deferral.isActive) this.#recorder.encode(command, clock);
    else this.#deferral.add(() => this.#recorder.encode(command, clock), pipeline.ready);
  }

  get isCompiling(): boolean {
    return this.#deferral.isActive;
  }

  flush(): void {
    this.#recording?.spoil(); // others wait for what was sent
    const flush = ++this.#submissions.asked;
    const submit = () => {
      this.#recorder.submit();
      this.#submissions.submitted = flush;
    };
    if (this.#deferral.isActive) this.#deferral.add(submit);
    else submit();
  }

  async read(buffer: BufferHandle, byteOffset: number, byteLength: number): Promise<ArrayBuffer> {
    this.#health.check();
    const bytes = await this.#readback.read((buffer as DawnBuffer).gpu, byteOffset, byteLength);
    await this.#checkBounds();
    return bytes;
  }

  /** @throws KERNEL_OUT_OF_BOUNDS */
  async #checkBounds(): Promise<void> {
    if (!this.#check) return;
    const notes = await this.#readback.read(this.#check.notes, 0, this.#check.bytes);
    const finding = this.#check.finding(new Uint32Array(notes));
    if (finding) this.#health.found(finding);
    this.#health.check();
  }

  /** @throws whatever `sync` does */
  async trim(): Promise<void> {
    await this.sync();
    while (this.#deferral.isActive) await this.#deferral.settle();
    this.#recorder.submit(); // what was recorded while this waited: no one may come between here and the end
    this.#forgetCalls();
    this.#bindGroups.clear();
    this.#pool.trim();
  }

  /** @throws whatever failed, if it was not OUT_OF_MEMORY */
  async recover(): Promise<void> {
    if (!this.#health.isOutOfMemory) return this.#health.check();
    this.#deferral.clear();
    await this.#deferral.settle();
    this.#recorder.discard();
    // What the device still has to say about commands without memory is said until then.
    await this.#waiter.wait(this.device.queue.onSubmittedWorkDone());
    this.#health.forgive();
    await this.trim();
  }

  #forgetCalls(): void {
    this.#calls.clear();
    this.#epoch++;
  }

  async sync(): Promise<void> {
    this.flush();
    await this.#deferral.settle();
    await this.#waiter.wait(this.device.queue.onSubmittedWorkDone());
    this.#health.check();
    await this.#checkBounds();
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
      this.#forgetCalls(); // planned with what was chosen before
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#health.isClosed) return;
    this.#health.close();
    this.#deferral.clear();
    await this.#deferral.settle(); // a shader that still compiles
    this.#recorder.discard();
    if (!this.#health.hasFailed) await this.device.queue.onSubmittedWorkDone().catch(() => {});
    this.#pool.destroy();
    this.#recorder.destroy();
    this.#readback.destroy();
    this.#check?.notes.destroy();
    // Whoever still holds this backend holds no more than itself.
    this.#forgetCalls();
    this.#bindGroups.clear();
    this.#pipelines.clear();
    this.#health.stopListening();
    this.device.destroy();
  }
}
