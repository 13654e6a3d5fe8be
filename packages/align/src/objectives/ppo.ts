import {
  AttuneError,
  type DeviceBatch,
  type HostBatch,
  type LanguageModel,
  type LossOutput,
  type Objective,
  ops,
  type Tensor,
  type Update,
  type UpdateContext,
} from '@attune/core';
import { Rng } from '@attune/core/util';
import { ppoPolicyLoss, ppoValueLoss } from '../losses/ppo.js';
import type { Reference } from '../reference/reference.js';
import { weightedRewards } from '../rollout/advantages.js';
import { type CompletionRow, completionBatch } from '../rollout/completionBatch.js';
import { type CompletionsTable, reportTable } from '../rollout/completions.js';
import type { KlController } from '../rollout/klController.js';
import { penalised } from '../rollout/ppoRewards.js';
import {
  PromptBatches,
  type RolloutSetup,
  scoredRollout,
  tableOf,
} from '../rollout/scoredRollout.js';
import { type PromptExample, promptRows } from '../rows/promptRows.js';
import {
  answerBatch,
  firstPlace,
  type OldAnswer,
  type RatedAnswer,
  type RatingOptions,
  rateAnswers,
  sizeOf,
} from './ppoAnswers.js';
import type { Critic } from './ppoCritic.js';
import { answerLogProbs, policyView } from './ppoTrunk.js';

/** What the losses of PPO have. */
export interface PpoLossOptions {
  readonly cliprange: number;
  readonly cliprangeValue: number;
  readonly vfCoef: number;
  readonly temperature: number;
  /** A micro-batch whose mean ratio is above it teaches nothing; null: all do. */
  readonly ratioThreshold: number | null;
}

/** How a group of answers becomes updates. */
export interface PpoSchedule {
  /** Answers of a group. */
  readonly batchSize: number;
  /** Mini-batches that a group is cut into: each is one update. */
  readonly numMiniBatches: number;
  /** Answers of a forward and backward pass. */
  readonly microBatch: number;
  /** How often a group is learned from. */
  readonly ppoEpochs: number;
  /** Prompts of a batch of an evaluation. */
  readonly evalBatch: number;
  /** Whether each epoch cuts the group anew. */
  readonly shuffle: boolean;
}

/** What a {@link ppoObjective} is made of. */
export interface PpoParts {
  readonly loss: PpoLossOptions;
  readonly rating: Omit<RatingOptions, 'klCoef'>;
  readonly schedule: PpoSchedule;
  readonly setup: RolloutSetup;
  readonly controller: KlController;
  readonly critic: Critic;
  readonly reference: Reference;
  /** Tokens of a prompt above which its row is left out. */
  readonly maxPromptLength: number;
  /** What ends an answer. Empty: nothing does. */
  readonly stopIds: ReadonlySet<number>;
  /** Taken off the score of an answer without an end; null: nothing is. */
  readonly missingEosPenalty: number | null;
  /** The answers of each group of a training run, when they have advantages. */
  onGroup(table: CompletionsTable, stats: Readonly<Record<string, number>>): void;
}

/**
 * Proximal policy optimisation (arXiv:1707.06347, arXiv:1909.08593): answers to prompts are drawn
 * and rated; what a critic did not expect of them is learned from, in several updates that stay
 * near the policy that drew them.
 *
 * Items are answer tokens. The policy loss of an update is its mean over the tokens of the
 * mini-batch, the value loss that over its places, of which short answers have one more.
 */
export function ppoObjective(parts: PpoParts): Objective<PromptExample> {
  const { schedule, setup, controller, critic, reference, loss } = parts;
  const { batchSize, numMiniBatches, ppoEpochs } = schedule;
  const { maxCompletionLength, generationMicroBatch } = setup.sampling;
  const prompts = new PromptBatches();
  let last: CompletionsTable | null = null;
  const lengthOf = (rows: readonly CompletionRow[]) =>
    rows.reduce((n, { promptIds }) => Math.max(n, promptIds.length + maxCompletionLength), 1);
  return {
    name: 'ppo',
    disableDropout: true,
    fingerprint: {
      ...setup.fingerprint,
      ...loss,
      ...parts.rating,
      batchSize,
      numMiniBatches,
      ppoEpochs,
      shuffle: schedule.shuffle,
      critic: critic.kind,
      reference: reference.description,
      stopIds: [...parts.stopIds],
      missingEosPenalty: parts.missingEosPenalty,
    },
    rows: promptRows({ maxLength: parts.maxPromptLength }),
    modules: critic.modules,
    state: { values: controller.state },
    tables: () => (last ? [reportTable(last)] : []),
    examplesPerGroup: { training: batchSize, evaluation: schedule.evalBatch },
    updatesPerGroup: ppoEpochs * numMiniBatches,
    async prepare({ logger }) {
      await reference.prepare(logger);
      logger.info(
        `PPO: a group of ${batchSize} answers gives ${ppoEpochs * numMiniBatches} updates (${ppoEpochs} times ${numMiniBatches} mini-batches); values: ${critic.kind}.`,
      );
    },
    collate: (examples) =>
      prompts.add(
        completionBatch(
          examples.map(({ promptIds }) => ({ promptIds, completionIds: [], counts: false })),
          Math.max(...examples.map(({ promptIds }) => promptIds.length)) + maxCompletionLength,
        ),
        examples,
      ),
    countItems: ({ mask }) => Array.from(mask!.data).reduce((sum, x) => sum + x, 0),
    ...(setup.rollout === null && {
      generation: (examples: readonly PromptExample[]) => ({
        batchSize: generationMicroBatch ?? batchSize,
        promptLength: Math.max(...examples.map(({ promptIds }) => promptIds.length)),
        maxNewTokens: maxCompletionLength,
      }),
    }),
    async *updates(group, context) {
      const given = group.flatMap((batch) => prompts.of(batch));
      yield* context.use === 'training'
        ? training(filled(given, batchSize), context)
        : evaluation(given, context);
    },
    standIn(batch) {
      const zeros = new Float64Array(maxCompletionLength);
      const examples = filled(prompts.of(batch), schedule.microBatch);
      const answers = examples.map(({ promptIds }): RatedAnswer => {
        const completionIds = Array<number>(maxCompletionLength).fill(0);
        const row = { promptIds, completionIds, counts: true };
        const old = { logProbs: zeros, refLogProbs: zeros, values: zeros };
        return { row, ...old, score: 0, advantages: zeros, returns: zeros, kl: 0 };
      });
      return answerBatch(answers, sizeOf(answers), lengthOf(answers.map(({ row }) => row)));
    },
    loss: (model, batch) => ppoLoss(model, batch, critic, loss),
  };

  async function* training(
    examples: readonly PromptExample[],
    context: UpdateContext,
  ): AsyncGenerator<Update> {
    const { answers, stats, kl } = await ratedGroup(examples, context);
    if (answers.length === 0) return;
    const rng = new Rng(context.seed, SHUFFLE_STREAM);
    const count = Math.min(numMiniBatches, answers.length);
    let metrics: Update['metrics'] = stats;
    for (let epoch = 0; epoch < ppoEpochs; epoch++) {
      const order = schedule.shuffle ? rng.permutation(answers.length) : answers.keys();
      const shuffled = Array.from(order, (i) => answers[i]!);
      for (let piece = 0; piece < count; piece++) {
        const at = (i: number) => Math.round((i * answers.length) / count);
        yield {
          batches: microBatches(shuffled.slice(at(piece), at(piece + 1))),
          ...(metrics && { metrics }),
        };
        metrics = undefined;
      }
    }
    controller.update(kl, answers.length);
  }

  async function* evaluation(
    examples: readonly PromptExample[],
    context: UpdateContext,
  ): AsyncGenerator<Update> {
    const { answers, stats } = await ratedGroup(examples, context);
    if (answers.length > 0) yield { batches: microBatches(answers), metrics: stats };
  }

  function microBatches(answers: readonly RatedAnswer[]): HostBatch[] {
    const size = sizeOf(answers);
    return pieces(answers, schedule.microBatch).map((some) =>
      answerBatch(some, size, lengthOf(some.map(({ row }) => row))),
    );
  }

  /** Answers to the prompts, rated, but for those on which no reward function has an opinion. */
  async function ratedGroup(examples: readonly PromptExample[], context: UpdateContext) {
    const scored = await scoredRollout(setup, examples, 1, context);
    const { rows, rewards } = scored;
    const { weights } = setup.scorer;
    const hasEnd = ({ completionIds }: CompletionRow) =>
      completionIds.some((id) => parts.stopIds.has(id));
    const scores = Array.from(weightedRewards({ perFunction: rewards, weights }), (score, n) =>
      penalised(score, hasEnd(rows[n]!), parts.missingEosPenalty),
    );
    const known = [...rows.keys()].filter((n) => !Number.isNaN(scores[n]!));
    const old: OldAnswer[] = [];
    for (const some of pieces(known, schedule.microBatch)) {
      context.signal.throwIfAborted();
      const own = some.map((n) => rows[n]!);
      const read = await readBefore(own, context);
      old.push(...read.map((answer, i) => ({ ...answer, score: scores[some[i]!]! })));
    }
    if (old.length === 0) return { answers: [], stats: {}, kl: 0 };
    const { coefficient: klCoef } = controller;
    const answers = rateAnswers(old, { ...parts.rating, klCoef });
    const meanOf = (value: (answer: RatedAnswer) => number) =>
      answers.reduce((sum, answer) => sum + value(answer), 0) / answers.length;
    const kl = meanOf((answer) => answer.kl);
    const entropy = meanOf(({ logProbs }) => -Array.from(logProbs).reduce((a, b) => a + b, 0));
    const mean = meanOf(({ score }) => score);
    const stats = {
      ...scored.metrics,
      'objective/kl': kl,
      'objective/kl_coef': klCoef,
      'objective/entropy': entropy,
      'objective/non_score_reward': -klCoef * kl,
      'objective/rlhf_reward': mean - klCoef * kl,
      'objective/scores': mean,
      'val/num_eos_tokens': answers.filter(({ row }) => hasEnd(row)).length,
    };
    if (context.use === 'training') {
      const advantages = new Float64Array(rows.length);
      answers.forEach(({ advantages: own }, i) => {
        advantages[known[i]!] = own.reduce((sum, x) => sum + x, 0) / own.length;
      });
      last = tableOf(scored, setup.scorer, advantages, context.step);
      parts.onGroup(last, stats);
    }
    return { answers, stats, kl };
  }

  /** What policy, critic and reference say before the updates. */
  async function readBefore(
    rows: readonly CompletionRow[],
    { model, inference }: UpdateContext,
  ): Promise<Omit<OldAnswer, 'score'>[]> {
    const batch = completionBatch(rows, lengthOf(rows));
    const { temperature } = loss;
    const read = await inference(batch, (b) => {
      const { logProbs, values } = policyView(model, b, critic, temperature);
      const ref = reference.record((own) => answerLogProbs(own, b, temperature));
      return { logProbs, values, ref };
    });
    const width = batch.mask!.shape[1]!;
    return rows.map((row, b) => {
      const first = b * width + firstPlace(row);
      const count = row.completionIds.length;
      const from = (name: 'logProbs' | 'values' | 'ref', places: number) =>
        checkFinite(Float64Array.from(read[name]!.data.slice(first, first + places)), name);
      return {
        row,
        logProbs: from('logProbs', count),
        refLogProbs: from('ref', count),
        values: from('values', count + 1),
      };
    });
  }
}

/** Separates the shuffles of a group from what else is drawn by its seed. */
const SHUFFLE_STREAM = 0x70706f;

/** As many as a group needs: where there are fewer prompts, they are answered again. */
const filled = <T>(examples: readonly T[], count: number): T[] =>
  Array.from({ length: count }, (_, i) => examples[i % examples.length]!);

const pieces = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  );

/** @throws ROLLOUT_NUMBERS */
function checkFinite(values: Float64Array, name: string): Float64Array {
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad === -1) return values;
  throw new AttuneError(
    'ROLLOUT_NUMBERS',
    `${{ logProbs: 'the policy', values: 'the critic', ref: 'the reference' }[name]} gives ${values[bad]} for token ${bad} of an answer.`,
    { remedy: 'Its weights are broken: lower learningRate, or go back to a checkpoint.' },
  );
}

const one = (x: Tensor): Tensor => x.reshape(1);

function ppoLoss(
  model: LanguageModel,
  batch: DeviceBatch,
  critic: Critic,
  options: PpoLossOptions,
): LossOutput {
  const { engine } = model;
  const { mask, places, old, advantages, oldValues, returns, perToken, perPlace } = batch;
  const { logProbs, values, entropy } = policyView(model, batch, critic, options.temperature);
  const policy = ppoPolicyLoss(
    { logProbs, oldLogProbs: old!, advantages: advantages! },
    options.cliprange,
  );
  const value = ppoValueLoss(
    { values: values.mul(places!), oldValues: oldValues!, returns: returns! },
    options.cliprangeValue,
  );
  const ofTokens = (x: Tensor) => one(x.mul(mask!).sum());
  const ofPlaces = (x: Tensor) => one(x.mul(places!).sum());
  const policyLoss = ofTokens(policy.losses);
  // The trainer divides by tokens; the value loss is a mean over places.
  const valueLoss = ofPlaces(value.losses).mul(perPlace!).div(perToken!);
  const total = policyLoss.add(valueLoss.mul(options.vfCoef));
  const { ratioThreshold } = options;
  const metrics = engine.noGrad(() => {
    const drift = logProbs.sub(old!);
    // Each mini-batch weighs the same, as in TRL: its micro-batches add up to its mean.
    const mean = (sum: Tensor, share: Tensor, over: Tensor) => ({
      sum: sum.mul(share),
      count: one(over.sum()).mul(share),
    });
    const tokenMean = (x: Tensor) => mean(ofTokens(x), perToken!, mask!);
    const placeMean = (x: Tensor) => mean(ofPlaces(x), perPlace!, places!);
    const off = policy.ratios.sub(1).square();
    return {
      'policy/approxkl_avg': tokenMean(drift.square().mul(0.5)),
      'policy/clipfrac_avg': tokenMean(policy.clipped),
      'policy/entropy_avg': tokenMean(entropy),
      'loss/policy_avg': tokenMean(policy.losses),
      'loss/value_avg': placeMean(value.losses),
      'val/clipfrac_avg': placeMean(value.clipped),
      'val/ratio': tokenMean(policy.ratios),
      'val/ratio_var': tokenMean(off),
    };
  });
  if (ratioThreshold === null) return { loss: total, metrics };
  const isNear = engine.noGrad(() => {
    const meanRatio = ofTokens(policy.ratios).div(one(mask!.sum()));
    return ops.greater(meanRatio, engine.full([], ratioThreshold)).neg().add(1);
  });
  return { loss: total.mul(isNear), metrics };
}
