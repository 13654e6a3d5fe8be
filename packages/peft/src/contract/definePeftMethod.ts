import { AttuneError, type algebra, type Rng, type Tensor } from '@attune/core';
import type { z } from 'zod';
import type { CommonConfig } from './config.js';

/**
 * How a new parameter starts.
 *
 * `kaimingUniform` is PyTorch's default for a linear layer, kaiming_uniform(a = sqrt 5): uniform in
 * +-1/sqrt(fan in), the fan in being the last dimension. `uniform` is the bound, `normal` the
 * standard deviation; both have mean 0. Draws come from the engine's seed. `values` makes the values itself, row-major, with
 * that seed's random numbers or without.
 */
export type Init =
  | 'zeros'
  | 'ones'
  | 'kaimingUniform'
  | { readonly constant: number }
  | { readonly uniform: number }
  | { readonly normal: number }
  | { readonly values: (rng: Rng) => Float32Array }
  | {
      /** Of virtual tokens: what the model's embedding gives for these ids. `uniform` draws from [0, 1). */
      readonly tokens: (uniform: () => number) => readonly number[];
    }
  | {
      /**
       * Computed from the layer's weight [out, in], float32 (dequantised, if it is held so), and the parameters
       * listed before. Records ops, without history.
       */
      readonly fromBase: (weight: Tensor, before: Readonly<Record<string, Tensor>>) => Tensor;
    };

/** One trainable tensor that a method adds to a layer: float32, whatever the base is stored in. */
export interface ParamSpec {
  readonly shape: readonly number[];
  readonly init: Init;
  /**
   * Its name in adapter_model.safetensors, after the layer's path, e.g. `lora_A.weight`. The model
   * tree has the adapter's name after the first part: `lora_A.default.weight`. Default: the name here.
   */
  readonly key?: string;
  /** Not trained and not in files: made anew, by `init` or `start`, when the adapter is loaded. Default false. */
  readonly frozen?: boolean;
}

export type ParamSpecs = Readonly<Record<string, ParamSpec>>;

/** A frozen tensor that all layers of an adapter read: there is one of it in memory. Its `key` has no layer's path before it. */
export interface SharedSpec extends ParamSpec {
  /** Whether it is in adapter_model.safetensors; else it starts anew when the adapter is loaded. Default true. */
  readonly saved?: boolean;
}

export type SharedSpecs = Readonly<Record<string, SharedSpec>>;

/** The layer that is adapted: all that `params` may depend on. */
export interface LayerInfo {
  /** e.g. `model.layers.0.self_attn.q_proj` */
  readonly path: string;
  /** Of modules that are no linear layers (`targets: 'module'`): the model's hidden size, as outFeatures. */
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly hasBias: boolean;
  /** Of an embedding, which is given ids: inFeatures is the size of its table, the weight [out, in] its transpose. */
  readonly embedding?: {
    /** What it multiplies its rows by, e.g. sqrt(hidden) in Gemma. */
    readonly scale: number;
    /** The row that looking up does not train, of the adapter neither: that of the padding token; null: none. */
    readonly paddingIdx: number | null;
    /** The output head multiplies with its weight. */
    readonly tied: boolean;
  };
}

export interface AdapterContext {
  readonly layer: LayerInfo;
  /** True while training. */
  readonly training: boolean;
  /** Zeroes elements with probability p and scales the rest by 1/(1-p); while not training, x itself. */
  dropout(x: Tensor, p: number): Tensor;
  /** The layer's own weight [out, in], float32, without any adapter; dequantised anew each time, if it is held so. */
  baseWeight(): Tensor;
  /** The bias that the layer adds now, a trained one included; null: none. */
  baseBias(): Tensor | null;
}

/** A parameter of the base model, or a weight that it holds quantised. */
export interface BaseParameter {
  /** As in its checkpoint: `model.layers.0.self_attn.q_proj.bias`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Held in 4 or 8 bits: cannot be trained. */
  readonly isQuantized: boolean;
}

/** The model that an adapter is for. */
export interface BaseModel {
  /** Of config.json, e.g. "llama". */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** The output head is the embedding. */
  readonly tieWordEmbeddings: boolean;
  readonly parameters: readonly BaseParameter[];
}

/** What a method may adapt. */
export type Targets = 'linear' | 'linearOrEmbedding' | 'module';

export type ConfigSchema = z.ZodObject<z.ZodRawShape>;

/** What a method's functions see: its own options, parsed, beside those of every method. */
export type MethodConfig<C extends ConfigSchema> = z.output<C> & CommonConfig;

type TensorsOf<P extends ParamSpecs> = { readonly [K in keyof P]: Tensor };

/** `embeddings`: in the place of what the embedding gives for tokens. `keyValues`: keys and values in each layer, which do not turn. */
export type GivenAs = 'embeddings' | 'keyValues';

/** Computes virtual tokens [V, width] of the parameters. Records ops. */
export type PromptEncoder<P extends ParamSpecs = ParamSpecs> = (
  p: TensorsOf<P>,
  context: Pick<AdapterContext, 'training' | 'dropout'>,
) => Tensor;

/**
 * Virtual tokens before the tokens of every row, [V, width], V being `numVirtualTokens`. Width is the hidden size, or of keys
 * and values layers * 2 * kvHeads * headDim: of each layer the keys of all heads, then the values.
 *
 * In files there is `prompt_embeddings`, what the encoder gives. Its parameters are in a file of their own,
 * `prompt_encoder.safetensors`, which only training on needs.
 */
export interface VirtualTokenPart<C extends ConfigSchema, P extends ParamSpecs> {
  readonly gives: GivenAs;
  /** What is trained. Without an encoder one parameter, [V, width]. */
  params(config: MethodConfig<C>, base: BaseModel): P;
  /** Makes the virtual tokens of the parameters; absent or null: the one parameter is them. */
  encoder?(config: MethodConfig<C>): PromptEncoder<P> | null;
  /**
   * First values that take the host: null where there are none. Until they come the adapter computes with those of `params`.
   *
   * @returns token ids whose embeddings a parameter starts as, by the names of `params`
   */
  start?(config: MethodConfig<C>): Promise<Readonly<Record<string, readonly number[]>>> | null;
}

/**
 * A PEFT method as its author writes it: it adapts layers (`params`, `forward`), trains copies of the base's
 * own parameters (`select`), or puts virtual tokens before the rows (`prompt`). See {@link definePeftMethod}.
 */
export interface PeftMethodDefinition<
  C extends ConfigSchema,
  P extends ParamSpecs,
  S extends SharedSpecs = Record<never, never>,
> {
  /** Its name in configs and in adapter_config.json, e.g. "LORA". */
  readonly peftType: string;
  /** Its own options, camelCase (files have them in snake_case). targetModules, modulesToSave, ... come with every method. */
  readonly config: C;
  /** Options of every method that this one does not have: refused when given, not written to files. */
  readonly without?: readonly (keyof CommonConfig)[];
  /** Options whose defaults depend on the model, filled in. Runs before anything else; files have the result. */
  resolve?(config: MethodConfig<C>, base: BaseModel): MethodConfig<C>;
  /** What targetModules may name: linear layers (the default), embeddings too, or any module of one input and one output, e.g. `mlp`. */
  readonly targets?: Targets;
  /** The parameters that one layer gets. Step 0 must equal the base: choose the inits so. */
  params?(layer: LayerInfo, config: MethodConfig<C>): P;
  /** Throws for options that make no sense on a layer. Not asked of adapters from files: they were trained so. */
  checkNew?(layer: LayerInfo, config: MethodConfig<C>): void;
  /** Frozen tensors that all adapted layers share; `forward` gets them among `p`. */
  shared?(layers: readonly LayerInfo[], config: MethodConfig<C>): S;
  /**
   * The adapted layer. Records ops; must not wait for the device.
   *
   * @param x [..., in]
   * @param base the layer without this adapter (quantised, or with other adapters, it may be): [..., in] -> [..., out]
   * @param p the tensors of `params` and `shared`, by name
   * @returns [..., out]
   */
  forward?(
    x: Tensor,
    base: (x: Tensor) => Tensor,
    p: TensorsOf<P> & TensorsOf<S>,
    config: MethodConfig<C>,
    context: AdapterContext,
  ): Tensor;
  /** The weight [out, in], float32, that makes the plain layer equal to the adapted one. Absent: cannot be merged. */
  mergedWeight?(
    weight: Tensor,
    p: TensorsOf<P> & TensorsOf<S>,
    config: MethodConfig<C>,
    context: AdapterContext,
  ): Tensor;
  /** The same for the bias [out], of layers that have one. Absent: the bias stays. */
  mergedBias?(
    bias: Tensor,
    p: TensorsOf<P> & TensorsOf<S>,
    config: MethodConfig<C>,
    context: AdapterContext,
  ): Tensor;
  /**
   * Instead of `params` and `forward`: names of the base's parameters that the adapter trains. It trains float32
   * copies, so that the base stays the base when the adapter is off: 4 bytes more for each number.
   */
  select?(base: BaseModel, config: MethodConfig<C>): readonly string[];
  /**
   * Instead of `params` and `forward`: virtual tokens. `config` must have the `virtualTokenOptions`; targetModules and the
   * other options of layers do not come with it. It cannot be merged, and one is active at a time.
   */
  readonly prompt?: VirtualTokenPart<C, P>;
  /** The options of one layer, e.g. a rank of its own. Default: the same for all. */
  layerConfig?(config: MethodConfig<C>, path: string): MethodConfig<C>;
  /** Which layers are adapted when targetModules is not given, by `model_type`. */
  readonly defaultTargetModules?: Readonly<Record<string, readonly string[]>>;
  /**
   * Fields of adapter_config.json (snake_case) that other tools write and this method has no option
   * for, with the values that mean "not used". Written as they are; any other value is refused.
   */
  readonly fileFields?: Readonly<Record<string, unknown>>;
  /**
   * First values that take the host: null where there are none. The adapter computes with those of `params` until
   * they come, which should give the same function. Of a loaded adapter only frozen ones are written.
   *
   * @param weight reads the layer's weight [out, in], float32
   * @returns by the names of `params`
   */
  start?(
    layer: LayerInfo,
    config: MethodConfig<C>,
    weight: () => Promise<algebra.Dense>,
  ): Promise<Readonly<Record<string, algebra.Dense>>> | null;
  /** Options that only matter while training: they are not written to adapter_config.json. */
  readonly unsaved?: readonly string[];
  /**
   * The factor on the learning rate of something that the adapter trains. Default 1.
   *
   * @param parameter its name in files, after the layer's path too, and its shape
   * @param learningRate what it is a factor on
   */
  lrScale?(
    parameter: { readonly name: string; readonly shape: readonly number[] },
    config: MethodConfig<C>,
    learningRate: number,
  ): number;
  /** Fields of an adapter_config.json, camelCase, before they are checked: what only mattered for first values may go. */
  fromFile?(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

/** A PEFT method as the rest of the package handles it: the types of its options are erased. */
export type PeftMethod = PeftMethodDefinition<ConfigSchema, ParamSpecs, SharedSpecs>;

/**
 * Makes a PEFT method. Everything around it is done once for all methods: matching layers, several
 * adapters, switching, disabling, casting, merging, saving, loading.
 *
 * @example
 * export const channelScale = definePeftMethod({
 *   peftType: 'CHANNEL_SCALE',
 *   config: z.object({ init: z.number().default(1) }),
 *   params: (layer, config) => ({ scale: { shape: [layer.outFeatures], init: { constant: config.init } } }),
 *   forward: (x, base, p) => base(x).mul(p.scale),
 *   mergedWeight: (weight, p) => weight.mul(p.scale.unsqueeze(1)),
 * });
 * @throws PEFT_METHOD_INVALID
 */
export function definePeftMethod<
  C extends ConfigSchema,
  P extends ParamSpecs,
  S extends SharedSpecs = Record<never, never>,
>(method: PeftMethodDefinition<C, P, S>): PeftMethod {
  if (!/^[A-Z][A-Z0-9_]*$/.test(method.peftType))
    throw new AttuneError(
      'PEFT_METHOD_INVALID',
      `definePeftMethod: peftType "${method.peftType}" is not written as PEFT writes them.`,
      { remedy: 'Use capitals, digits and underscores, e.g. "CHANNEL_SCALE".' },
    );
  const adapts = method.params !== undefined && method.forward !== undefined;
  const parts = [method.params, method.forward, method.shared, method.mergedWeight];
  const kinds = [parts.some((part) => part !== undefined), !!method.select, !!method.prompt];
  if (kinds.filter(Boolean).length !== 1 || (kinds[0] && !adapts))
    throw new AttuneError(
      'PEFT_METHOD_INVALID',
      `definePeftMethod: ${method.peftType} must have either params and forward, or select, or prompt.`,
      {
        remedy:
          'params and forward adapt layers; select trains parameters of the base; prompt gives virtual tokens.',
      },
    );
  if (method.prompt && !('numVirtualTokens' in method.config.shape))
    throw new AttuneError(
      'PEFT_METHOD_INVALID',
      `definePeftMethod: ${method.peftType} gives virtual tokens, but its config has no numVirtualTokens.`,
      { remedy: 'config: virtualTokenOptions.extend({ ... })' },
    );
  // Only the method's own functions read these types, and they get what they declared.
  return method as unknown as PeftMethod;
}
