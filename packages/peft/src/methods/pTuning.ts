import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import type { ParamSpecs } from '../contract/paramSpec.js';
import { type VirtualTokenConfig, virtualTokenOptions } from '../contract/virtualTokenConfig.js';
import { bidirectionalLstm, lstmParams } from './prompt/bidirectionalLstm.js';
import { linearOf, linearParams } from './prompt/linearParams.js';

const own = {
  /**
   * What makes the virtual tokens: three linear layers, or a bidirectional LSTM and two. Default
   * "MLP".
   */
  encoderReparameterizationType: z.enum(['MLP', 'LSTM']).default('MLP'),
  /**
   * Width between the layers, or of one direction of the LSTM. Default: the model's hidden size.
   */
  encoderHiddenSize: z.int().min(1).nullable().default(null).meta({ aka: 'hiddensize' }),
  /** Layers of the LSTM; the MLP has its three. Default 2. */
  encoderNumLayers: z.int().min(1).default(2),
  /** Dropout between the layers of the LSTM, while training. Default 0. */
  encoderDropout: z.number().min(0).lt(1).default(0),
};

const config = virtualTokenOptions.extend(own);

/** What a user may write for P-tuning. Names and defaults are PEFT's. */
export interface PTuningConfig extends VirtualTokenConfig, OptionsInput<typeof own> {
  /** P-tuning: a small network makes the virtual tokens before those of every row. */
  readonly peftType: 'P_TUNING';
}

/**
 * P-tuning (v1): prompt tuning whose V virtual tokens a small network makes of learned vectors E
 * [V, D],
 *
 *     MLP:  W3 relu(W2 relu(W1 E + b1) + b2) + b3
 *     LSTM: W2 relu(W1 lstm(E) + b1) + b2, the LSTM reading E in both directions
 *
 * D being the hidden size. Files have what it makes, [V, D]: for use the network is gone. Step 0 is
 * not the base.
 *
 * @see arXiv:2103.10385 (Liu et al., "GPT Understands, Too"), section 3. As in PEFT all virtual
 *   tokens stand at the front. P-tuning v2 is PREFIX_TUNING.
 */
export const pTuning = definePeftMethod({
  peftType: 'P_TUNING',
  config,
  resolve: (options, { hiddenSize }) => ({
    ...options,
    encoderHiddenSize: options.encoderHiddenSize ?? hiddenSize,
  }),
  prompt: {
    gives: 'embeddings',
    params: (options, { hiddenSize }): ParamSpecs => {
      const { numVirtualTokens, encoderHiddenSize, encoderNumLayers: numLayers } = options;
      const size = encoderHiddenSize!;
      const embedding = { shape: [numVirtualTokens, hiddenSize], init: { normal: 1 } };
      if (options.encoderReparameterizationType === 'MLP')
        return {
          'embedding.weight': embedding,
          ...linearParams('mlp_head.0', hiddenSize, size),
          ...linearParams('mlp_head.2', size, size),
          ...linearParams('mlp_head.4', size, hiddenSize),
        };
      const sizes = { inputSize: hiddenSize, hiddenSize: size, numLayers };
      return {
        'embedding.weight': embedding,
        ...lstmParams('lstm_head', sizes),
        ...linearParams('mlp_head.0', 2 * size, 2 * size),
        ...linearParams('mlp_head.2', 2 * size, hiddenSize),
      };
    },
    encoder:
      (options) =>
      (p, { dropout }) => {
        const embedding = p['embedding.weight']!;
        if (options.encoderReparameterizationType === 'MLP') {
          const first = linearOf(embedding, p, 'mlp_head.0').relu(); // [V, size]
          return linearOf(linearOf(first, p, 'mlp_head.2').relu(), p, 'mlp_head.4');
        }
        const sizes = {
          inputSize: options.tokenDim!,
          hiddenSize: options.encoderHiddenSize!,
          numLayers: options.encoderNumLayers,
        };
        const between = (x: typeof embedding) => dropout(x, options.encoderDropout);
        const read = bidirectionalLstm(embedding, p, 'lstm_head', sizes, between); // [V, 2 size]
        return linearOf(linearOf(read, p, 'mlp_head.0').relu(), p, 'mlp_head.2');
      },
  },
});
