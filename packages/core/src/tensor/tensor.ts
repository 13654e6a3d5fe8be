import { bytesPerElement, type DType, decode } from '../backend/dtype.js';
import type { Operand } from '../backend/opCall.js';
import { AttuneError } from '../util/errors.js';
import type { Engine } from './engine.js';
import type { MatmulOptions } from './matmulOptions.js';
import * as ops from './ops/index.js';
import type { Scope } from './scope.js';
import {
  formatShape,
  normalizeAxis,
  numel,
  resolveReshape,
  type Shape,
  sameShape,
} from './shape.js';
import type { Storage } from './storage.js';

/**
 * A contiguous row-major array on the device.
 *
 * Methods record work and return at once. Nothing waits for the device but `data()` and `item()`. A
 * tensor belongs to the scope in which it was made and is disposed with it. Gradients are recorded
 * when any input has `requiresGrad`.
 */
export class Tensor {
  /** Names the value on the tape. */
  readonly id: number;
  readonly size: number;
  /** dLoss/dThis, filled by `engine.backward` for leaves that require it. [same shape], float32. */
  grad: Tensor | null = null;
  /** True when `grad` holds an old value that the next backward overwrites instead of adding to. */
  gradIsStale = false;
  /** A copy of something that lies in host memory: writing it would change nothing. */
  readOnly = false;
  /** Positions that the host made have it: see `HostTensor.reach`. Null: the host does not know. */
  reach: number | null = null;

  #storage: Storage | null;
  #operand: Operand | null = null;
  readonly #bornIn: Scope;
  #diedIn: Scope | null = null;
  /** Its owner, which sets both. */
  scope: Scope | null = null;
  placeInScope = 0;

  constructor(
    readonly engine: Engine,
    storage: Storage,
    readonly byteOffset: number,
    readonly shape: Shape,
    readonly dtype: DType,
    /** Whether the tape follows this tensor. Set it on leaves (parameters) only. */
    public requiresGrad: boolean,
    /** A leaf was created, not computed: gradients end here. */
    readonly isLeaf: boolean,
  ) {
    this.id = engine.nextId();
    this.size = numel(shape);
    this.#storage = storage;
    this.#bornIn = engine.currentScope;
  }

  get rank(): number {
    return this.shape.length;
  }

  get byteLength(): number {
    return this.size * bytesPerElement[this.dtype];
  }

  get isDisposed(): boolean {
    return this.#storage === null;
  }

  /** @throws TENSOR_DISPOSED with the scopes of birth and death. */
  get storage(): Storage {
    if (!this.#storage)
      throw new AttuneError(
        'TENSOR_DISPOSED',
        `tensor ${formatShape(this.shape)}, made in scope "${this.#bornIn.path}", was disposed in scope "${this.#diedIn?.path}".`,
        { remedy: 'Return it from that scope, or keep it with engine.keep(tensor).' },
      );
    return this.#storage;
  }

  get operand(): Operand {
    const { storage } = this; // throws when it is gone
    this.#operand ??= {
      buffer: storage.buffer,
      byteOffset: this.byteOffset,
      shape: this.shape,
      dtype: this.dtype,
    };
    return this.#operand;
  }

  /** Gives the memory back (at the last view). Disposing twice is harmless. */
  dispose(): void {
    if (!this.#storage) return;
    this.#diedIn = this.engine.currentScope;
    this.scope?.delete(this);
    this.#storage.release();
    this.#storage = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Copies the values to the host. It waits for the device. */
  async data(): Promise<Float32Array | Int32Array | Uint32Array> {
    if (this.size === 0) return decode(new ArrayBuffer(0), this.dtype, 0);
    const bytes = await this.engine.backend.read(
      this.storage.buffer,
      this.byteOffset,
      this.byteLength,
    );
    return decode(bytes, this.dtype, this.size);
  }

  /** The value of a one-element tensor. It waits for the device. @throws NOT_A_SCALAR */
  async item(): Promise<number> {
    if (this.size !== 1)
      throw new AttuneError(
        'NOT_A_SCALAR',
        `item(): the tensor has shape ${formatShape(this.shape)}.`,
        {
          remedy: 'Reduce it first (sum(), mean()), or read it with data().',
        },
      );
    return (await this.data())[0]!;
  }

  /** The same value without its history. Shares memory. */
  detach(): Tensor {
    return this.engine.alias(this);
  }

  // Shape
  /** A view with another shape; one dimension may be -1. */
  reshape(...shape: number[]): Tensor {
    const to = resolveReshape(this.shape, shape);
    return sameShape(to, this.shape) ? this : this.engine.view(this, to);
  }
  /** Puts an axis of size 1 before `axis`; -1 appends it. @throws AXIS_OUT_OF_RANGE */
  unsqueeze(axis: number): Tensor {
    const shape = [...this.shape];
    shape.splice(normalizeAxis(axis, this.rank + 1, 'unsqueeze'), 0, 1);
    return this.engine.view(this, shape);
  }
  /** Drops one axis of size 1. @throws AXIS_OUT_OF_RANGE, SHAPE_MISMATCH */
  squeeze(axis: number): Tensor {
    const at = normalizeAxis(axis, this.rank, 'squeeze');
    return this.engine.view(
      this,
      resolveReshape(
        this.shape,
        this.shape.filter((_, i) => i !== at),
      ),
    );
  }
  permute(...order: number[]): Tensor {
    return ops.permute(this, order);
  }
  /** Swaps the last two axes. */
  transpose(): Tensor {
    const order = this.shape.map((_, i) => i);
    order.push(...order.splice(-2).reverse());
    return ops.permute(this, order);
  }
  expand(...shape: number[]): Tensor {
    return ops.expand(this, shape);
  }
  /** Elements start..end-1 of an axis. */
  slice(axis: number, start: number, end: number): Tensor {
    return ops.slice(this, axis, start, end);
  }
  cast(dtype: DType): Tensor {
    return ops.cast(this, dtype);
  }

  // Arithmetic, broadcasting as NumPy does
  add(other: Tensor | number): Tensor {
    return typeof other === 'number' ? ops.affine(this, 1, other) : ops.add(this, other);
  }
  sub(other: Tensor | number): Tensor {
    return typeof other === 'number' ? ops.affine(this, 1, -other) : ops.sub(this, other);
  }
  mul(other: Tensor | number): Tensor {
    return typeof other === 'number' ? ops.affine(this, other, 0) : ops.mul(this, other);
  }
  div(other: Tensor | number): Tensor {
    return typeof other === 'number' ? ops.affine(this, 1 / other, 0) : ops.div(this, other);
  }
  neg(): Tensor {
    return ops.affine(this, -1, 0);
  }
  maximum(other: Tensor): Tensor {
    return ops.maximum(this, other);
  }
  minimum(other: Tensor): Tensor {
    return ops.minimum(this, other);
  }
  exp(): Tensor {
    return ops.exp(this);
  }
  log(): Tensor {
    return ops.log(this);
  }
  sqrt(): Tensor {
    return ops.sqrt(this);
  }
  rsqrt(): Tensor {
    return ops.rsqrt(this);
  }
  square(): Tensor {
    return ops.square(this);
  }
  abs(): Tensor {
    return ops.abs(this);
  }
  sin(): Tensor {
    return ops.sin(this);
  }
  cos(): Tensor {
    return ops.cos(this);
  }
  tanh(): Tensor {
    return ops.tanh(this);
  }
  sigmoid(): Tensor {
    return ops.sigmoid(this);
  }
  /** log(sigmoid(x)), stable for large negative x. */
  logSigmoid(): Tensor {
    return ops.logSigmoid(this);
  }
  relu(): Tensor {
    return ops.relu(this);
  }
  silu(): Tensor {
    return ops.silu(this);
  }
  /**
   * GELU; 'tanh' is the approximation of Hendrycks and Gimpel (GPT-2), 'none' the exact erf form.
   */
  gelu(approximate: 'none' | 'tanh' = 'none'): Tensor {
    return ops.gelu(this, approximate);
  }

  // Reductions
  sum(axes?: number | readonly number[], keepDim = false): Tensor {
    return ops.sum(this, axes, keepDim);
  }
  mean(axes?: number | readonly number[], keepDim = false): Tensor {
    return ops.mean(this, axes, keepDim);
  }
  max(axis: number, keepDim = false): Tensor {
    return ops.max(this, axis, keepDim);
  }
  softmax(): Tensor {
    return ops.softmax(this);
  }
  logSoftmax(): Tensor {
    return ops.logSoftmax(this);
  }

  /**
   * [..., M, K] x [..., K, N] -> [..., M, N]; the flags read an operand transposed without copying
   * it.
   */
  matmul(other: Tensor, options: MatmulOptions = {}): Tensor {
    return ops.matmul(this, other, options);
  }
}
