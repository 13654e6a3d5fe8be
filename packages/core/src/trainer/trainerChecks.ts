import type { EvalMetrics } from '../callbacks/callback.js';
import { type LanguageModel, longestInput } from '../models/languageModel.js';
import type { AdapterHost } from '../nn/adapterHost.js';
import { brief } from '../util/brief.js';
import { AttuneError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { checkpointFolder } from './checkpoint.js';
import type { Objective } from './objective.js';
import type { TrainerState } from './trainerState.js';
import type { TrainingArguments } from './trainingArguments.js';

/**
 * Tokens of a row at most: what was asked for, which the model must allow; a default is lowered to it.
 *
 * @throws MAX_LENGTH
 */
export function resolveMaxLength(
  args: TrainingArguments,
  written: Readonly<Record<string, unknown>>,
  model: LanguageModel,
): number {
  const allowed = longestInput(model);
  if (args.maxLength === null || args.maxLength <= allowed) return args.maxLength ?? allowed;
  const virtual = model.adapters?.numVirtualTokens;
  if ((written.maxLength ?? written.max_length) !== undefined)
    throw new AttuneError(
      'MAX_LENGTH',
      `maxLength is ${args.maxLength}, but the model has positions for ${allowed} tokens (max_position_embeddings${virtual ? `, less ${virtual} virtual tokens` : ''}).`,
      { remedy: `Set maxLength to at most ${allowed}.` },
    );
  model.attune.logger.info(
    `maxLength is ${allowed}, the most that the model allows (default ${args.maxLength})`,
  );
  return allowed;
}

/** @throws ARGUMENTS_INVALID when there is to be evaluated, but nothing to evaluate on, or nothing that gives the metric */
export function checkEvaluation(
  args: TrainingArguments,
  hasDataset: boolean,
  hasTasks: boolean,
): void {
  if (hasDataset || (args.evalStrategy === 'no' && !args.evalOnStart)) return;
  if (hasTasks) {
    if (args.metricForBestModel !== 'evalLoss') return;
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      'metricForBestModel is "evalLoss", but there is no evalDataset that would give it.',
      {
        remedy:
          'Set metricForBestModel to a metric of a task, such as "arc_acc", or pass evalDataset.',
      },
    );
  }
  const asked =
    args.evalStrategy === 'no' ? 'evalOnStart is true' : `evalStrategy is "${args.evalStrategy}"`;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `${asked}, but there is no evalDataset and there are no evaluationTasks.`,
    {
      remedy:
        'Pass evalDataset or evaluationTasks, or leave evalStrategy at "no" and evalOnStart at false.',
    },
  );
}

/**
 * Without checkpointing the tape would hold every uploaded weight until the backward pass.
 *
 * @throws OFFLOAD_CHECKPOINTING
 */
export function checkOffload(model: LanguageModel): void {
  if (model.isGradientCheckpointing) return;
  for (const [name, parameter] of model.root.namedParameters())
    if (parameter.isOffloaded && !parameter.trainable)
      throw new AttuneError(
        'OFFLOAD_CHECKPOINTING',
        `"${name}" lies in host memory, but gradientCheckpointing is off: the uploaded weights of all layers would be kept for the backward pass.`,
        { remedy: 'Set gradientCheckpointing: true, or load the model without offload.' },
      );
}

/**
 * Moves `state.bestMetric` when an evaluation was the best so far.
 *
 * @throws METRIC_UNKNOWN when evaluation does not give `metricForBestModel`
 */
export function noteBest(
  state: TrainerState,
  args: TrainingArguments,
  metrics: EvalMetrics,
): boolean {
  const name = args.metricForBestModel;
  if (name === null) return false;
  const value = metrics[name];
  if (value === undefined)
    throw new AttuneError('METRIC_UNKNOWN', `metricForBestModel: evaluation gives no "${name}".`, {
      remedy: `It gives ${Object.keys(metrics).join(', ')}.`,
    });
  const { bestMetric } = state;
  const isBest =
    !Number.isNaN(value) &&
    (bestMetric === null || (args.greaterIsBetter ? value > bestMetric : value < bestMetric));
  if (!isBest) return false;
  state.bestMetric = value;
  state.bestGlobalStep = state.globalStep;
  return true;
}

/** Which weights `loadBestModelAtEnd` brings back; a warning where they are not those of the best evaluation. */
export function sayWhatIsLoaded(
  state: TrainerState,
  { outputDir, metricForBestModel, evalSteps }: TrainingArguments,
  logger: Logger,
): void {
  const { bestGlobalStep, bestModelCheckpoint, bestMetric } = state;
  const named = `${metricForBestModel} ${bestMetric === null ? 'none' : brief(bestMetric)}`;
  const loaded = bestModelCheckpoint
    ? `loading the checkpoint ${bestModelCheckpoint}`
    : 'the weights stay those of the last update';
  if (bestGlobalStep === null)
    logger.warn(`no evaluation gave a number for ${metricForBestModel}: ${loaded}.`);
  else if (bestModelCheckpoint !== checkpointFolder(outputDir, bestGlobalStep))
    logger.warn(
      `the best evaluation (${named}) was at update ${bestGlobalStep}, of which there is no checkpoint: ${loaded}. Set saveSteps: ${evalSteps}, or saveStrategy: "best".`,
    );
  else logger.info(`loading the best checkpoint ${bestModelCheckpoint} (${named})`);
}

/**
 * Adapters that were there are there still: without them a run would train and save another model than it was made for.
 *
 * @throws ADAPTERS_CHANGED
 */
export function checkSameAdapters(
  before: AdapterHost | null,
  now: AdapterHost | null,
  when: string,
): void {
  if (before === null || before === now) return;
  throw new AttuneError(
    'ADAPTERS_CHANGED',
    `the adapters of the model were ${now ? 'exchanged for others' : 'taken off (unload, mergeAndUnload)'} ${when}.`,
    {
      remedy:
        'Make a new trainer for the model as it is now; or leave its adapters on until the trainer is done.',
    },
  );
}

/** Nobody trains with less than they asked for: an objective that does not smooth must not be told to. @throws ARGUMENTS_INVALID */
export function checkSmoothing(factor: number, { name, labelSmoothing = 0 }: Objective): void {
  if (factor === 0 || factor === labelSmoothing) return;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `labelSmoothingFactor is ${factor}, but the objective "${name}" ${labelSmoothing ? `smooths by ${labelSmoothing}` : 'does not smooth labels'}.`,
    { remedy: 'Use SFTTrainer, or causalLmObjective({ labelSmoothing }), or leave it at 0.' },
  );
}
