import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { BaseModel } from './baseModel.js';
import type { PeftConfigBase } from './config.js';
import type { GivenAs } from './methodKinds.js';

const fact = z.int().min(1).nullable().default(null);

const virtualTokenShape = {
  /**
   * V, how many virtual tokens stand before every row. They take positions. Usual 8-100. No
   * default.
   */
  numVirtualTokens: z
    .int()
    .min(1)
    .meta({ aka: 'virtualtokens numtokens prefixlength promptlength' }),
  /**
   * Written to files. Default, and the only value: the model's hidden size, or features of a key of
   * all heads (prefix tuning).
   */
  tokenDim: fact,
  /**
   * Written to files. Default, and the only value: the model's heads, or key-value heads (prefix
   * tuning).
   */
  numAttentionHeads: fact,
  /** Written to files. Default, and the only value: the model's layers. */
  numLayers: fact,
  /**
   * Written to files. Default, and the only value: 1, since models here have one stack of layers.
   */
  numTransformerSubmodules: z.literal(1).nullable().default(null),
};

/**
 * The options of every method that gives virtual tokens: a part of its `config`. Those that follow
 * from the model are filled in.
 */
export const virtualTokenOptions = z.object(virtualTokenShape);

/** What a user may write for any method that gives virtual tokens. Names are PEFT's. */
export type VirtualTokenConfig = OptionsInput<typeof virtualTokenShape> &
  Pick<
    PeftConfigBase,
    'modulesToSave' | 'taskType' | 'baseModelNameOrPath' | 'revision' | 'inferenceMode'
  >;

/** Numbers of one virtual token: what `prompt_embeddings` in files has in a row. */
export function widthOf(gives: GivenAs, base: BaseModel): number {
  if (gives === 'embeddings') return base.hiddenSize;
  return base.numHiddenLayers * 2 * base.numKeyValueHeads * base.headDim;
}
