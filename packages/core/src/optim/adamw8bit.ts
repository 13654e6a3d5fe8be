import { z } from 'zod';
import { dynamicMap } from '../quant/codeMaps.js';
import type { Engine } from '../tensor/engine.js';
import { adamw8bit, MOMENT_BLOCK } from '../tensor/ops/adamw8bit.js';
import type { Tensor } from '../tensor/tensor.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type AdamWOptions, adamwRule, adamwShape } from './adamw.js';
import type { NamedParameter } from './arena.js';
import { ArenaOptimizer, arenaShape } from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import {
  chosenRule,
  type Lane,
  type PageableRule,
  pageable,
  type RuleChoice,
} from './pageableRule.js';
import { PagedOptimizer } from './paged.js';
import type { ParameterGroup } from './parameterGroups.js';

const adamw8bitShape = {
  /** Elements of a parameter below which its moments stay float32. Default 4096. */
  min8bitSize: z.number().min(0).default(4096).meta({ aka: 'minsize' }),
};
const adamw8bitOptions = z.strictObject({ ...adamw8bitShape, ...adamwShape, ...arenaShape });

/** Options of {@link AdamW8bit}, with the defaults of bitsandbytes. */
export type AdamW8bitOptions = OptionsInput<typeof adamw8bitShape> & AdamWOptions;

/** Codes and scales of the first moments, then of the second; the maps of both. */
interface Codes {
  readonly codes: Tensor;
  readonly absmax: Tensor;
  readonly maps: Tensor;
}

const MIN_SIZE = 4096;

/**
 * AdamW with 8-bit moments (Dettmers et al. 2022, arXiv:2110.02861), as bitsandbytes: between the
 * updates a moment is a code of 8 bits in a dynamic map and a float32 scale for each 256 elements:
 * 2.03 bytes a parameter instead of 8. The update itself is AdamW's, in float32, with the moments
 * before rounding.
 *
 * Parameters of fewer than 4096 elements (norms, biases) keep float32 moments, and so do tables of
 * embeddings, as in transformers' Trainer.
 */
export class AdamW8bit extends ArenaOptimizer<unknown> {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: AdamW8bitOptions = {}) {
    const checked = parseOptions(adamw8bitOptions, options, { where: 'AdamW8bit' });
    super(engine, splitBySize(groups, checked), chosenRule(adamw8bitRules(checked)), checked);
  }
}

/** `optim: "paged_adamw_8bit"`: AdamW8bit with its moments in host memory. */
export class PagedAdamW8bit extends PagedOptimizer {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(
    engine: Engine,
    groups: readonly ParameterGroup[],
    options: AdamW8bitOptions = {},
    pageElements?: number,
  ) {
    const checked = parseOptions(adamw8bitOptions, options, { where: 'PagedAdamW8bit' });
    super(engine, splitBySize(groups, checked), adamw8bitRules(checked), pageElements);
  }
}

const isLarge = ({ parameter, isEmbedding }: NamedParameter, minSize = MIN_SIZE): boolean =>
  parameter.size >= minSize && !isEmbedding;

/** What has 8-bit moments and what has not never share a chunk. */
const splitBySize = (
  groups: readonly ParameterGroup[],
  { min8bitSize }: AdamW8bitOptions,
): ParameterGroup[] =>
  groups.flatMap(({ parameters, ...group }) =>
    [true, false].map((large) => ({
      ...group,
      parameters: parameters.filter((named) => isLarge(named, min8bitSize) === large),
    })),
  );

function adamw8bitRules(options: AdamW8bitOptions): RuleChoice {
  const [large, small] = [eightBitRule(options), adamwRule(options)];
  return {
    block: MOMENT_BLOCK,
    ruleOf: ({ slots }) => (isLarge(slots[0]!, options.min8bitSize) ? large : small),
  };
}

function eightBitRule({
  beta1 = 0.9,
  beta2 = 0.999,
  eps = 1e-8,
}: AdamW8bitOptions): PageableRule<Codes> {
  return pageable({
    block: MOMENT_BLOCK,
    init: (engine, { length }) => ({
      codes: engine.keep(engine.zeros([length / 2], 'uint32')),
      absmax: engine.keep(engine.zeros([(2 * length) / MOMENT_BLOCK])),
      maps: engine.keep(engine.tensor([...dynamicMap(), ...dynamicMap({ signed: false })])),
    }),
    part: (engine, { codes, absmax, maps }, length) => ({
      codes: engine.window(codes, 0, [length / 2]),
      absmax: engine.window(absmax, 0, [(2 * length) / MOMENT_BLOCK]),
      maps,
    }),
    lanes: ({ codes, absmax }, length) =>
      [0, 1].flatMap((which): Lane[] => [
        {
          kind: `state${which + 1}`,
          dtype: 'U8',
          block: 1,
          flat: codes,
          byteOffset: which * length,
        },
        {
          kind: `absmax${which + 1}`,
          dtype: 'float32',
          block: MOMENT_BLOCK,
          flat: absmax,
          byteOffset: (4 * which * length) / MOMENT_BLOCK,
        },
      ]),
    update: ({ values, grads, weightDecay }, state, { lr, step, clip }) =>
      adamw8bit({ parameter: values, ...state }, grads, clip, {
        lr,
        beta1,
        beta2,
        eps,
        weightDecay,
        biasCorrection1: 1 - beta1 ** step,
        biasCorrection2: 1 - beta2 ** step,
      }),
    tensors: ({ codes, absmax, maps }) => [codes, absmax, maps],
  });
}

/** `optim: "adamw_bnb_8bit"`, with adamBeta1, adamBeta2, adamEpsilon. */
export const adamw8bitDefinition = defineOptimizer({
  name: 'adamw_bnb_8bit',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new AdamW8bit(engine, groups, { beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon }),
});

/** `optim: "paged_adamw_8bit"`: "adamw_bnb_8bit" with its codes and scales in host memory. */
export const pagedAdamw8bitDefinition = defineOptimizer({
  name: 'paged_adamw_8bit',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new PagedAdamW8bit(engine, groups, { beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon }),
});
