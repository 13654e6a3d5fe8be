import {
  type DeviceBatch,
  type HostBatch,
  type LanguageModel,
  type Logger,
  type LossOutput,
  type Objective,
  sequenceLogProbs,
  type Tensor,
  type Update,
  type UpdateContext,
} from '@attune/core';
import type { Fingerprint } from '@attune/core/training';
import type { Reference } from '../reference/reference.js';
import type { Advantages, RewardMatrix } from '../rollout/advantages.js';
import {
  type CompletionRow,
  completionBatch,
  floats,
  perRow,
  perToken,
  tokenCounts,
} from '../rollout/completionBatch.js';
import { type CompletionsTable, reportTable } from '../rollout/completions.js';
import {
  PromptBatches,
  type RolloutSetup,
  type ScoredRollout,
  scoredRollout,
  tableOf,
} from '../rollout/scoredRollout.js';
import { type PromptExample, promptRows } from '../rows/promptRows.js';

/** How the completions of a rollout become updates. */
export interface PolicySchedule {
  /** Completions of a prompt. */
  readonly numGenerations: number;
  readonly numGenerationsEval: number;
  /** Completions of a micro-batch. */
  readonly microBatch: number;
  /** Completions of a batch of an evaluation. */
  readonly evalBatch: number;
  /** Micro-batches of an update. */
  readonly microBatches: number;
  /** Micro-batches of a rollout: a multiple of those of an update. */
  readonly stepsPerGeneration: number;
  /** How often the completions of a rollout are learned from. */
  readonly numIterations: number;
}

/** What GRPO and RLOO differ in. */
export interface PolicyMethod {
  readonly name: string;
  readonly fingerprint: Fingerprint;
  /** Log-probs of before the updates are read before the first. */
  readonly needsOld: boolean;
  /** null: there is no reference. */
  readonly reference: Reference | null;
  /** @param drift of each completion: the sum of log p_old - log p_ref over its tokens; [N] */
  advantages(matrix: RewardMatrix, drift: Float64Array | null): Advantages;
  /** What the loss of each completion of a micro-batch is multiplied by. Default: nothing. */
  weights?(
    counts: readonly number[],
    ofRollout: { completions: number; tokens: number },
  ): Float32Array;
  /** Numbers of a rollout beside those of its rewards and lengths. */
  metrics?(facts: {
    readonly drift: Float64Array | null;
    readonly tokens: number;
  }): Record<string, number>;
  loss(model: LanguageModel, batch: DeviceBatch): LossOutput;
  /** Which tokens count, [B, T], from what the policy gives now. Default: all. */
  keptTokens?(batch: HostBatch, context: UpdateContext): Promise<HostBatch>;
}

/** What a {@link policyObjective} is made of. */
export interface PolicyParts {
  readonly method: PolicyMethod;
  readonly schedule: PolicySchedule;
  readonly setup: RolloutSetup;
  readonly temperature: number;
  readonly disableDropout: boolean;
  readonly chatTemplateKwargs: Readonly<Record<string, unknown>>;
  /** Tokens of a prompt beside which the model has room for a completion. */
  readonly maxPromptLength: number;
  /** The completions of each rollout of a training run, when they have advantages. */
  onCompletions(table: CompletionsTable): void;
}

/**
 * An objective that draws completions of prompts, rates them, and learns from them: one group of
 * updates is one rollout. Items are completions.
 */
export function policyObjective(parts: PolicyParts): Objective<PromptExample> {
  const { method, schedule, setup, temperature, chatTemplateKwargs } = parts;
  const { microBatch, microBatches, stepsPerGeneration, numIterations, numGenerations } = schedule;
  const { maxCompletionLength, generationMicroBatch } = setup.sampling;
  const prompts = new PromptBatches();
  let last: CompletionsTable | null = null;
  const training = (microBatch * stepsPerGeneration) / numGenerations;
  const evaluation = Math.max(1, Math.floor(schedule.evalBatch / schedule.numGenerationsEval));
  return {
    name: method.name,
    disableDropout: parts.disableDropout,
    fingerprint: {
      ...method.fingerprint,
      ...setup.fingerprint,
      numGenerations,
      stepsPerGeneration,
      numIterations,
    },
    ...(method.reference && {
      prepare: ({ logger }: { logger: Logger }) => method.reference!.prepare(logger),
    }),
    rows: promptRows({ maxLength: parts.maxPromptLength, chatTemplateKwargs }),
    examplesPerGroup: { training, evaluation },
    updatesPerGroup: (stepsPerGeneration / microBatches) * numIterations,
    collate: (examples) => prompts.add(batchOf(examples.map(asPrompt)), examples),
    countItems: ({ inputIds }) => inputIds!.shape[0]!,
    ...(setup.rollout === null && {
      generation: (examples: readonly PromptExample[]) => ({
        batchSize: generationMicroBatch ?? training * numGenerations,
        promptLength: Math.max(...examples.map(({ promptIds }) => promptIds.length)),
        maxNewTokens: maxCompletionLength,
      }),
    }),
    async *updates(group, context) {
      const examples = group.flatMap((batch) => prompts.of(batch));
      yield* updatesOf(parts, examples, context);
    },
    standIn(batch) {
      const rows = prompts.of(batch).map(({ promptIds }) => ({
        promptIds,
        completionIds: Array<number>(maxCompletionLength).fill(0),
        counts: true,
      }));
      const full = batchOf(rows);
      const zeros = floats(new Float32Array(full.mask!.data.length), full.mask!.shape);
      return {
        ...full,
        advantages: perRow(rows.map(() => 0)),
        ...(method.weights && { weights: perRow(rows.map(() => 1)) }),
        ...(method.needsOld && { old: zeros }),
        ...(method.reference && { ref: zeros }),
        ...(method.keptTokens && { kept: zeros }),
      };
    },
    tables: () => (last ? [reportTable(last)] : []),
    loss: (model, batch) => method.loss(model, batch),
  };

  async function* updatesOf(
    { onCompletions }: PolicyParts,
    examples: readonly PromptExample[],
    context: UpdateContext,
  ): AsyncGenerator<Update> {
    const isTraining = context.use === 'training';
    const each = isTraining ? numGenerations : schedule.numGenerationsEval;
    const scored = await scoredRollout(setup, examples, each, context);
    const size = isTraining ? microBatch : scored.rows.length;
    const { batches, drift } = await readBefore(scored, size, context);
    const matrix = {
      perFunction: scored.rewards,
      weights: setup.scorer.weights,
      numGenerations: each,
    };
    const { advantages, fracZeroStd } = method.advantages(matrix, drift);
    const table = tableOf(scored, setup.scorer, advantages, context.step);
    if (isTraining) {
      last = table;
      onCompletions(table);
    }
    const ofRollout = {
      completions: scored.rows.length,
      tokens: tokenCounts(scored.rows).reduce((sum, count) => sum + count, 0),
    };
    const complete = batches.map((batch, i) => {
      const rows = scored.rows.slice(i * size, (i + 1) * size);
      return {
        ...batch,
        advantages: perRow(advantages.slice(i * size, (i + 1) * size)),
        ...(method.weights && { weights: perRow(method.weights(tokenCounts(rows), ofRollout)) }),
      };
    });
    const own = method.metrics?.({ drift, tokens: ofRollout.tokens });
    let metrics: Update['metrics'] = {
      ...scored.metrics,
      ...own,
      fracRewardZeroStd: fracZeroStd,
    };
    const iterations = isTraining ? numIterations : 1;
    for (let iteration = 0; iteration < iterations; iteration++)
      for (let first = 0; first < complete.length; first += microBatches) {
        const window: HostBatch[] = [];
        for (const batch of complete.slice(first, first + microBatches))
          window.push(
            method.keptTokens ? { ...batch, ...(await method.keptTokens(batch, context)) } : batch,
          );
        yield { batches: window, ...(metrics && { metrics }) };
        metrics = undefined;
      }
  }

  /** [B, T] */
  function perTokenOf(model: LanguageModel, batch: DeviceBatch): Tensor {
    return sequenceLogProbs(model, batch, { temperature, perToken: true }).perToken!;
  }

  /** The micro-batches, with log-probs of the policy before its updates and of the reference. */
  async function readBefore(
    { rows, logProbs }: ScoredRollout,
    size: number,
    context: UpdateContext,
  ): Promise<{ batches: HostBatch[]; drift: Float64Array | null }> {
    const { needsOld, reference } = method;
    const batches: HostBatch[] = [];
    const drift: number[] = [];
    for (let start = 0; start < rows.length; start += size) {
      context.signal.throwIfAborted();
      const some = rows.slice(start, start + size);
      const batch = batchOf(some);
      const read =
        needsOld || reference
          ? await context.inference(batch, (b) => ({
              ...(needsOld && {
                old: perTokenOf(context.model, b),
              }),
              ...(reference && { ref: reference.record((own) => perTokenOf(own, b)) }),
            }))
          : {};
      if (read.old && read.ref) drift.push(...rowSums(read.old.data, read.ref.data, some.length));
      const sampled = logProbs && {
        sampling: perToken(some, logProbs.slice(start, start + size), batch.mask!.shape[1]!),
      };
      batches.push({ ...batch, ...read, ...sampled });
    }
    return { batches, drift: drift.length > 0 ? Float64Array.from(drift) : null };
  }

  function batchOf(rows: readonly CompletionRow[]): HostBatch {
    const longest = rows.reduce(
      (n, { promptIds }) => Math.max(n, promptIds.length + maxCompletionLength),
      1,
    );
    return completionBatch(rows, longest);
  }
}

/** A prompt alone: nothing is predicted. */
const asPrompt = ({ promptIds }: PromptExample): CompletionRow => ({
  promptIds,
  completionIds: [],
  counts: false,
});

/** sum over each row of a - b, which are 0 where no token counts. */
function rowSums(a: ArrayLike<number>, b: ArrayLike<number>, rows: number): number[] {
  const width = a.length / rows;
  return Array.from({ length: rows }, (_, r) => {
    let sum = 0;
    for (let t = r * width; t < (r + 1) * width; t++) sum += a[t]! - b[t]!;
    return sum;
  });
}
