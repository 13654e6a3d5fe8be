import type { Tensor } from '@attune/core';
import type { algebra } from '@attune/core/tensor';
import type { z } from 'zod';
import type { BaseModel } from './baseModel.js';
import type { CommonConfig } from './config.js';
import type { AdapterContext, LayerInfo } from './layerInfo.js';
import type { ParamSpecs, SharedSpecs } from './paramSpec.js';

/** The options of a method, as a zod object. */
export type ConfigSchema = z.ZodObject<z.ZodRawShape>;

/** What a method's functions see: its own options, parsed, beside those of every method. */
export type MethodConfig<C extends ConfigSchema> = z.output<C> & CommonConfig;

type TensorsOf<P extends ParamSpecs> = { readonly [K in keyof P]: Tensor };

/** What a method of any kind says of itself and of its options. */
export interface MethodFacts<C extends ConfigSchema> {
  /** Its name in configs and in adapter_config.json, e.g. "LORA". */
  readonly peftType: string;
  /**
   * Its own options, camelCase (files have them in snake_case). targetModules, modulesToSave, ...
   * come with every method.
   */
  readonly config: C;
  /**
   * Options of every method that this one does not have: refused when given, not written to files.
   */
  readonly without?: readonly (keyof CommonConfig)[];
  /**
   * Options whose defaults depend on the model, filled in. Runs before anything else; files have
   * the result.
   */
  resolve?(config: MethodConfig<C>, base: BaseModel): MethodConfig<C>;
  /**
   * Fields of adapter_config.json (snake_case) that other tools write and this method has no option
   * for, with the values that mean "not used". Written as they are; any other value is refused.
   */
  readonly fileFields?: Readonly<Record<string, unknown>>;
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
  /**
   * Fields of an adapter_config.json, camelCase, before they are checked: what only mattered for
   * first values may go.
   */
  fromFile?(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>;
}

/** What a method of layers may adapt. */
export type Targets = 'linear' | 'linearOrEmbedding' | 'module';

/** A method that adapts layers: LoRA, (IA)3, VeRA, bottleneck adapters. */
export interface LayerPart<
  C extends ConfigSchema,
  P extends ParamSpecs,
  S extends SharedSpecs = Record<never, never>,
> {
  /**
   * What targetModules may name: linear layers (the default), embeddings too, or any module of one
   * input and one output, e.g. `mlp`.
   */
  readonly targets?: Targets;
  /** Which layers are adapted when targetModules is not given, by `model_type`. */
  readonly defaultTargetModules?: Readonly<Record<string, readonly string[]>>;
  /** The options of one layer, e.g. a rank of its own. Default: the same for all. */
  layerConfig?(config: MethodConfig<C>, path: string): MethodConfig<C>;
  /** The parameters that one layer gets. Step 0 must equal the base: choose the inits so. */
  params(layer: LayerInfo, config: MethodConfig<C>): P;
  /**
   * Throws for options that make no sense on a layer. Not asked of adapters from files: they were
   * trained so.
   */
  checkNew?(layer: LayerInfo, config: MethodConfig<C>): void;
  /** Frozen tensors that all adapted layers share; `forward` gets them among `p`. */
  shared?(layers: readonly LayerInfo[], config: MethodConfig<C>): S;
  /**
   * The adapted layer. Records ops; must not wait for the device.
   *
   * @param x [..., in]
   * @param base the layer without this adapter (quantised, or with other adapters, it may be):
   *   [..., in] -> [..., out]
   * @param p the tensors of `params` and `shared`, by name
   * @returns [..., out]
   */
  forward(
    x: Tensor,
    base: (x: Tensor) => Tensor,
    p: TensorsOf<P> & TensorsOf<S>,
    config: MethodConfig<C>,
    context: AdapterContext,
  ): Tensor;
  /**
   * The weight [out, in], float32, that makes the plain layer equal to the adapted one. Absent:
   * cannot be merged.
   */
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
   * First values that take the host: null where there are none. The adapter computes with those of
   * `params` until they come, which should give the same function. Only the frozen ones of a loaded
   * adapter are written.
   *
   * @param weight reads the layer's weight [out, in], float32
   * @returns by the names of `params`
   */
  start?(
    layer: LayerInfo,
    config: MethodConfig<C>,
    weight: () => Promise<algebra.Dense>,
  ): Promise<Readonly<Record<string, algebra.Dense>>> | null;
}

/**
 * A method that trains parameters of the base itself: BitFit, layer selection, full fine-tuning.
 */
export interface SelectionPart<C extends ConfigSchema> {
  /**
   * Names of the base's parameters that the adapter trains. It trains float32 copies, so that the
   * base stays the base when the adapter is off: 4 bytes more for each number.
   */
  select(base: BaseModel, config: MethodConfig<C>): readonly string[];
}

/**
 * `embeddings`: in the place of what the embedding gives for tokens. `keyValues`: keys and values
 * in each layer, which do not turn.
 */
export type GivenAs = 'embeddings' | 'keyValues';

/** Computes virtual tokens [V, width] of the parameters. Records ops. */
export type PromptEncoder<P extends ParamSpecs = ParamSpecs> = (
  p: TensorsOf<P>,
  context: Pick<AdapterContext, 'training' | 'dropout'>,
) => Tensor;

/**
 * Virtual tokens before the tokens of every row, [V, width], V being `numVirtualTokens`. Width is
 * the hidden size, or of keys and values layers * 2 * kvHeads * headDim: of each layer the keys of
 * all heads, then the values.
 *
 * In files there is `prompt_embeddings`, what the encoder gives. Its parameters are in a file of
 * their own, `prompt_encoder.safetensors`, which only training on needs.
 */
export interface VirtualTokenPart<C extends ConfigSchema, P extends ParamSpecs> {
  readonly gives: GivenAs;
  /** What is trained. Without an encoder one parameter, [V, width]. */
  params(config: MethodConfig<C>, base: BaseModel): P;
  /** Makes the virtual tokens of the parameters; absent or null: the one parameter is them. */
  encoder?(config: MethodConfig<C>): PromptEncoder<P> | null;
  /**
   * First values that take the host: null where there are none. Until they come the adapter
   * computes with those of `params`.
   *
   * @returns token ids whose embeddings a parameter starts as, by the names of `params`
   */
  start?(config: MethodConfig<C>): Promise<Readonly<Record<string, readonly number[]>>> | null;
}

/** A method that puts virtual tokens before the rows: prompt tuning, P-tuning, prefix tuning. */
export interface PromptPart<C extends ConfigSchema, P extends ParamSpecs> {
  /**
   * Virtual tokens. `config` must have the `virtualTokenOptions`; targetModules and the other
   * options of layers do not come with it. It cannot be merged, and one is active at a time.
   */
  readonly prompt: VirtualTokenPart<C, P>;
}

/** Adapts layers. The types of its options are erased, as in the two below. */
export interface LayerMethod
  extends MethodFacts<ConfigSchema>,
    LayerPart<ConfigSchema, ParamSpecs, SharedSpecs> {
  readonly kind: 'layers';
}

/** Trains copies of parameters of the base. */
export interface SelectionMethod extends MethodFacts<ConfigSchema>, SelectionPart<ConfigSchema> {
  readonly kind: 'selection';
}

/** Puts virtual tokens before the rows. */
export interface PromptMethod
  extends MethodFacts<ConfigSchema>,
    PromptPart<ConfigSchema, ParamSpecs> {
  readonly kind: 'prompt';
}

/** A PEFT method as the rest of the package handles it: one of three kinds. */
export type PeftMethod = LayerMethod | SelectionMethod | PromptMethod;
