import { AttuneError, type Engine, ops, type Tensor } from '@attune/core';
import { Embedding, type KeyValues, type Module, type VirtualTokens } from '@attune/core/nn';
import type { GivenAs } from '../contract/methodKinds.js';
import {
  AdapterPart,
  type AdapterSwitch,
  type AttachedParameter,
  baseModules,
  type Folded,
  original,
  tensorsOf,
} from './adapterSlot.js';
import { initialised } from './initialised.js';
import type { Given, PlannedParameter, PlannedPrompt } from './plannedSlot.js';

/** What the virtual tokens of an adapter are called in its file, [V, width]. */
export const PROMPT_EMBEDDINGS = 'prompt_embeddings';
/** The slot's name at the root of a model; what its parameters are called begins with it. */
export const PROMPT_SLOT = 'prompt_encoder';

interface Attached {
  readonly plan: PlannedPrompt;
  readonly held: readonly AttachedParameter[];
}

/** What a parameter of an encoder is called in prompt_encoder.safetensors. */
export const encoderName = (key: string): string => `${PROMPT_SLOT}.${key}`;

/** What is there of an adapter whose file has no encoder: the virtual tokens, under that name. */
export const withoutEncoder = (plan: PlannedPrompt): PlannedPrompt =>
  plan.encoder === null
    ? plan
    : {
        ...plan,
        encoder: null,
        parameters: [
          {
            path: PROMPT_SLOT,
            name: PROMPT_EMBEDDINGS,
            key: PROMPT_EMBEDDINGS,
            fileName: PROMPT_EMBEDDINGS,
            shape: plan.shape,
            init: 'zeros',
            isTrained: true,
            isShared: false,
          },
        ],
      };

/**
 * Where adapters have their virtual tokens: at the root of the model, as
 * `prompt_encoder.<adapter>.embedding.weight`.
 */
export class PromptSlot extends AdapterPart {
  readonly path = PROMPT_SLOT;
  readonly #attached = new Map<string, Attached>();

  private constructor(
    private readonly engine: Engine,
    private readonly root: Module,
    private readonly state: AdapterSwitch,
  ) {
    super();
  }

  /** The slot of a model, null without one. */
  static of(root: Module): PromptSlot | null {
    const found = root.children.get(PROMPT_SLOT);
    return found instanceof PromptSlot ? found : null;
  }

  /** The slot of a model, made when there is none. */
  static on(engine: Engine, root: Module, state: AdapterSwitch): PromptSlot {
    const found = PromptSlot.of(root);
    if (found) return found;
    const made = new PromptSlot(engine, root, state);
    root.attach(PROMPT_SLOT, made);
    return made;
  }

  /** Takes the slot out of its model. */
  remove(): void {
    this.root.detach(PROMPT_SLOT);
  }

  addAdapter(adapter: string, plan: PlannedPrompt, given: Given): void {
    for (const planned of plan.parameters) {
      const value = given(planned) ?? initialised(this.engine, planned, undefined, this.#embed);
      this.hold(adapter, planned, value);
    }
    this.#attached.set(adapter, { plan, held: this.heldBy(adapter) });
  }

  protected override treeName(adapter: string, { key }: PlannedParameter): string {
    return `${adapter}.${key}`;
  }

  /** Computes and writes first values that take the host. */
  async start(adapter: string, isNew: boolean): Promise<void> {
    const attached = this.#attached.get(adapter);
    const { method, config } = attached?.plan ?? {};
    const starting = isNew && config && method?.prompt.start?.(config);
    if (!attached || !starting) return;
    const values = await starting;
    if (this.#attached.get(adapter) !== attached) return;
    for (const [name, ids] of Object.entries(values)) {
      const { tensor } = attached.held.find((own) => own.name === name)!.parameter;
      this.engine.noGrad(() =>
        this.engine.scope('first values', () => {
          ops.assign(tensor, this.#embed(ids));
        }),
      );
    }
  }

  /** How many virtual tokens are given now. */
  get count(): number {
    return this.#computing?.plan.shape[0] ?? 0;
  }

  /** As what they are given now; null: there are none. */
  get gives(): GivenAs | null {
    return this.#computing?.plan.gives ?? null;
  }

  /** What is given now. Records ops. */
  virtualTokens(): VirtualTokens | null {
    const attached = this.#computing;
    if (!attached) return null;
    const { gives, heads, shape } = attached.plan;
    const [count] = shape;
    const given = this.#given(attached);
    if (gives === 'embeddings') return { count, embeddings: given };
    const { layers, kvHeads, headDim } = heads;
    const all = given.reshape(count, 2 * layers, kvHeads, headDim);
    const part = (i: number) => all.slice(1, i, i + 1).reshape(count, kvHeads, headDim);
    const ofLayer = (i: number): KeyValues => ({ keys: part(2 * i), values: part(2 * i + 1) });
    return { count, layers: Array.from({ length: layers }, (_, i) => ofLayer(i)) };
  }

  /** The virtual tokens of an adapter with an encoder, for its file: what the encoder gives. */
  made(adapter: string): {
    shape: readonly number[];
    tensor: { data(): Promise<ArrayLike<number>> };
  } {
    const attached = this.#attached.get(adapter)!;
    const { engine } = this;
    const data = async () => {
      const tensor = engine.noGrad(() =>
        engine.scope('virtual tokens', () => engine.keep(this.#given(attached, false).mul(1))),
      );
      const values = await tensor.data();
      tensor.dispose();
      return values;
    };
    return { shape: attached.plan.shape, tensor: { data } };
  }

  /** [V, width] */
  #given({ plan: { encoder }, held }: Attached, training = this.training): Tensor {
    const tensors = tensorsOf(held);
    if (!encoder) return Object.values(tensors)[0]!;
    return this.engine.scope('virtual tokens', () =>
      encoder(tensors, {
        training,
        dropout: (x, p) => (training ? ops.dropout(x, p) : x),
      }),
    );
  }

  get #computing(): Attached | undefined {
    return this.state.computing
      .map((adapter) => this.#attached.get(adapter))
      .find((attached) => attached !== undefined);
  }

  /** What the model's embedding gives, [n, hidden]. */
  readonly #embed = (ids: readonly number[]): Tensor => {
    for (const [, module] of baseModules(this.root)) {
      const found = original(module);
      if (found instanceof Embedding)
        return found.forward(this.engine.tensor(ids, [ids.length], 'int32'));
    }
    throw new AttuneError(
      'PEFT_NO_TARGET',
      'virtual tokens shall start as embeddings of tokens, but the model has no Embedding.',
      { remedy: 'Start them at random: promptTuningInit: "RANDOM".' },
    );
  };

  override removeAdapter(adapter: string): void {
    super.removeAdapter(adapter);
    this.#attached.delete(adapter);
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    const found = adapters.find((adapter) => this.#attached.has(adapter));
    if (found === undefined) return [];
    throw new AttuneError(
      'PEFT_NOT_MERGEABLE',
      `${this.#attached.get(found)!.plan.method.peftType} adapters cannot be merged: virtual tokens are part of the input, not of any weight.`,
      { remedy: 'Keep the adapter beside the base model.' },
    );
  }
}

/** Whether names are those of an encoder. */
export const isEncoderIn = (names: Iterable<string>): boolean =>
  [...names].some((name) => name.startsWith(`${PROMPT_SLOT}.`));
