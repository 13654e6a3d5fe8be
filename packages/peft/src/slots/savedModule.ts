import type { Engine, Tensor } from '@attune/core';
import type { Parameter } from '@attune/core/nn';
import {
  AdapterSlot,
  type AdapterSwitch,
  type Folded,
  feature,
  original,
  type UnaryModule,
} from './adapterSlot.js';
import type { Given, PlannedCopy, PlannedParameter } from './plannedSlot.js';

/**
 * A module of which adapters train copies of parameters: all of them (`modulesToSave`), or those
 * that a method selects. The copies are float32 and lie beside the base's own: 4 bytes a number
 * more.
 *
 * The original stays under `original_module`; copies are `modules_to_save.<adapter>.weight`, as in
 * PEFT.
 */
export class SavedModule extends AdapterSlot {
  constructor(
    private readonly engine: Engine,
    readonly inner: UnaryModule,
    readonly path: string,
    private readonly state: AdapterSwitch,
  ) {
    super();
    this.addChild('original_module', inner);
  }

  /** @param given values in a file; without, the original's */
  addAdapter(adapter: string, { parameters }: PlannedCopy, given: Given): void {
    for (const planned of parameters) {
      const start = () => this.#base(planned.name).tensor.cast('float32').mul(1);
      this.hold(adapter, planned, given(planned) ?? this.engine.noGrad(start));
    }
  }

  protected override treeName(adapter: string, { name }: PlannedParameter): string {
    return `modules_to_save.${adapter}.${name}`;
  }

  /**
   * What computes now in the place of the original's parameters: of several active copies the last.
   */
  #current(adapters = this.state.computing): ReadonlyMap<string, Parameter> {
    return new Map(
      adapters.flatMap((adapter) =>
        this.heldBy(adapter).map(({ name, parameter }) => [name, parameter] as const),
      ),
    );
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

  override folded(adapters: readonly string[]): readonly Folded[] {
    return [...this.#current(adapters)].map(([name, copy]) => [this.#base(name), copy.tensor]);
  }
}
