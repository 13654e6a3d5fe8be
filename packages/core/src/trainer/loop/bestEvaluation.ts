import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { EvalMetrics } from '../../training/callback.js';
import type { TrainerState } from '../../training/trainerState.js';
import { brief } from '../../util/brief.js';
import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import { checkpointFolder } from '../run/checkpoint/checkpoint.js';

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

/**
 * Which weights `loadBestModelAtEnd` brings back; a warning where they are not those of the best
 * evaluation.
 */
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
