import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import type { ParamSpecs } from '../contract/paramSpec.js';
import {
  type VirtualTokenConfig,
  virtualTokenOptions,
  widthOf,
} from '../contract/virtualTokenConfig.js';
import { linearOf, linearParams } from './prompt/linearParams.js';

const own = {
  /**
   * A network of two layers makes the prefix of fewer numbers: slower, steadier. Default false,
   * which is P-tuning v2.
   */
  prefixProjection: z.boolean().default(false),
  /** Width between the two layers. Default: features of a key of all heads. */
  encoderHiddenSize: z.int().min(1).nullable().default(null).meta({ aka: 'hiddensize' }),
  /**
   * "zero": the prefix starts at 0, so that it only takes a part of the attention. Default null: at
   * random.
   */
  initWeights: z.literal('zero').nullable().default(null),
};

const config = virtualTokenOptions.extend(own);

/** What a user may write for prefix tuning. Names and defaults are PEFT's. */
export interface PrefixTuningConfig extends VirtualTokenConfig, OptionsInput<typeof own> {
  /** Prefix tuning: learned keys and values before those of the tokens, in each layer. */
  readonly peftType: 'PREFIX_TUNING';
}

/**
 * Prefix tuning: in each layer V learned keys and values stand before those of the tokens,
 *
 *     softmax(q [K_prefix; K]^T) [V_prefix; V]
 *
 * P [V, layers * 2 * kvHeads * headDim] holds them. With prefixProjection it is W2 tanh(W1 E + b1)
 * + b2 of E [V, kvHeads * headDim]. Rotary embeddings do not turn the prefix; the tokens have the
 * positions from V on. Step 0 is not the base.
 *
 * @see arXiv:2101.00190 (Li and Liang), section 4; without projection arXiv:2110.07602 (Liu et al.,
 *   P-tuning v2). PEFT refuses it with gradient checkpointing; here they go together.
 */
export const prefixTuning = definePeftMethod({
  peftType: 'PREFIX_TUNING',
  config,
  resolve: (options) => ({
    ...options,
    encoderHiddenSize: options.encoderHiddenSize ?? options.tokenDim,
  }),
  prompt: {
    gives: 'keyValues',
    params: (options, base): ParamSpecs => {
      const { numVirtualTokens, encoderHiddenSize, tokenDim, initWeights } = options;
      const width = widthOf('keyValues', base);
      if (!options.prefixProjection)
        return {
          embedding: {
            shape: [numVirtualTokens, width],
            init: initWeights === 'zero' ? 'zeros' : { normal: 1 },
            key: 'embedding.weight',
          },
        };
      const last = linearParams('transform.2', encoderHiddenSize!, width);
      const zeros = ([name, spec]: [string, (typeof last)[string]]) =>
        [name, { ...spec, init: 'zeros' as const }] as const;
      return {
        'embedding.weight': { shape: [numVirtualTokens, tokenDim!], init: { normal: 1 } },
        ...linearParams('transform.0', tokenDim!, encoderHiddenSize!),
        ...(initWeights === 'zero' ? Object.fromEntries(Object.entries(last).map(zeros)) : last),
      };
    },
    encoder: ({ prefixProjection }) =>
      prefixProjection
        ? (p) => {
            const low = linearOf(p['embedding.weight']!, p, 'transform.0').tanh(); // [V, size]
            return linearOf(low, p, 'transform.2');
          }
        : null,
  },
});
