import type { DType, HostArray } from '../backend/dtype.js';
import { assign } from '../tensor/ops/update.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError, nearest } from '../util/errors.js';

/**
 * A tensor that a module owns: a weight. `tensor` may be exchanged (moved into an optimizer's
 * arena, cast, loaded), so code that computes reads `parameter.tensor` each time.
 *
 * An offloaded parameter lies in host memory. Reading `tensor` uploads it, into the innermost
 * scope: with that scope (a layer's) the copy ends, and the next reading uploads it again.
 */
export class Parameter {
  /** The last copy of an offloaded parameter is mostly disposed. */
  #tensor: Tensor;
  #host: HostArray | null = null;

  constructor(tensor: Tensor) {
    this.#tensor = tensor.engine.keep(tensor);
  }

  /** @throws OFFLOADED_TRAINABLE */
  get tensor(): Tensor {
    if (this.#host && this.#tensor.isDisposed) this.#tensor = this.#upload(this.#host);
    return this.#tensor;
  }

  #upload(host: HostArray): Tensor {
    const { engine, shape, dtype, requiresGrad } = this.#tensor;
    if (requiresGrad && engine.gradEnabled)
      throw new AttuneError(
        'OFFLOADED_TRAINABLE',
        `a trainable weight [${shape.join(', ')}] lies in host memory: its gradient would have no place.`,
        {
          remedy:
            'Freeze it (an adapter does), let an optimizer take it over first, or load the model without offload.',
        },
      );
    const copy = engine.scope('offloaded', () => engine.fromBytes(host, shape, dtype, true));
    copy.requiresGrad = requiresGrad;
    copy.readOnly = true;
    return copy;
  }

  get isOffloaded(): boolean {
    return this.#host !== null;
  }

  /** From now on the weight is `values`, in host memory. The array must not change any more. */
  offload(values: HostArray): void {
    this.clearGrad();
    this.#tensor.dispose();
    this.#host = values;
  }

  /** Overwrites the weight, where it lies, with values in their storage form. */
  write(values: HostArray): void {
    const { engine, byteOffset } = this.#tensor;
    if (this.#host) this.offload(values);
    else engine.backend.write(this.#tensor.storage.buffer, byteOffset, values);
  }

  /** The bytes as they are stored: a wait for the device, unless they lie in host memory. */
  async read(): Promise<Uint8Array> {
    if (this.#host)
      return new Uint8Array(this.#host.buffer, this.#host.byteOffset, this.#host.byteLength);
    const { engine, storage, byteOffset, byteLength } = this.#tensor;
    return new Uint8Array(await engine.backend.read(storage.buffer, byteOffset, byteLength));
  }

  get dtype(): DType {
    return this.#tensor.dtype;
  }

  get shape(): readonly number[] {
    return this.#tensor.shape;
  }

  get size(): number {
    return this.#tensor.size;
  }

  /** Whether training changes it. */
  get trainable(): boolean {
    return this.#tensor.requiresGrad;
  }

  set trainable(value: boolean) {
    this.#tensor.requiresGrad = value;
    if (!value) this.clearGrad();
  }

  /** Takes over `tensor` and disposes the old one. Trainability stays. */
  replace(tensor: Tensor): void {
    const { trainable } = this;
    this.clearGrad();
    this.#tensor.dispose();
    this.#host = null;
    this.#tensor = tensor.engine.keep(tensor);
    this.#tensor.requiresGrad = trainable;
  }

  /**
   * Holds what `other` holds now, in memory of its own; of one in host memory, the same array.
   * Trainability stays.
   */
  copyFrom(other: Parameter): void {
    if (other.#host) {
      this.offload(other.#host);
      return;
    }
    const source = other.#tensor;
    const { engine, shape, dtype } = source;
    engine.scope('copy', () => {
      const copy = engine.empty(shape, dtype);
      assign(copy, source);
      this.replace(copy);
    });
  }

  /**
   * Puts `tensor` in the place of what is there until the returned function is called, which puts
   * that back, disposing what is there by then. Null: leaves what is there.
   */
  exchange(tensor: Tensor | null): () => void {
    const [old, host] = [this.#tensor, this.#host];
    if (tensor) [this.#tensor, this.#host] = [tensor, null];
    return () => {
      if (this.#tensor !== old) {
        this.clearGrad();
        this.#tensor.dispose();
      }
      [this.#tensor, this.#host] = [old, host];
    };
  }

  /**
   * Runs `fn` with `tensor` in the place of this one's: an adapter's copy, say. It stays the
   * caller's.
   */
  with<T>(tensor: Tensor, fn: () => T): T {
    const own = this.#tensor;
    this.#tensor = tensor;
    try {
      return fn();
    } finally {
      this.#tensor = own;
    }
  }

  clearGrad(): void {
    this.#tensor.grad?.dispose();
    this.#tensor.grad = null;
  }

  dispose(): void {
    this.clearGrad();
    this.#tensor.dispose();
  }
}

/**
 * A node of a model: parameters and children under the names that they have in a Hugging Face
 * checkpoint (`model.layers.0.self_attn.q_proj.weight`), so that loading is looking up.
 */
export abstract class Module {
  readonly #parameters = new Map<string, Parameter>();
  readonly #buffers = new Map<string, Parameter>();
  readonly #children = new Map<string, Module>();
  #training = false;

  protected addParameter(name: string, tensor: Tensor): Parameter {
    const parameter = new Parameter(tensor);
    this.#parameters.set(name, parameter);
    return parameter;
  }

  /** A tensor of the module that is no parameter: never trained, not counted as one. */
  protected addBuffer(name: string, tensor: Tensor): Parameter {
    const buffer = new Parameter(tensor);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  protected addChild<M extends Module>(name: string, module: M): M {
    this.#children.set(name, module);
    return module;
  }

  protected removeParameter(name: string): void {
    this.#parameters.get(name)?.dispose();
    this.#parameters.delete(name);
  }

  protected removeBuffer(name: string): void {
    this.#buffers.get(name)?.dispose();
    this.#buffers.delete(name);
  }

  /**
   * Puts a module beside the children: what an adapter adds to a model. `detach` takes it out
   * again.
   *
   * @throws MODULE_NAME_TAKEN
   */
  attach(name: string, module: Module): void {
    if (this.#children.has(name))
      throw new AttuneError(
        'MODULE_NAME_TAKEN',
        `there is a module "${name}" in ${this.constructor.name} already.`,
        { remedy: 'Attach it under another name, or detach the other first.' },
      );
    module.train(this.training);
    this.addChild(name, module);
  }

  /** Takes a child out and returns it (not disposed). @throws MODULE_UNKNOWN */
  detach(name: string): Module {
    const module = this.child(name);
    this.#children.delete(name);
    return module;
  }

  /** A direct child. Read it each time: an adapter may have taken its place. */
  child<M extends Module = Module>(name: string): M {
    const found = this.#children.get(name);
    if (!found)
      throw new AttuneError(
        'MODULE_UNKNOWN',
        `there is no module "${name}" in ${this.constructor.name}.`,
        {
          remedy: `Its modules: ${[...this.#children.keys()].join(', ') || 'none'}.`,
        },
      );
    return found as M;
  }

  get children(): ReadonlyMap<string, Module> {
    return this.#children;
  }

  /** Parameters of this module alone. */
  get ownParameters(): ReadonlyMap<string, Parameter> {
    return this.#parameters;
  }

  get ownBuffers(): ReadonlyMap<string, Parameter> {
    return this.#buffers;
  }

  /** Every module below, depth first, with its dotted path; this one first, under `prefix`. */
  *namedModules(prefix = ''): Generator<[string, Module]> {
    yield [prefix, this];
    for (const [name, child] of this.#children)
      yield* child.namedModules(prefix ? `${prefix}.${name}` : name);
  }

  /** Every parameter below, with its dotted path as in the checkpoint. */
  *namedParameters(prefix = ''): Generator<[string, Parameter]> {
    for (const [path, module] of this.namedModules(prefix))
      for (const [name, parameter] of module.ownParameters)
        yield [path ? `${path}.${name}` : name, parameter];
  }

  /** @throws MODULE_UNKNOWN with the nearest path. */
  submodule<M extends Module = Module>(path: string): M {
    let module: Module = this;
    for (const part of path ? path.split('.') : []) {
      const next = module.children.get(part);
      if (!next) {
        const paths = [...this.namedModules()].map(([p]) => p);
        throw new AttuneError('MODULE_UNKNOWN', `there is no module "${path}".`, {
          remedy: `Nearest: "${nearest(path, paths) ?? paths.at(-1)}".`,
        });
      }
      module = next;
    }
    return module as M;
  }

  /** Puts `module` in the place of the one at `path` and returns the old one (not disposed). */
  replaceSubmodule(path: string, module: Module): Module {
    const at = path.lastIndexOf('.');
    const parent = this.submodule(path.slice(0, Math.max(at, 0)));
    const name = path.slice(at + 1);
    const old = parent.child(name);
    parent.#children.set(name, module);
    module.train(old.training);
    return old;
  }

  /** True while training: dropout draws masks. */
  get training(): boolean {
    return this.#training;
  }

  train(mode = true): this {
    for (const [, module] of this.namedModules()) module.#training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** Frees every parameter and buffer below. */
  dispose(): void {
    for (const [, module] of this.namedModules())
      for (const held of [...module.ownParameters.values(), ...module.ownBuffers.values()])
        held.dispose();
  }
}
