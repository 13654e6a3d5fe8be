import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { TrainingRun } from './trainingRun.js';

/** After these nobody knows whether the weights are those of the last update. */
const DEVICE = new Set([
  'DEVICE_LOST',
  'GPU_ERROR',
  'OUT_OF_MEMORY',
  'READ_FAILED',
  'BACKEND_DISPOSED',
]);

/** After these another save would fail, or be of no use. */
const NO_SAVE = new Set(['NON_FINITE', 'WEIGHTS_NON_FINITE', 'DISK_WRITE']);

const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

/**
 * The error with which a run ends. Where the weights are as good as they were (a callback, a row,
 * an evaluation failed, or code of the caller's), what has been learned is saved first, even with
 * saveStrategy "no"; a lost device is told with what is left.
 */
export async function saveBeforeFailing(
  error: unknown,
  run: TrainingRun,
  logger: Logger,
): Promise<unknown> {
  if (!AttuneError.isInstance(error)) {
    // Somebody else's: it stays as it is.
    const { outcome, remedy } = await saved(run);
    if (remedy) logger.warn(`the run ends with an error. ${outcome} ${remedy}`);
    return error;
  }
  if (error.code === 'DEVICE_LOST') return deviceLost(error, run);
  if (NO_SAVE.has(error.code)) return withCheckpoint(error, run);
  if (DEVICE.has(error.code)) return error;
  const { checkpoint, outcome, remedy } = await saved(run);
  return new AttuneError(error.code, `${sentence(error.description)} ${outcome}`, {
    remedy: [error.remedy, remedy].filter(Boolean).join(' '),
    details: { ...error.details, checkpoint },
    cause: error.cause ?? error,
  });
}

/**
 * Says what the run left behind, where another save has no sense: not finite any more, or the disk
 * refuses.
 */
function withCheckpoint(error: AttuneError, { checkpoint }: TrainingRun): AttuneError {
  const left = checkpoint
    ? `The checkpoint ${checkpoint} is intact.`
    : 'No checkpoint had been written.';
  return new AttuneError(error.code, `${sentence(error.description)} ${left}`, {
    remedy: error.remedy ?? '',
    details: { ...error.details, checkpoint },
    cause: error,
  });
}

/** What has been learned, in a checkpoint: where it is, and how to go on. */
async function saved(
  run: TrainingRun,
): Promise<{ checkpoint: string | null; outcome: string; remedy: string }> {
  let checkpoint: string | null = null;
  let outcome = 'Nothing had been learned yet, so there is no checkpoint of it.';
  if (run.hasUnsaved) {
    try {
      checkpoint = await run.save({ whole: true });
      outcome = `What was learned is saved in ${checkpoint}.`;
    } catch (failure) {
      outcome = `Saving a checkpoint failed too: ${sentence(failure instanceof Error ? failure.message : String(failure))}`;
    }
  } else if (run.checkpoint !== null) {
    checkpoint = run.checkpoint;
    outcome = `The last whole checkpoint is ${checkpoint}.`;
  }
  const remedy = checkpoint
    ? `Mend it and go on with train({ resumeFromCheckpoint: "${checkpoint}" }).`
    : '';
  return { checkpoint, outcome, remedy };
}

function deviceLost(error: AttuneError, { state, checkpoint: last }: TrainingRun): AttuneError {
  const { globalStep, maxSteps } = state;
  return new AttuneError(
    'DEVICE_LOST',
    `the device was lost after update ${globalStep} of ${maxSteps}. ${last ? `The checkpoint ${last} is intact.` : 'No checkpoint had been written.'}`,
    {
      remedy: last
        ? `Create a new Attune, load the model again and call train({ resumeFromCheckpoint: "${last}" }). If it happens again, lower perDeviceTrainBatchSize or maxLength.`
        : 'Start again with a smaller saveSteps; lower perDeviceTrainBatchSize or maxLength if it happens again.',
      details: { globalStep, checkpoint: last },
      cause: error,
    },
  );
}
