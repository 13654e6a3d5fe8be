import { AttuneError } from '../util/errors.js';
import { checkpointFolder, damage, listCheckpoints } from './checkpoint.js';
import type { TrainerState } from './trainerState.js';
import type { TrainingRun } from './trainingRun.js';

/** Errors of code that users bring: the weights and the optimizer are as good as they were. */
const HARMLESS = new Set([
  'CALLBACK_FAILED',
  'COMPUTE_METRICS',
  'EVALUATION_TASK',
  'METRIC_UNKNOWN',
]);

/**
 * The error with which a run ends. Where only code around the training failed, what has been learned
 * is saved first, even with saveStrategy "no"; a lost device is told with what is left.
 */
export async function rescue(
  error: unknown,
  run: TrainingRun,
  state: TrainerState,
  outputDir: string,
): Promise<unknown> {
  if (!AttuneError.isInstance(error)) return error;
  if (error.code === 'DEVICE_LOST') return deviceLost(error, state, outputDir);
  if (error.code === 'NON_FINITE') return withCheckpoint(error, run);
  return HARMLESS.has(error.code) ? saved(error, run, state, outputDir) : error;
}

/** Says what the run left behind. A run that is not finite any more saves nothing. */
function withCheckpoint(error: AttuneError, { checkpoint }: TrainingRun): AttuneError {
  const left = checkpoint
    ? `The checkpoint ${checkpoint} is intact.`
    : 'No checkpoint had been written.';
  return new AttuneError(error.code, `${error.description} ${left}`, {
    remedy: error.remedy ?? '',
    details: { ...error.details, checkpoint },
    cause: error,
  });
}

async function saved(
  error: AttuneError,
  run: TrainingRun,
  state: TrainerState,
  outputDir: string,
): Promise<AttuneError> {
  const remedies = error.remedy ? [error.remedy] : [];
  let checkpoint: string | null = null;
  let outcome = 'Nothing had been learned yet, so there is no checkpoint of it.';
  if (state.globalStep > run.savedStep && run.isLatest) {
    try {
      checkpoint = await run.save({ whole: true });
      outcome = `What was learned is saved in ${checkpoint}.`;
    } catch (failure) {
      outcome = `Saving a checkpoint failed too: ${failure instanceof Error ? failure.message : failure}`;
    }
  } else if (run.savedStep > 0) {
    checkpoint = checkpointFolder(outputDir, run.savedStep);
    outcome = `The checkpoint ${checkpoint} is of update ${run.savedStep}.`;
  }
  if (checkpoint)
    remedies.push(`Mend it and go on with train({ resumeFromCheckpoint: "${checkpoint}" }).`);
  return new AttuneError(error.code, `${error.description} ${outcome}`, {
    remedy: remedies.join(' '),
    details: { ...error.details, checkpoint },
    cause: error.cause ?? error,
  });
}

async function deviceLost(
  error: AttuneError,
  state: TrainerState,
  outputDir: string,
): Promise<AttuneError> {
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
