import { z } from 'zod';
import { dynamicMap } from '../quant/codeMaps.js';
import type { Engine } from '../tensor/engine.js';
import { adamw8bit, MOMENT_BLOCK } from '../tensor/ops/adamw8bit.js';
import { numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AdamWOptions, adamwRule } from './adamw.js';
import type { NamedParameter } from './arena.js';
import { ArenaOptimizer, type UpdateRule } from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import type { ParameterGroup } from './parameterGroups.js';

export interface AdamW8bitOptions extends AdamWOptions {
  /** Elements of a parameter below which its moments stay float32. Default 4096. */
  readonly min8bitSize?: number;
}

/** Codes, scales, maps; of small parameters the two moments. */
type State =
  | { readonly codes: Tensor; readonly absmax: Tensor; readonly maps: Tensor }
  | readonly [Tensor, Tensor];

const MIN_SIZE = 4096;

/**
 * AdamW with 8-bit moments (Dettmers et al. 2022, arXiv:2110.02861), as bitsandbytes: between the updates a
 * moment is a code of 8 bits in a dynamic map and a float32 scale for each 256 elements: 2.03 bytes a
 * parameter instead of 8. The update itself is AdamW's, in float32, with the moments before rounding.
 *
 * Parameters of fewer than 4096 elements (norms, biases) keep float32 moments, and so do tables of
 * embeddings, as in transformers' Trainer.
 */
export class AdamW8bit extends ArenaOptimizer<State> {
  /** @throws OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: AdamW8bitOptions = {}) {
    const { min8bitSize = MIN_SIZE } = options;
    const isLarge = ({ parameter, isEmbedding }: NamedParameter) =>
      parameter.size >= min8bitSize && !isEmbedding;
    const split = groups.flatMap(({ parameters, ...group }) =>
      [true, false].map((large) => ({
        ...group,
        parameters: parameters.filter((named) => isLarge(named) === large),
      })),
    );
    super(engine, split, adamw8bitRule(options, isLarge), options);
  }
}

function adamw8bitRule(
  options: AdamW8bitOptions,
  isLarge: (named: NamedParameter) => boolean,
): UpdateRule<State> {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = options;
  const small = adamwRule(options);
  return {
    block: MOMENT_BLOCK,
    init: (engine, chunk) => {
      if (!isLarge(chunk.slots[0]!)) return small.init(engine, chunk) as unknown as State;
      const { length } = chunk;
      return {
        codes: engine.keep(engine.zeros([length / 2], 'uint32')),
        absmax: engine.keep(engine.zeros([(2 * length) / MOMENT_BLOCK])),
        maps: engine.keep(engine.tensor([...dynamicMap(), ...dynamicMap({ signed: false })])),
      };
    },
    update: (chunk, state, numbers) => {
      if ('length' in state) return small.update(chunk, state, numbers);
      const { values, grads, weightDecay } = chunk;
      const { lr, step, clip } = numbers;
      adamw8bit({ parameter: values, ...state }, grads, clip, {
        lr,
        beta1,
        beta2,
        eps,
        weightDecay,
        biasCorrection1: 1 - beta1 ** step,
        biasCorrection2: 1 - beta2 ** step,
      });
    },
    tensors: (state) => ('length' in state ? state : [state.codes, state.absmax, state.maps]),
    arrays: (chunk, state) => {
      if ('length' in state) return small.arrays(chunk, state);
      const { codes, absmax } = state;
      return chunk.slots.flatMap(({ name, parameter: { shape, size }, offset }) =>
        [0, 1].flatMap((which) => {
          const at = which * chunk.length + offset;
          return [
            {
              name: `state${which + 1}.${name}`,
              dtype: 'U8' as const,
              shape,
              flat: codes,
              byteOffset: at,
            },
            {
              name: `absmax${which + 1}.${name}`,
              dtype: 'float32' as const,
              shape: [Math.ceil(size / MOMENT_BLOCK)],
              flat: absmax,
              byteOffset: (4 * at) / MOMENT_BLOCK,
            },
          ];
        }),
      );
    },
  };
}

/** `optim: "adamw_bnb_8bit"`, with adamBeta1, adamBeta2, adamEpsilon. */
export const adamw8bitDefinition = defineOptimizer({
  name: 'adamw_bnb_8bit',
  options: z.strictObject({}),
  stateBytes: (shape) => {
    const size = numel(shape);
    return size < MIN_SIZE ? 8 * size : 2 * size + 8 * Math.ceil(size / MOMENT_BLOCK);
  },
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new AdamW8bit(engine, groups, { beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon }),
});
