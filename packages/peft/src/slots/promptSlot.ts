import {
  AttuneError,
  Embedding,
  type Engine,
  type KeyValues,
  type Module,
  ops,
  type Parameter,
  type Tensor,
  type VirtualTokens,
} from '@attune/core';
import type { PeftConfig } from '../contract/config.js';
import type {
  GivenAs,
  ParamSpecs,
  PeftMethod,
  PromptEncoder,
} from '../contract/definePeftMethod.js';
import {
  AdapterPart,
  type AdapterSwitch,
  baseModules,
  type Folded,
  original,
} from './adapterSlot.js';
import { initialised } from './initialised.js';

/** What the virtual tokens of an adapter are called in its file, [V, width]. */
export const PROMPT_EMBEDDINGS = 'prompt_embeddings';
/** The slot's name at the root of a model; what its parameters are called begins with it. */
const SLOT = 'prompt_encoder';

/** Virtual tokens as a config means them on one model. */
export interface PlannedPrompt {
  readonly gives: GivenAs;
  /** Of the encoder; without one, of the virtual tokens themselves. */
  readonly specs: ParamSpecs;
  readonly encoder: PromptEncoder | null;
  /** [V, width] */
  readonly shape: readonly [number, number];
  /** Of one key or value in the layers: `keyValues` are [V, layers, 2, kvHeads, headDim]. */
  readonly heads: { readonly layers: number; readonly kvHeads: number; readonly headDim: number };
}

interface Attached {
  readonly method: PeftMethod;
  readonly config: PeftConfig;
  readonly plan: PlannedPrompt;
  /** null: the one parameter is the virtual tokens. */
  readonly encoder: PromptEncoder | null;
  /** By the names that the method uses. */
  readonly parameters: ReadonlyMap<string, Parameter>;
  /** The same by their names in files. */
  readonly byFileName: ReadonlyMap<string, Parameter>;
  readonly treeNames: readonly string[];
}

/** What a parameter of an encoder is called in prompt_encoder.safetensors. */
export const encoderName = (name: string, { key = name }: { readonly key?: string }): string =>
  `${SLOT}.${key}`;

/** Where adapters have their virtual tokens: at the root of the model, as `prompt_encoder.<adapter>.embedding.weight`. */
export class PromptSlot extends AdapterPart {
  readonly path = SLOT;
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
    const found = root.children.get(SLOT);
    return found instanceof PromptSlot ? found : null;
  }

  /** The slot of a model, made when there is none. */
  static on(engine: Engine, root: Module, state: AdapterSwitch): PromptSlot {
    const found = PromptSlot.of(root);
    if (found) return found;
    const made = new PromptSlot(engine, root, state);
    root.attach(SLOT, made);
    return made;
  }

  /** Takes the slot out of its model. */
  remove(): void {
    this.root.detach(SLOT);
  }

  /**
   * @param values tensors from files by their names: of the encoder, or `prompt_embeddings`, which are then what is
   *   computed with; without, they start as the method says
   */
  addAdapter(
    adapter: string,
    method: PeftMethod,
    config: PeftConfig,
    plan: PlannedPrompt,
    values?: ReadonlyMap<string, Tensor>,
  ): void {
    const isWhole = !values || isEncoderIn(values.keys());
    const encoder = isWhole ? plan.encoder : null;
    // Without its encoder there are the virtual tokens alone, under the method's name for them where it has one.
    const specs: ParamSpecs =
      isWhole || !plan.encoder
        ? plan.specs
        : { [PROMPT_EMBEDDINGS]: { shape: plan.shape, init: 'zeros' } };
    const parameters = new Map<string, Parameter>();
    const byFileName = new Map<string, Parameter>();
    const treeNames: string[] = [];
    for (const [name, spec] of Object.entries(specs)) {
      const fileName = encoder ? encoderName(name, spec) : PROMPT_EMBEDDINGS;
      const treeName = `${adapter}.${spec.key ?? name}`;
      const value = values?.get(fileName) ?? initialised(this.engine, spec, undefined, this.#embed);
      const parameter = this.addParameter(treeName, value);
      parameters.set(name, parameter);
      byFileName.set(fileName, parameter);
      treeNames.push(treeName);
    }
    this.#attached.set(adapter, {
      method,
      config,
      plan,
      encoder,
      parameters,
      byFileName,
      treeNames,
    });
  }

  /** Computes and writes first values that take the host. */
  async start(adapter: string, isNew: boolean): Promise<void> {
    const attached = this.#attached.get(adapter);
    const starting = isNew && attached?.method.prompt?.start?.(attached.config);
    if (!attached || !starting) return;
    const values = await starting;
    if (this.#attached.get(adapter) !== attached) return;
    for (const [name, ids] of Object.entries(values)) {
      const { tensor } = attached.parameters.get(name)!;
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
  #given({ encoder, parameters }: Attached, training = this.training): Tensor {
    const tensors = Object.fromEntries([...parameters].map(([name, p]) => [name, p.tensor]));
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

  override parametersOf(adapter: string): ReadonlyMap<string, Parameter> {
    return this.#attached.get(adapter)?.byFileName ?? new Map();
  }

  override removeAdapter(adapter: string): void {
    for (const name of this.#attached.get(adapter)?.treeNames ?? []) this.removeParameter(name);
    this.#attached.delete(adapter);
  }

  override folded(adapters: readonly string[]): readonly Folded[] {
    const found = adapters.find((adapter) => this.#attached.has(adapter));
    if (found === undefined) return [];
    throw new AttuneError(
      'PEFT_NOT_MERGEABLE',
      `${this.#attached.get(found)!.method.peftType} adapters cannot be merged: virtual tokens are part of the input, not of any weight.`,
      { remedy: 'Keep the adapter beside the base model.' },
    );
  }
}

/** Whether names are those of an encoder. */
export const isEncoderIn = (names: Iterable<string>): boolean =>
  [...names].some((name) => name.startsWith(`${SLOT}.`));
