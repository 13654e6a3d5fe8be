import type { EvalMetrics } from '../callbacks/callback.js';
import type { LanguageModel } from '../models/languageModel.js';
import { AttuneError } from '../util/errors.js';
import { damage, listCheckpoints } from './checkpoint.js';
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
  const allowed = model.config.maxPositionEmbeddings;
  if (args.maxLength === null || args.maxLength <= allowed) return args.maxLength ?? allowed;
  if ((written.maxLength ?? written.max_length) !== undefined)
    throw new AttuneError(
      'MAX_LENGTH',
      `maxLength is ${args.maxLength}, but the model has positions for ${allowed} tokens (max_position_embeddings).`,
      { remedy: `Set maxLength to at most ${allowed}.` },
    );
  model.attune.logger.info(
    `maxLength is ${allowed}, the most that the model allows (default ${args.maxLength})`,
  );
  return allowed;
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

/** An error that ended a run; a lost device with what is left and how to go on. */
export async function interrupted(
  error: unknown,
  state: TrainerState,
  outputDir: string,
): Promise<unknown> {
  if (!AttuneError.isInstance(error) || error.code !== 'DEVICE_LOST') return error;
  const whole: string[] = [];
  for (const { folder } of await listCheckpoints(outputDir))
    if ((await damage(folder)) === null) whole.push(folder);
  const last = whole.at(-1);
  return new AttuneError(
    'DEVICE_LOST',
    `the device was lost after update ${state.globalStep} of ${state.maxSteps}. ${last ? `The checkpoint ${last} is intact.` : 'No checkpoint had been written.'}`,
    {
      remedy: last
        ? `Create a new Attune, load the model again and call train({ resumeFromCheckpoint: "${last}" }). If it happens again, lower perDeviceTrainBatchSize or maxLength.`
        : 'Start again with a smaller saveSteps; lower perDeviceTrainBatchSize or maxLength if it happens again.',
      details: { globalStep: state.globalStep, checkpoint: last ?? null },
      cause: error,
    },
  );
}
