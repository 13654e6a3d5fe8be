import {
  AttuneError,
  Embedding,
  type Engine,
  LayerNorm,
  Linear,
  type Module,
  ops,
  type Parameter,
  RMSNorm,
  type Tensor,
} from '@attune/core';
import {
  AdapterSlot,
  type AdapterSwitch,
  type Folded,
  feature,
  type UnaryModule,
} from './adapterSlot.js';

/**
 * A module of `modulesToSave`: each adapter trains a float32 copy of it, saved whole with the adapter.
 *
 * The original stays under `original_module`; copies are `modules_to_save.<adapter>.weight`, as in PEFT.
 */
export class SavedModule extends AdapterSlot {
  readonly #copies = new Map<string, UnaryModule>();

  constructor(
    private readonly engine: Engine,
    readonly inner: UnaryModule,
    readonly path: string,
    private readonly state: AdapterSwitch,
  ) {
    super();
    this.addChild('original_module', inner);
  }

  /** @param values tensors from a file by their names in it; without, the original's values */
  addAdapter(adapter: string, values?: ReadonlyMap<string, Tensor>): void {
    const copy = emptyCopy(this.engine, this.inner, this.path);
    for (const [name, parameter] of copy.ownParameters) {
      const value = values?.get(`${this.path}.${name}`);
      if (value) parameter.replace(value);
      else ops.assign(parameter.tensor, this.inner.ownParameters.get(name)!.tensor);
    }
    this.#copies.set(adapter, copy);
  }

  /** The module that computes now: of several active copies the last. */
  get #current(): UnaryModule {
    const copies = this.state.computing.flatMap((adapter) => this.#copies.get(adapter) ?? []);
    return copies.at(-1) ?? this.inner;
  }

  forward(x: Tensor): Tensor {
    return this.#current.forward(x);
  }

  /** A tied head reads its embedding's weight. */
  get weight(): Parameter | undefined {
    return this.#current.ownParameters.get('weight');
  }

  get inFeatures(): number | undefined {
    return feature(this.inner, 'inFeatures');
  }

  get outFeatures(): number | undefined {
    return feature(this.inner, 'outFeatures');
  }

  /** The parameters of the copies: they are no children, so that they can be removed. */
  override get ownParameters(): ReadonlyMap<string, Parameter> {
    const all = new Map<string, Parameter>();
    for (const [adapter, copy] of this.#copies)
      for (const [name, parameter] of copy.ownParameters)
        all.set(`modules_to_save.${adapter}.${name}`, parameter);
    return all;
  }

  override parametersOf(adapter: string): ReadonlyMap<string, Parameter> {
    const parameters = this.#copies.get(adapter)?.ownParameters ?? new Map<string, Parameter>();
    return new Map([...parameters].map(([name, p]) => [`${this.path}.${name}`, p]));
  }

  override removeAdapter(adapter: string): void {
    this.#copies.get(adapter)?.dispose();
    this.#copies.delete(adapter);
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    const copy = adapters.flatMap((adapter) => this.#copies.get(adapter) ?? []).at(-1);
    return [...(copy?.ownParameters ?? [])].map(([name, parameter]) => [
      this.inner.ownParameters.get(name)!,
      parameter.tensor,
    ]);
  }
}

/** Whether `emptyCopy` knows how to make another one of this module. */
export const isCopyable = (module: Module): boolean =>
  [Linear, Embedding, RMSNorm, LayerNorm].some((type) => module instanceof type);

/** A module of the same kind and sizes, float32: what is trained is kept in full precision. */
function emptyCopy(engine: Engine, module: Module, path: string): UnaryModule {
  if (module instanceof Linear)
    return new Linear(engine, {
      inFeatures: module.inFeatures,
      outFeatures: module.outFeatures,
      bias: module.bias !== null,
    });
  if (module instanceof Embedding) return new Embedding(engine, module.vocabSize, module.features);
  if (module instanceof RMSNorm) return new RMSNorm(engine, module.weight.size, module.eps);
  if (module instanceof LayerNorm) return new LayerNorm(engine, module.weight.size, module.eps);
  throw new AttuneError(
    'PEFT_NOT_COPYABLE',
    `modulesToSave: "${path}" (${module.constructor.name}) cannot be copied.`,
    { remedy: 'Linear layers, embeddings and norms can; name those in it.' },
  );
}
