import { z } from 'zod';
import type { DType } from '../../backend/dtype.js';
import type { RawConfig } from '../../io/hfConfig.js';
import type { CausalDecoder } from '../../nn/decoder.js';
import type { InitOptions } from '../../nn/init.js';
import type { Parameter } from '../../nn/module.js';
import type { Engine } from '../../tensor/engine.js';
import type { OptionsInput } from '../../util/options.js';
import type { DecoderModel, DecoderModelParts } from '../decoderModel.js';
import type { ModelConfig } from '../languageModel.js';

/** What a head is built with. */
export interface HeadContext {
  readonly engine: Engine;
  /** As `configure` made it. */
  readonly config: ModelConfig;
  /** Storage of the weights. */
  readonly dtype: DType;
}

/**
 * What stands on a decoder, and what the model is then: its modules, its tensors in files, its
 * class, which says what it is for (`taskType`). One loader (`autoModel`) serves them all. Heads of
 * core: `causalLmHead`, `classifierHead`, `valueHead`.
 */
export interface HeadDefinition<
  Model extends DecoderModel = DecoderModel,
  Options extends object = object,
> {
  /** For messages: "classifier". */
  readonly name: string;
  /**
   * Options of `fromPretrained` and `fromConfig` beside those that every model has. Default: none.
   */
  readonly options?: z.ZodObject;
  /**
   * Whether the layer over the vocabulary stays: loaded, and tied as the files have it. Else it is
   * left out, and passed over in files.
   */
  readonly keepsOutputLayer: boolean;
  /**
   * Names of the head's own tensors, in the model and in files. A file may lack them: then they
   * start anew. Default: none.
   */
  readonly ownTensors?: readonly string[];
  /**
   * Whether it goes on the text model of one with other towers (images) beside it. Default false:
   * refused.
   */
  readonly withOtherTowers?: boolean;
  /**
   * config.json as the model has it, from what was read and what was asked for. Default: as it was
   * read.
   */
  configure?(raw: RawConfig, options: Options, where: string): RawConfig;
  /**
   * Puts the head on a decoder, which is quantised by then if it is to be. Default: the decoder as
   * it is.
   *
   * @returns the root of the model's modules
   */
  attach?(decoder: CausalDecoder, context: HeadContext): CausalDecoder;
  /**
   * First values of one of `ownTensors`, where no file has them. Default: N(0, initializer_range²),
   * biases 0.
   */
  initialize?(name: string, parameter: Parameter, options: InitOptions): void;
  /** The model around these modules. */
  create(parts: DecoderModelParts): Model;
}

/** For a head that files may lack. */
const newHeadShape = {
  /** Seed of the head's own tensors, where the checkpoint does not have them. Default 0. */
  seed: z.number().default(0),
};
export const newHeadOptions = z.strictObject(newHeadShape);

/** Options of a head that is drawn anew. */
export type NewHeadOptions = OptionsInput<typeof newHeadShape>;

/** A head, checked by its types. Load models with it through `autoModel`. */
export const defineHead = <Model extends DecoderModel, Options extends object = object>(
  definition: HeadDefinition<Model, Options>,
): HeadDefinition<Model, Options> => definition;
