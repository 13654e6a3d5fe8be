import { AttuneError, type Engine, ops, type Tensor } from '@attune/core';
import {
  Embedding,
  type LinearLike,
  type Module,
  type Parameter,
  QuantizedLayer,
} from '@attune/core/nn';
import type { PeftConfig } from '../contract/config.js';
import type { AdapterContext, LayerInfo } from '../contract/layerInfo.js';
import type { LayerMethod } from '../contract/methodKinds.js';
import {
  AdapterSlot,
  type AdapterSwitch,
  type AttachedParameter,
  type Folded,
  original,
  tensorsOf,
  type UnaryModule,
} from './adapterSlot.js';
import { initialised } from './initialised.js';
import type { Given, PlannedLayer, PlannedParameter } from './plannedSlot.js';
import { checkRows, rowRuns } from './rowAdapters.js';
import { SavedModule } from './savedModule.js';
import { TrainedBias } from './trainedBias.js';

/** One adapter on one layer. */
interface Attached {
  readonly method: LayerMethod;
  /** The options of this layer. */
  readonly config: PeftConfig;
  readonly held: readonly AttachedParameter[];
}

/**
 * A linear layer, an embedding, or another module of one input and one output, with adapters of any
 * method around it: y = forward_n(x, ... forward_1(x, base)).
 *
 * The base may be stored in 16 bits or quantised; adapters are float32, as all arithmetic is. In
 * the tree, as in PEFT: the original under `base_layer`, parameters as `lora_A.<adapter>.weight`.
 */
export class AdaptedLinear extends AdapterSlot implements LinearLike {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly #attached = new Map<string, Attached>();
  readonly #context: AdapterContext;

  constructor(
    private readonly engine: Engine,
    base: LinearLike,
    readonly layer: LayerInfo,
    private readonly state: AdapterSwitch,
  ) {
    super();
    this.inFeatures = layer.inFeatures;
    this.outFeatures = layer.outFeatures;
    this.addChild('base_layer', base);
    const slot = this;
    this.#context = {
      layer,
      get training() {
        return slot.training;
      },
      dropout: (x, p) => (slot.training ? ops.dropout(x, p) : x),
      baseWeight: () => baseWeight(slot),
      baseBias: () => baseBias(slot.inner),
    };
  }

  get path(): string {
    return this.layer.path;
  }

  get inner(): UnaryModule {
    return this.child<LinearLike>('base_layer');
  }

  addAdapter(adapter: string, { method, config, parameters }: PlannedLayer, given: Given): void {
    const fromBase: Parameters<typeof initialised>[2] = (compute) =>
      this.engine.noGrad(() =>
        this.engine.scope('first values', () =>
          compute(baseWeight(this), tensorsOf(this.heldBy(adapter))),
        ),
      );
    for (const planned of parameters)
      this.hold(adapter, planned, given(planned) ?? initialised(this.engine, planned, fromBase));
    this.#attached.set(adapter, { method, config, held: this.heldBy(adapter) });
  }

  /** As in PEFT: `lora_A.<adapter>.weight`. */
  protected override treeName(adapter: string, { key, isTrained }: PlannedParameter): string {
    if (!isTrained) return `${key}.${adapter}`;
    const [head, ...rest] = key.split('.');
    return [head, adapter, ...rest].join('.');
  }

  /**
   * Computes and writes first values that take the host.
   *
   * @param isNew false: only those that files do not hold
   */
  async start(adapter: string, isNew: boolean): Promise<void> {
    const attached = this.#attached.get(adapter);
    const starting = attached?.method.start?.(this.layer, attached.config, async () => {
      const weight = this.engine.noGrad(() =>
        this.engine.scope('first values', () => baseWeight(this).mul(1)),
      );
      const data = await weight.data();
      weight.dispose();
      return { rows: this.outFeatures, columns: this.inFeatures, data };
    });
    if (!attached || !starting) return;
    const values = await starting;
    if (this.#attached.get(adapter) !== attached) return;
    for (const { name, parameter, isTrained } of attached.held) {
      const value = isNew || !isTrained ? values[name] : undefined;
      if (value) parameter.write(Float32Array.from(value.data));
    }
  }

  /** A head that is tied to an embedding reads the weight without its adapters, as in PEFT. */
  get weight(): Parameter | undefined {
    const { inner } = this;
    return inner instanceof SavedModule ? inner.weight : original(this).ownParameters.get('weight');
  }

  /** [..., in] -> [..., out]; of an embedding int32 [...] -> [..., out] */
  forward(x: Tensor, ...rest: never[]): Tensor {
    const { inner } = this;
    const names = this.state.computingRows;
    if (names) return this.engine.scope('adapted', () => this.#forwardRows(x, names, rest));
    // Bound, not wrapped: each frame less counts in the deepest call of a step.
    let run: (input: Tensor) => Tensor =
      rest.length === 0 ? inner.forward.bind(inner) : (input) => inner.forward(input, ...rest);
    for (const adapter of this.state.computing) {
      const attached = this.#attached.get(adapter);
      if (!attached) continue;
      const within = run;
      run = (input) =>
        attached.method.forward(
          input,
          within,
          tensorsOf(attached.held),
          attached.config,
          this.#context,
        );
    }
    // The base's output and the adapter's steps end here, not with the layer.
    return this.engine.scope('adapted', run, x);
  }

  /**
   * Each row with the adapter of its name. What the base makes of all rows is computed once, where
   * a method asks for it.
   */
  #forwardRows(x: Tensor, names: readonly string[], rest: never[]): Tensor {
    const { inner } = this;
    checkRows(x, names, this.training);
    let whole: Tensor | undefined;
    const parts = rowRuns(names, (name) => this.#attached.has(name)).map((run) => {
      const base = () => {
        whole ??= inner.forward(x, ...rest);
        return whole.slice(0, run.start, run.end);
      };
      const attached = run.adapter === null ? undefined : this.#attached.get(run.adapter);
      if (!attached) return base();
      const rows = x.slice(0, run.start, run.end);
      const within = (input: Tensor) => {
        if (input === rows) return base();
        if (rest.length === 0) return inner.forward(input);
        throw new AttuneError(
          'PEFT_ROWS',
          `${attached.method.peftType} changes what ${this.path} is given, which takes more than rows: it cannot be chosen for some rows.`,
          { remedy: 'Run the rows of this adapter by themselves, with setAdapter.' },
        );
      };
      const { method, config } = attached;
      return method.forward(rows, within, tensorsOf(attached.held), config, this.#context);
    });
    return ops.concat(parts, 0); // [B, ..., out]
  }

  /** The options of an adapter on this layer; undefined: it has nothing here. */
  configOf(adapter: string): PeftConfig | undefined {
    return this.#attached.get(adapter)?.config;
  }

  override removeAdapter(adapter: string): void {
    super.removeAdapter(adapter);
    this.#attached.delete(adapter);
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    if (!adapters.some((adapter) => this.#attached.has(adapter))) return [];
    const base = original(this);
    const quantized = base instanceof QuantizedLayer ? base : undefined;
    const weight = base.ownParameters.get('weight');
    const bias = base.ownParameters.get('bias');
    const turn = turner(this);
    const given = quantized?.dequantize() ?? weight?.tensor;
    let newWeight = given;
    let newBias = bias?.tensor;
    for (const adapter of adapters) {
      const attached = this.#attached.get(adapter);
      if (!attached) continue;
      const { method, config } = attached;
      if (!method.mergedWeight || !newWeight || this.layer.embedding?.tied)
        throw new AttuneError(
          'PEFT_NOT_MERGEABLE',
          !method.mergedWeight
            ? `${method.peftType} adapters cannot be merged: the method defines no mergedWeight.`
            : newWeight
              ? `"${adapter}" adapts ${this.path}, which is the output head too (tie_word_embeddings): in one weight, the head would change with it.`
              : `${this.path} has no plain weight to merge adapter "${adapter}" into.`,
          { remedy: 'Keep the adapter beside the base model.' },
        );
      const p = tensorsOf(attached.held);
      // In float32, rounded to how the base is stored once, after the last adapter.
      newWeight = turn(
        method.mergedWeight(turn(newWeight.cast('float32')), p, config, this.#context),
      );
      if (newBias && method.mergedBias)
        newBias = method.mergedBias(newBias.cast('float32'), p, config, this.#context);
    }
    const changed: Folded[] = [];
    const holder = quantized ?? weight;
    if (holder && newWeight && newWeight !== given) changed.push([holder, newWeight]);
    if (bias && newBias && newBias !== bias.tensor) changed.push([bias, newBias]);
    return changed;
  }
}

function baseWeight(slot: AdaptedLinear): Tensor {
  const base = original(slot);
  if (base instanceof QuantizedLayer) return base.dequantize();
  const weight = base.ownParameters.get('weight');
  if (weight) return turner(slot)(weight.tensor.cast('float32').detach());
  throw new AttuneError(
    'PEFT_NO_BASE_WEIGHT',
    `${slot.path} (${base.constructor.name}) has no weight that an adapter could read.`,
    {
      remedy: 'Use an adapter that only needs what the layer computes, e.g. LoRA without useDora.',
    },
  );
}

function baseBias(within: Module): Tensor | null {
  if (within instanceof TrainedBias) return within.bias;
  const copy = within instanceof SavedModule ? within.current('bias') : undefined;
  if (copy) return copy.tensor;
  if (within instanceof AdapterSlot) return baseBias(within.inner);
  return within.ownParameters.get('bias')?.tensor ?? null;
}

/**
 * Methods see weights as [out, in], whichever way the base stores them (embeddings and GPT-2's
 * Conv1D: [in, out]).
 */
function turner(slot: AdaptedLinear): (weight: Tensor) => Tensor {
  const base = original(slot);
  const isTurned = base instanceof Embedding || (base as LinearLike).weightLayout === 'inOut';
  return (weight) => (isTurned ? weight.transpose() : weight);
}
