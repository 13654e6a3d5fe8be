import { AttuneError, type LanguageModel, ops } from '@attune/core';
import { preflightSetting } from '@attune/core/text';
import type { DeviceBatch, HostBatch, LossOutput, Objective } from '@attune/core/training';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { bradleyTerry } from '../losses/bradleyTerry.js';
import { collatePairs } from '../rows/collatePairs.js';
import { type PairExample, pairRows } from '../rows/pairRows.js';
import { mean } from './metrics.js';

/** What a reward model takes beside the arguments of every trainer. */
export const rewardShape = {
  /**
   * Weight of (r_chosen + r_rejected)^2, which keeps rewards around 0; null: none. 0.01 is usual.
   * Default null.
   */
  centerRewardsCoefficient: z.number().min(0).nullable().default(null).meta({ aka: 'center' }),
  /**
   * Which token's state is scored. "length": the last token of the text. "transformers": the last
   * one whose id is not that of padding, as `LlamaForSequenceClassification` has it; where padding
   * is the end token, that is the one before the end. Default "length".
   */
  pooling: z.enum(['length', 'transformers']).default('length'),
  /** Train without dropout, the adapters' too. Default true. */
  disableDropout: z.boolean().default(true),
  /** What is shown and refused before the first step. Default 'on'. */
  preflight: preflightSetting.default('on'),
};

const rewardOptions = z.strictObject({
  ...rewardShape,
  /** Tokens of a text beyond which its row is left out. */
  maxLength: z.number().min(1),
});

/** Options of {@link rewardObjective}. */
export type RewardOptions = OptionsInput<(typeof rewardOptions)['shape']>;

/**
 * A reward model's objective: -log sigmoid(r_w - r_l - margin) of each pair, where r is the one
 * score of a text. Rows are preference pairs, with a `margin` where they have one. Rows with a text
 * of more than `maxLength` tokens are left out. Items are pairs.
 *
 * It logs `accuracy`, `margin` (of the rewards alone), `minReward`, `meanReward`, `maxReward`.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; REWARD_MODEL for a model that does not give one score;
 *   PADDING_UNKNOWN where the pooling of transformers has no id of padding to look for
 */
export function rewardObjective(
  model: LanguageModel,
  options: RewardOptions,
): Objective<PairExample> {
  const checked = parseOptions(rewardOptions, options, { where: 'rewardObjective' });
  const { maxLength, pooling, centerRewardsCoefficient, disableDropout, preflight } = checked;
  if (model.scoring?.numLabels !== 1 || !model.scores)
    throw new AttuneError(
      'REWARD_MODEL',
      model.scoring
        ? `the model gives ${model.scoring.numLabels} scores of a text, and a reward is one.`
        : 'the model gives no score of a text.',
      {
        remedy:
          'Load it with AutoModelForSequenceClassification.fromPretrained(path, { attune, numLabels: 1 }).',
      },
    );
  const padding = pooling === 'transformers' ? paddingOf(model) : null;
  return {
    name: 'reward',
    disableDropout,
    fingerprint: { centerRewardsCoefficient, pooling },
    rows: pairRows({ maxLength, preflight, scored: 'texts' }),
    collate(examples) {
      const texts = [...examples.map((e) => e.chosen), ...examples.map((e) => e.rejected)];
      const { inputIds, positions, segments, margin } = collatePairs(examples, maxLength);
      const lastTokens = texts.map(({ inputIds: ids }) => lastToken(ids, padding));
      return {
        inputIds: inputIds!,
        positions: positions!,
        segments: segments!,
        lastTokens: { data: Int32Array.from(lastTokens), shape: [texts.length], dtype: 'int32' },
        ...(margin && { margin }),
      } satisfies HostBatch;
    },
    countItems: ({ inputIds }) => inputIds!.shape[0]! / 2,
    loss: (scorer, batch) => rewardLoss(scorer, batch, centerRewardsCoefficient),
  };
}

function rewardLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  centerRewardsCoefficient: number | null,
): LossOutput {
  const { inputIds, positions = null, segments = null, lastTokens = null, margin } = batch;
  const [rows] = inputIds!.shape as [number];
  const rewards = model.scores!({ inputIds: inputIds!, positions, segments, lastTokens }).reshape(
    rows,
  ); // [2B]
  const pairs = {
    chosen: rewards.slice(0, 0, rows / 2),
    rejected: rewards.slice(0, rows / 2, rows),
  };
  const losses = bradleyTerry(pairs, {
    centerRewardsCoefficient,
    ...(margin && { margins: margin }),
  });
  const { engine } = model;
  const [better, margins, most, least] = engine.noGrad(() => [
    ops.greater(pairs.chosen, pairs.rejected),
    pairs.chosen.sub(pairs.rejected),
    rewards.max(0),
    rewards.neg().max(0).neg(),
  ]);
  return {
    loss: losses.sum(),
    metrics: {
      accuracy: mean(better!),
      margin: mean(margins!),
      meanReward: mean(rewards),
      maxReward: { sum: most!, count: 1 },
      minReward: { sum: least!, count: 1 },
    },
  };
}

/** The place of the token that is scored. */
function lastToken(ids: ArrayLike<number>, padding: number | null): number {
  if (padding === null) return ids.length - 1;
  for (let t = ids.length - 1; t >= 0; t--) if (ids[t] !== padding) return t;
  return ids.length - 1;
}

/** @throws PADDING_UNKNOWN */
function paddingOf({ config }: LanguageModel): number {
  const { pad_token_id: id } = config.raw;
  if (typeof id === 'number') return id;
  throw new AttuneError(
    'PADDING_UNKNOWN',
    `pooling is 'transformers', which looks for the last id that is not pad_token_id, and config.json has ${JSON.stringify(id ?? null)} there.`,
    {
      remedy: "Take pooling: 'length', which needs no such id, or load the model with padTokenId.",
    },
  );
}
