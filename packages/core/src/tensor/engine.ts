import type { Backend } from '../backend/backend.js';
import { CountingBackend, memoryModelOf } from '../backend/countingBackend.js';
import {
  bytesPerElement,
  type ComputeDType,
  type DType,
  encode,
  type HostArray,
  isFloat,
} from '../backend/dtype.js';
import type { Attrs } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import type { Rng } from '../util/rng.js';
import { type BackwardOptions, backward, checkpoint, Tape } from './autograd.js';
import { callOf, checkWritten } from './callOf.js';
import { InferCache, type Inferred, type OutputSpec, outputSpec } from './inferCache.js';
import { Lifetimes } from './lifetimes.js';
import type { OpDef, TensorSpec } from './op.js';
import { fill } from './ops/update.js';
import { reshapeOp } from './ops/view.js';
import { Randomness } from './randomness.js';
import type { Scope } from './scope.js';
import { formatShape, numel, type Shape } from './shape.js';
import { Storage } from './storage.js';
import { Tensor } from './tensor.js';
import { Walks } from './walks.js';

/** Sets something; disposing what it returns takes it back. Each call sets it once more. */
export type Setting = () => Disposable;

/**
 * Runs ops on one backend: allocates, records, follows gradients, owns lifetimes.
 *
 * One engine belongs to one Attune; two engines in a process share nothing.
 */
export class Engine {
  readonly tape = new Tape();
  readonly #lifetimes = new Lifetimes();
  readonly #random: Randomness;
  #gradEnabled = true;
  #computeDType: ComputeDType = 'float32';
  #settings: readonly Setting[] = [];
  #nextId = 1;

  readonly #inferred = new InferCache();
  readonly #checked = new InferCache();
  #backend: Backend;
  #walks: Walks;

  constructor(backend: Backend, seed = 0) {
    this.#backend = backend;
    this.#random = new Randomness(seed);
    this.#walks = new Walks(this);
  }

  /** The device; within {@link rehearse} the one that counts in its place. */
  get backend(): Backend {
    return this.#backend;
  }

  /**
   * Runs `fn` with a backend in the place of the device that takes memory as it does and computes
   * nothing: what `fn` records is counted, and leaves no trace. Tensors made in `fn` end with it.
   *
   * @throws SCOPE_ASYNC: others would record on the counting backend while `fn` waits
   */
  rehearse<T>(fn: (counter: CountingBackend) => T): T {
    const device = this.#backend;
    const { draws } = this.#random;
    const counter = new CountingBackend(memoryModelOf(device));
    const walks = this.#walks;
    this.#backend = counter;
    this.#walks = new Walks(this);
    try {
      return this.scope('rehearse', () => fn(counter));
    } finally {
      this.#backend = device;
      this.#walks = walks;
      this.#random.draws = draws;
    }
  }

  /** Backward passes that were walked before. */
  get walks(): Walks {
    return this.#walks;
  }

  nextId(): number {
    return this.#nextId++;
  }

  /** The id of the tensor that was made last. */
  get lastId(): number {
    return this.#nextId - 1;
  }

  // Randomness

  /** The seed of initialisation and dropout. */
  get seed(): number {
    return this.#random.seed;
  }

  /** Host draws: adapter initialisation. */
  get rng(): Rng {
    return this.#random.host;
  }

  /** Starts the streams of `seed` from their beginning: what follows depends on nothing before. */
  reseed(seed: number): void {
    this.#random.reseed(seed);
  }

  /** A fresh offset into the dropout stream; part of a checkpoint's state. */
  nextDropoutDraw(): number {
    return this.#random.draws++;
  }

  get dropoutDraws(): number {
    return this.#random.draws;
  }

  set dropoutDraws(value: number) {
    this.#random.draws = value;
  }

  // Lifetime

  get currentScope(): Scope {
    return this.#lifetimes.innermost;
  }

  /** Tensors alive now, in all open scopes. After a training step this is what it was before it. */
  get liveTensors(): number {
    return this.#lifetimes.count;
  }

  /**
   * Runs `fn(...args)`; tensors made in it are disposed at its end unless they are part of the
   * result. `fn` must not be async: a scope is a place in the program, and awaiting leaves it.
   */
  scope<T, A extends readonly unknown[]>(name: string, fn: (...args: A) => T, ...args: A): T {
    const scope = this.#lifetimes.enter(name, this.tape.length);
    try {
      const result = fn(...args);
      if (result instanceof Promise)
        throw new AttuneError('SCOPE_ASYNC', `scope "${name}" was given an async function.`, {
          remedy: 'Do the awaiting outside of the scope; record inside of it.',
        });
      if (!this.#lifetimes.handOver(result, scope)) this.tape.truncate(scope.tapeStart);
      return result;
    } catch (error) {
      this.tape.truncate(scope.tapeStart);
      throw error;
    } finally {
      this.#lifetimes.leave(scope);
    }
  }

  /** Takes a tensor out of every scope: its new owner must dispose it. */
  keep<T extends Tensor>(tensor: T): T {
    tensor.scope?.delete(tensor);
    return tensor;
  }

  // How ops are recorded

  get gradEnabled(): boolean {
    return this.#gradEnabled;
  }

  noGrad<T>(fn: () => T): T {
    return this.#withGrad(false, fn);
  }

  /** Records within a `noGrad`. */
  enableGrad<T>(fn: () => T): T {
    return this.#withGrad(true, fn);
  }

  #withGrad<T>(enabled: boolean, fn: () => T): T {
    const before = this.#gradEnabled;
    this.#gradEnabled = enabled;
    try {
      return fn();
    } finally {
      this.#gradEnabled = before;
    }
  }

  /** What products round their operands to, unless they are told otherwise. */
  get computeDType(): ComputeDType {
    return this.#computeDType;
  }

  /**
   * Mixed precision: products recorded in `fn`, and their gradients, multiply numbers rounded to
   * `dtype` and add them up in float32. Everything else (norms, softmax, losses) stays float32.
   *
   * @see arXiv:1710.03740 (Micikevicius et al.)
   */
  withCompute<T>(dtype: ComputeDType, fn: () => T): T {
    using _ = this.computing(dtype);
    return fn();
  }

  /** `withCompute` until what it returns is disposed. */
  computing(dtype: ComputeDType): Disposable {
    const before = this.#computeDType;
    this.#computeDType = dtype;
    return {
      [Symbol.dispose]: () => {
        this.#computeDType = before;
      },
    };
  }

  /**
   * Sets something that modules compute by until what this returns is disposed, and again while a
   * {@link checkpoint} that was recorded in between is computed for the second time.
   */
  during(setting: Setting): Disposable {
    const undo = setting();
    this.#settings = [...this.#settings, setting];
    return {
      [Symbol.dispose]: () => {
        this.#settings = this.#settings.filter((other) => other !== setting);
        undo[Symbol.dispose]();
      },
    };
  }

  /** What is set now, in the order in which it was set. */
  get settings(): readonly Setting[] {
    return this.#settings;
  }

  /** Bytes of a tensor that every kernel can work on. Tables may be larger. */
  get bindingBytes(): number {
    const { maxBufferBytes, maxBindingBytes = maxBufferBytes } = this.backend.limits;
    return maxBindingBytes;
  }

  // Creation

  /** Memory with undefined contents, taken when it is first used. */
  empty(shape: Shape, dtype: DType = 'float32'): Tensor {
    const spec = outputSpec({ shape, dtype });
    const bytes = this.#bytesOf(spec);
    return this.#make(
      new Storage(this.backend, () => this.backend.alloc(bytes, dtype)),
      0,
      spec.shape,
      dtype,
    );
  }

  /**
   * @param recorded whether the tensor is the output of a recorded op: a float one then has
   *   history.
   */
  #allocate(spec: OutputSpec, recorded: boolean): Tensor {
    const { shape, dtype, isFloat } = spec;
    const storage = new Storage(this.backend, this.backend.alloc(this.#bytesOf(spec), dtype));
    return this.#make(storage, 0, shape, dtype, recorded && isFloat, !recorded);
  }

  /** @throws TENSOR_TOO_LARGE */
  #bytesOf({ shape, dtype, bytes }: OutputSpec): number {
    if (bytes > this.backend.limits.maxBufferBytes)
      throw new AttuneError(
        'TENSOR_TOO_LARGE',
        `a ${dtype} tensor ${formatShape(shape)} needs ${bytes} bytes; ${this.backend.info.device} holds at most ${this.backend.limits.maxBufferBytes} in one tensor.`,
        { remedy: 'Use a 16-bit dtype, a smaller batch or a shorter maxLength.' },
      );
    return Math.max(bytes, 4);
  }

  /** Uploads host values. 16-bit dtypes are rounded to nearest even. @throws SHAPE_MISMATCH */
  tensor(
    values: ArrayLike<number>,
    shape: Shape = [values.length],
    dtype: DType = 'float32',
  ): Tensor {
    if (values.length !== numel(shape))
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `${values.length} values do not fill a tensor ${formatShape(shape)} of ${numel(shape)}.`,
        { remedy: 'Give as many values as the shape holds.' },
      );
    return this.fromBytes(encode(values, dtype), shape, dtype);
  }

  /**
   * Uploads values that are already in their storage form (16-bit floats as bits).
   *
   * @param lasting the array never changes: it need not be copied while the upload waits for its
   *   turn
   * @throws SHAPE_MISMATCH
   */
  fromBytes(values: HostArray, shape: Shape, dtype: DType, lasting = false): Tensor {
    const bytes = numel(shape) * bytesPerElement[dtype];
    if (values.byteLength !== bytes)
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `${values.byteLength} bytes do not fill a ${dtype} tensor ${formatShape(shape)} of ${bytes}.`,
        { remedy: 'Give as many values as the shape holds, in their storage form (see encode()).' },
      );
    const tensor = this.empty(shape, dtype);
    if (tensor.size > 0) this.backend.write(tensor.storage.buffer, 0, values, lasting);
    return tensor;
  }

  full(shape: Shape, value: number, dtype: DType = 'float32'): Tensor {
    const tensor = this.empty(shape, dtype);
    fill(tensor, value);
    return tensor;
  }

  zeros(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.full(shape, 0, dtype);
  }

  ones(shape: Shape, dtype: DType = 'float32'): Tensor {
    return this.full(shape, 1, dtype);
  }

  /** A view with its own lifetime and without history. */
  alias(tensor: Tensor): Tensor {
    return this.#make(tensor.storage.retain(), tensor.byteOffset, tensor.shape, tensor.dtype);
  }

  /** The same in no scope, for the tape: its owner must dispose it. */
  hold(tensor: Tensor): Tensor {
    const { storage, byteOffset, shape, dtype } = tensor;
    return new Tensor(this, storage.retain(), byteOffset, shape, dtype, false, true);
  }

  /** A reshaped view; gradients pass through. */
  view(tensor: Tensor, shape: Shape): Tensor {
    const recorded = this.#gradEnabled && tensor.requiresGrad;
    const view = this.#make(
      tensor.storage.retain(),
      tensor.byteOffset,
      shape,
      tensor.dtype,
      recorded,
      !recorded,
    );
    if (recorded) this.tape.record(this, reshapeOp, [tensor], [view], {});
    this.#walks.follow(recorded, reshapeOp, [tensor], [view], {});
    return view;
  }

  /**
   * A window of a flat tensor; `offset` in elements, at a multiple of 256 bytes. For parameter
   * arenas.
   *
   * @throws WINDOW_OUT_OF_PLACE
   */
  window(flat: Tensor, offset: number, shape: Shape): Tensor {
    const byteOffset = flat.byteOffset + offset * bytesPerElement[flat.dtype];
    if (byteOffset % 256 !== 0 || offset < 0 || offset + numel(shape) > flat.size)
      throw new AttuneError(
        'WINDOW_OUT_OF_PLACE',
        `a window ${formatShape(shape)} at element ${offset} of ${formatShape(flat.shape)} (byte ${byteOffset}) cannot be bound.`,
        {
          remedy:
            'Start at a multiple of 256 bytes and end within the tensor; or copy with slice().',
        },
      );
    return this.#make(flat.storage.retain(), byteOffset, shape, flat.dtype);
  }

  // Ops

  readonly #infer = <A extends Attrs>(
    def: OpDef<A>,
    inputs: readonly TensorSpec[],
    attrs: A,
  ): Inferred => {
    const outputs = def.infer(inputs, attrs).map(outputSpec);
    return {
      outputs,
      hasFloat: outputs.some((spec) => spec.isFloat),
      isSupported: this.backend.supports({ op: def.name, inputs, outputs, attrs }),
    };
  };

  /** Runs an op: shape rule, kernel or decomposition, tape. */
  run<A extends Attrs>(def: OpDef<A>, inputs: readonly Tensor[], attrs: A): Tensor[] {
    const hasHistory = this.#gradEnabled && anyRequiresGrad(inputs);
    const place = this.#walks.next(hasHistory, def, inputs, attrs);
    const known = place?.ran?.known ?? this.#inferred.get(def, inputs, attrs, this.#infer);
    const { outputs: specs, hasFloat, isSupported } = known;
    const recorded = hasHistory && hasFloat;
    const { decompose } = def;
    // An output has a lifetime of its own, even where it is an input passed through.
    if (recorded && !def.vjp && decompose)
      return decompose(inputs, attrs, this).map((t) =>
        inputs.includes(t) ? this.view(t, t.shape) : t,
      );
    if (!isSupported) {
      if (!decompose)
        throw new AttuneError(
          'OP_UNSUPPORTED',
          `backend "${this.backend.info.name}" has no kernel for op "${def.name}", and the op has no decomposition.`,
          { remedy: 'Add a kernel, or give the op `decompose`.' },
        );
      const outputs = this.scope(def.name, () =>
        this.noGrad(() =>
          decompose(inputs, attrs, this).map((t) => (inputs.includes(t) ? this.alias(t) : t)),
        ),
      );
      return recorded ? this.#withHistory(def, inputs, outputs, attrs) : outputs;
    }
    const outputs: Tensor[] = [];
    for (let i = 0; i < specs.length; i++) outputs.push(this.#allocate(specs[i]!, recorded));
    const isThere = place?.ran && this.#walks.paths.goTo(place, outputs);
    const call = isThere ? place.ran!.call : callOf(this, def.name, inputs, outputs, known.attrs);
    if (call) this.backend.dispatch(call);
    if (recorded) this.tape.record(this, def, inputs, outputs, attrs);
    if (!isThere)
      this.#walks.follow(recorded, def, inputs, outputs, known.attrs, call && { known, call });
    return outputs;
  }

  /**
   * Runs an op that writes into existing tensors (optimizer steps, caches). Never recorded.
   *
   * @throws UPDATE_ALIASED when an output shares memory with an input or with another output;
   *   WEIGHT_OFFLOADED when it is a copy of a weight in host memory
   */
  runInto<A extends Attrs>(
    def: OpDef<A>,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: A,
  ): void {
    const known = this.#checked.get(def, [...inputs, ...outputs], attrs, check);
    checkWritten(def.name, inputs, outputs);
    const call = callOf(this, def.name, inputs, outputs, known.attrs);
    if (call) this.backend.dispatch(call);
    this.#walks.follow(false, def, inputs, outputs, known.attrs);
  }

  #withHistory<A extends Attrs>(
    def: OpDef<A>,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    attrs: A,
  ): Tensor[] {
    const tracked = outputs.map((t) => {
      const out = this.#make(
        t.storage.retain(),
        t.byteOffset,
        t.shape,
        t.dtype,
        isFloat(t.dtype),
        false,
      );
      t.dispose();
      return out;
    });
    this.tape.record(this, def, inputs, tracked, attrs);
    this.#walks.follow(true, def, inputs, tracked, attrs);
    return tracked;
  }

  /**
   * Fills `grad` of every leaf that `loss` depends on: grad += scale * dLoss/dLeaf (overwriting
   * grads marked stale), then clears the tape.
   *
   * @param loss a one-element tensor
   * @throws NOT_A_SCALAR, NO_GRADIENT, HISTORY_GONE (a second backward, or a forward in a closed
   *   scope)
   */
  backward(loss: Tensor, options: BackwardOptions = {}): void {
    backward(this, loss, options);
  }

  /**
   * Gradient checkpointing: fn(inputs), of which nothing is kept for the backward pass but the
   * inputs. `backward` computes it again, with the same dropout, for about a third more time and a
   * fraction of the memory. Chen et al. 2016, https://arxiv.org/abs/1604.06174
   *
   * @param inputs every tensor that `fn` reads, but for parameters and others that are kept
   * @param fn makes one tensor and changes nothing: it runs twice
   */
  checkpoint(inputs: readonly Tensor[], fn: (inputs: readonly Tensor[]) => Tensor): Tensor {
    return this.#gradEnabled
      ? checkpoint(this, inputs, fn)
      : this.scope('checkpoint', () => fn(inputs));
  }

  /** A view that takes a gradient and has no history, for {@link checkpoint}. */
  root(tensor: Tensor): Tensor {
    const { storage, byteOffset, shape, dtype } = tensor;
    return this.#make(storage.retain(), byteOffset, shape, dtype, true, false);
  }

  #make(
    storage: Storage,
    byteOffset: number,
    shape: Shape,
    dtype: DType,
    requiresGrad = false,
    isLeaf = true,
  ): Tensor {
    const tensor = new Tensor(this, storage, byteOffset, shape, dtype, requiresGrad, isLeaf);
    this.#lifetimes.innermost.add(tensor);
    return tensor;
  }
}

/** A shape rule that only checks: what is written exists. */
function check<A extends Attrs>(def: OpDef<A>, all: readonly TensorSpec[], attrs: A): Inferred {
  def.infer(all, attrs);
  return { outputs: [], hasFloat: false, isSupported: true };
}

function anyRequiresGrad(tensors: readonly Tensor[]): boolean {
  for (let i = 0; i < tensors.length; i++) if (tensors[i]!.requiresGrad) return true;
  return false;
}
