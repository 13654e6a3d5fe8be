import type { Engine, Parameter, Tensor } from '@attune/core';
import {
  AdapterSlot,
  type AdapterSwitch,
  type Folded,
  feature,
  original,
  type UnaryModule,
} from './adapterSlot.js';

/**
 * A module of which adapters train copies of parameters: all of them (`modulesToSave`), or those that a method
 * selects. The copies are float32 and lie beside the base's own: 4 bytes a number more.
 *
 * The original stays under `original_module`; copies are `modules_to_save.<adapter>.weight`, as in PEFT.
 */
export class SavedModule extends AdapterSlot {
  readonly #copies = new Map<string, ReadonlyMap<string, Parameter>>();

  constructor(
    private readonly engine: Engine,
    readonly inner: UnaryModule,
    readonly path: string,
    private readonly state: AdapterSwitch,
  ) {
    super();
    this.addChild('original_module', inner);
  }

  /**
   * @param names of the parameters to copy
   * @param values tensors from a file by their names in it; without, the original's values
   */
  addAdapter(
    adapter: string,
    names: readonly string[],
    values?: ReadonlyMap<string, Tensor>,
  ): void {
    const copies = new Map<string, Parameter>();
    for (const name of names) {
      const start = () => this.#base(name).tensor.cast('float32').mul(1);
      const value = values?.get(`${this.path}.${name}`) ?? this.engine.noGrad(start);
      copies.set(name, this.addParameter(treeName(adapter, name), value));
    }
    this.#copies.set(adapter, copies);
  }

  /** What computes now in the place of the original's parameters: of several active copies the last. */
  #current(adapters = this.state.computing): ReadonlyMap<string, Parameter> {
    return new Map(adapters.flatMap((adapter) => [...(this.#copies.get(adapter) ?? [])]));
  }

  /** The copy that computes now in the place of a parameter; undefined: the original's own does. */
  current(name: string): Parameter | undefined {
    return this.#current().get(name);
  }

  forward(x: Tensor, ...rest: never[]): Tensor {
    let run = () => this.inner.forward(x, ...rest);
    for (const [name, copy] of this.#current()) {
      const within = run;
      run = () => this.#base(name).with(copy.tensor, within);
    }
    return run();
  }

  /** A tied head reads its embedding's weight. */
  get weight(): Parameter | undefined {
    return this.current('weight') ?? original(this).ownParameters.get('weight');
  }

  get inFeatures(): number | undefined {
    return feature(this.inner, 'inFeatures');
  }

  get outFeatures(): number | undefined {
    return feature(this.inner, 'outFeatures');
  }

  #base(name: string): Parameter {
    return original(this).ownParameters.get(name)!;
  }

  override parametersOf(adapter: string): ReadonlyMap<string, Parameter> {
    const copies = this.#copies.get(adapter) ?? [];
    return new Map([...copies].map(([name, p]) => [`${this.path}.${name}`, p]));
  }

  override removeAdapter(adapter: string): void {
    for (const name of this.#copies.get(adapter)?.keys() ?? [])
      this.removeParameter(treeName(adapter, name));
    this.#copies.delete(adapter);
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    return [...this.#current(adapters)].map(([name, copy]) => [this.#base(name), copy.tensor]);
  }
}

const treeName = (adapter: string, name: string): string => `modules_to_save.${adapter}.${name}`;
