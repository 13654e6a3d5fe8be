import type { EvalMetrics, TrainerControl, TrainLogs } from '../../training/callback.js';
import type { TrainingRun } from '../run/trainingRun.js';
import type { TrainingContext } from '../trainingContext.js';
import { noteBest } from './bestEvaluation.js';

export interface Done {
  /** The row of the log; null: none was due. */
  readonly logs: TrainLogs | null;
  /** null: no evaluation was due, or it was cut short. */
  readonly metrics: EvalMetrics | null;
}

/**
 * What callbacks asked for after an update or an epoch, in this order: log, evaluate, save.
 *
 * @param isGroupDone false: more updates of the group are to come. All but the log waits for the
 *   last of them, so that nothing of a group that is half used has to be in a checkpoint
 */
export async function doWhatIsDue(
  context: TrainingContext,
  run: TrainingRun,
  isGroupDone = true,
): Promise<Done> {
  const { args, callbacks } = context;
  const { control } = callbacks.context;
  const logs = control.shouldLog && run.hasUnlogged ? await log(context, run) : null;
  control.shouldLog = false;
  if (!isGroupDone && !control.shouldTrainingStop) return { logs, metrics: null };
  let metrics: EvalMetrics | null = null;
  if (control.shouldEvaluate) {
    await run.checkFinite();
    const evaluation = await evaluate(context, run);
    metrics = evaluation.metrics;
    if (args.saveStrategy === 'best') control.shouldSave = evaluation.isBest;
  }
  if (control.shouldSave) await save(context, run);
  clearFlags(control);
  if (isGroupDone) await endIfAsked(context, run);
  return { logs, metrics };
}

/** Somebody asked the run to end: it does here, with a checkpoint, whatever the arguments say. */
export async function endIfAsked(context: TrainingContext, run: TrainingRun): Promise<void> {
  if (!context.stop.reason) return;
  context.callbacks.context.control.shouldTrainingStop = true;
  await save(context, run, true);
}

/**
 * The evaluation that is due. One that a request to end cuts short gives no metrics; the run that
 * goes on from the checkpoint begins with it.
 *
 * @returns its metrics, and whether they are the best so far
 */
export async function evaluate(
  { args, callbacks, stop, evaluate }: TrainingContext,
  run: TrainingRun,
): Promise<{ readonly metrics: EvalMetrics | null; readonly isBest: boolean }> {
  let metrics: EvalMetrics;
  try {
    metrics = await evaluate();
  } catch (error) {
    if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
    run.noteEvaluation(null);
    return { metrics: null, isBest: false };
  }
  // After the callbacks, so that they see what the best was. evalOnStart looks, and decides
  // nothing.
  const { state } = callbacks.context;
  const isBest = state.globalStep > 0 && noteBest(state, args, metrics);
  run.noteEvaluation(metrics);
  return { metrics, isBest };
}

/** A checkpoint of this update, unless there is one. @param whole even with saveOnlyModel */
async function save({ callbacks }: TrainingContext, run: TrainingRun, whole?: true): Promise<void> {
  if (run.state.globalStep === run.savedStep) return;
  const folder = await run.save({ whole });
  await callbacks.call('onSave', folder);
}

/** A row of the log: the only reading back, a few numbers for each update since the last one. */
async function log(
  { args, callbacks, logger }: TrainingContext,
  run: TrainingRun,
): Promise<TrainLogs> {
  const { state } = run;
  const { logs, skipped, skippedAt, learningRate } = await run.closeWindow();
  if (skipped > 0)
    logger.warn(
      `${named(skippedAt)}: loss or gradient was not finite; the device left the parameters as they were. Lower learningRate or maxGradNorm, or look at the rows.`,
    );
  const row = {
    ...logs,
    learningRate,
    epoch: state.epoch,
    ...(args.includeNumInputTokensSeen !== 'no' && {
      numInputTokensSeen: state.numInputTokensSeen,
    }),
    ...(skipped > 0 && { skippedSteps: skipped }),
  } satisfies TrainLogs;
  await callbacks.log(row);
  return row;
}

/** "update 7", "updates 7, 9 and 12 more". */
function named(updates: readonly number[]): string {
  const shown = updates.slice(0, 5).join(', ');
  const more = updates.length > 5 ? ` and ${updates.length - 5} more` : '';
  return `update${updates.length > 1 ? 's' : ''} ${shown}${more}`;
}

export function clearFlags(control: TrainerControl): void {
  control.shouldLog = false;
  control.shouldEvaluate = false;
  control.shouldSave = false;
}
