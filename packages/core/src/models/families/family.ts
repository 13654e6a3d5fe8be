import type { z } from 'zod';
import type { DType } from '../../backend/dtype.js';
import { type ExtensionPoint, extensionPoint } from '../../di/extensionPoint.js';
import { parseConfig, type RawConfig } from '../../io/hfConfig.js';
import type { CausalDecoder } from '../../nn/decoder.js';
import type { Engine } from '../../tensor/engine.js';
import { AttuneError } from '../../util/errors.js';
import type { ModelConfig } from '../languageModel.js';
import { baseConfig } from './baseConfig.js';

/** How a family builds a model. */
export interface BuildOptions {
  /** Storage of the weights. */
  readonly dtype: DType;
  /** false: the model gets another head than `lm_head`, so none need be made. Default true. */
  readonly outputHead?: boolean;
}

/** What `ModelConfig` says of a model, but what is the same for every family. */
export type ModelFacts = Omit<ModelConfig, 'modelType' | 'raw' | 'generation' | 'sources'>;

/** An architecture as the SDK uses it. {@link defineModelFamily} makes one. */
export interface ModelFamily {
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Names in checkpoints that the model does without. */
  readonly ignoredWeights: readonly RegExp[];
  /** A tensor's name in a checkpoint -> its name in the model. Default: the same. */
  nameInModel?(name: string): string;
  /**
   * Checks a config.json.
   *
   * @throws CONFIG_INVALID naming the key, what was found, what is allowed
   */
  describe(raw: RawConfig, where: string): ModelFacts;
  /** The module tree, named as in the checkpoint; contents undefined until loaded. */
  build(engine: Engine, raw: RawConfig, options: BuildOptions): CausalDecoder;
}

/** What `defineModelFamily` takes: the config of a family, and how it builds a model. */
export interface ModelFamilyDefinition<S extends z.ZodType> {
  readonly modelType: string;
  /** The keys of config.json (snake_case) that this family reads, with its defaults. */
  readonly config: S;
  /** Only where the config names its sizes otherwise than Llama's does (GPT-2's `n_embd`). */
  readonly facts?: (config: z.output<S>) => Partial<ModelFacts>;
  build(engine: Engine, config: z.output<S>, options: BuildOptions): CausalDecoder;
  /** Default: none. */
  readonly ignoredWeights?: readonly RegExp[];
}

/**
 * Makes an architecture of the schema of its config.json and the function that builds it from
 * blocks.
 *
 * @example context.add(ModelFamilies, defineModelFamily({ modelType: 'llama', config, build }))
 */
export function defineModelFamily<S extends z.ZodType>(
  definition: ModelFamilyDefinition<S>,
): ModelFamily {
  return {
    modelType: definition.modelType,
    ignoredWeights: definition.ignoredWeights ?? [],
    describe: (raw, where) => {
      const config = parseConfig(definition.config, raw, where);
      const known = definition.facts?.(config) ?? {};
      return { ...baseConfig({ ...raw, ...(config as object) }, known, where), ...known };
    },
    build: (engine, raw, options) => {
      checkLayers(raw);
      return definition.build(engine, parseConfig(definition.config, raw, 'config.json'), options);
    },
  };
}

/** No model has a tenth of it, and each layer is made one by one. */
const MAX_LAYERS = 10_000;

function checkLayers(raw: RawConfig): void {
  for (const key of ['num_hidden_layers', 'n_layer']) {
    const layers = raw[key];
    if (typeof layers === 'number' && layers > MAX_LAYERS)
      throw new AttuneError('CONFIG_INVALID', `config.json: ${key} is ${layers}.`, {
        remedy: `Give the number of layers that the model has; at most ${MAX_LAYERS} are made.`,
      });
  }
}

/** Architectures that `AutoModelForCausalLM` can load, by `model_type`. */
export const ModelFamilies: ExtensionPoint<ModelFamily> = extensionPoint(
  'model family',
  (family) => family.modelType,
);
