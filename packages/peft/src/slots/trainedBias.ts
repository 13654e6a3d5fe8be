import type { Tensor } from '@attune/core';
import type { Parameter } from '@attune/core/nn';
import {
  AdapterSlot,
  type AdapterSwitch,
  type Folded,
  feature,
  original,
  type UnaryModule,
} from './adapterSlot.js';
import type { Given, PlannedBias } from './plannedSlot.js';

/**
 * A module whose bias adapters train (`bias: 'all' | 'lora_only'`): y = f(x) + (b' - b).
 *
 * PEFT trains the base's own bias, so that its base model changes for good; here each adapter has a
 * copy b', and the model with adapters off stays the base. In files the copy is called as in PEFT.
 */
export class TrainedBias extends AdapterSlot {
  constructor(
    inner: UnaryModule,
    readonly path: string,
    private readonly state: AdapterSwitch,
  ) {
    super();
    this.addChild('base_layer', inner);
  }

  get inner(): UnaryModule {
    return this.child<UnaryModule>('base_layer');
  }

  // What a projection is asked for, when it is one.
  get inFeatures(): number | undefined {
    return feature(this.inner, 'inFeatures');
  }

  get outFeatures(): number | undefined {
    return feature(this.inner, 'outFeatures');
  }

  get #base(): Parameter {
    return original(this).ownParameters.get('bias')!;
  }

  /** @param given the value in a file; without, the base's */
  addAdapter(adapter: string, { parameters: [planned] }: PlannedBias, given: Given): void {
    const start = () => {
      const base = this.#base.tensor;
      return base.engine.noGrad(() => base.cast('float32').mul(1));
    };
    this.hold(adapter, planned, given(planned) ?? start());
  }

  protected override treeName(adapter: string): string {
    return `bias.${adapter}`;
  }

  forward(x: Tensor): Tensor {
    return this.#changes().reduce((y, change) => y.add(change), this.inner.forward(x));
  }

  /** What is added now: b', or b with adapters off. */
  get bias(): Tensor {
    return this.#changes().reduce((b, change) => b.add(change), this.#base.tensor);
  }

  #changes(): Tensor[] {
    return this.state.computing
      .flatMap((adapter) => this.heldBy(adapter))
      .map(({ parameter }) => parameter.tensor.sub(this.#base.tensor));
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    const base = this.#base;
    let sum = base.tensor.cast('float32');
    const copies = adapters.flatMap((adapter) => this.heldBy(adapter));
    for (const { parameter } of copies) sum = sum.add(parameter.tensor.sub(base.tensor));
    return copies.length > 0 ? [[base, sum]] : [];
  }
}
