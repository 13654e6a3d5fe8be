import type { EvalMetrics, TrainLogs } from '../../training/callback.js';
import { checkpointFolder } from '../run/checkpoint/checkpoint.js';
import type { TrainingLoader } from '../run/dataCursor.js';
import type { OutputFolder } from '../run/outputFolder.js';
import { saveBeforeFailing } from '../run/saveBeforeFailing.js';
import { type RunStart, TrainingRun } from '../run/trainingRun.js';
import type { TrainOutput } from '../trainerOptions.js';
import type { TrainingContext } from '../trainingContext.js';
import { sayWhatIsLoaded } from './bestEvaluation.js';
import { EmptyGroups } from './emptyGroups.js';
import { GroupUpdates } from './groupUpdates.js';
import { Rollback } from './nonFinite.js';
import type { Ranks } from './ranks.js';
import type { StopReason } from './stopRequest.js';
import { update } from './update.js';
import { clearFlags, doWhatIsDue, endIfAsked, evaluate } from './whatIsDue.js';

/** What `Trainer.steps` tells of: an update or an evaluation that is done. */
export type TrainingStep = UpdateReport | EvaluationReport;

/** What `trainer.steps()` tells of an update. */
export interface UpdateReport {
  readonly kind: 'update';
  /** Updates done. */
  readonly step: number;
  /** Epochs done, fractional. */
  readonly epoch: number;
  /** The row of the log, where one was due: numbers of other updates are still on the device. */
  readonly logs: TrainLogs | null;
}

/** What `trainer.steps()` tells of an evaluation. */
export interface EvaluationReport {
  readonly kind: 'evaluation';
  /** Updates done. */
  readonly step: number;
  readonly epoch: number;
  readonly metrics: EvalMetrics;
}

/** What a run begins with, and holds until it ends. */
export interface TrainingSession extends AsyncDisposable {
  readonly loader: TrainingLoader;
  readonly output: OutputFolder;
  /** Refuses training rows that cannot be meant, as far as they are known. */
  checkRows(): void;
}

/**
 * The one training loop: epochs, groups of micro-batches, their updates, and after each what is
 * due: a log, an evaluation, a checkpoint. See "One training step" in docs/architecture.md.
 *
 * What is due is done before an update is yielded. Whoever leaves the loop ends the run: all that
 * it holds is let go, and its last checkpoint stays.
 *
 * @param open readies rows and outputDir
 */
export async function* trainingSteps(
  context: TrainingContext,
  open: () => Promise<TrainingSession>,
): AsyncGenerator<TrainingStep, TrainOutput, void> {
  const { args, callbacks, stop, logger, ranks } = context;
  const { state, control } = callbacks.context;
  // Leaving early, too, lets nobody wait.
  using presence = ranks && new Presence(ranks);
  await using session = await open();
  const { loader, output } = session;
  const rollback = new Rollback(args, logger);
  const empty = new EmptyGroups(context.objective.name, logger);
  let from: Pick<RunStart, 'checkpoint' | 'position'> = {
    checkpoint: output.start,
    position: null,
  };
  while (true) {
    await using run = await TrainingRun.start(context, { state, loader, output, ...from });
    try {
      if (args.nonFinite === 'rollback' && from.checkpoint === null) await run.save();
      control.shouldTrainingStop = state.globalStep >= state.maxSteps || stop.reason !== null;
      await callbacks.call('onTrainBegin', state.maxSteps);
      if (ranks) await ranks.agree(control, stop);
      if ((args.evalOnStart && state.globalStep === 0) || run.isEvaluationDue) {
        const { metrics } = await evaluate(context, run);
        if (metrics) yield evaluated(run, metrics);
      }
      if (stop.reason) control.shouldTrainingStop = true;
      while (run.data.hasMore && !control.shouldTrainingStop) {
        control.shouldEpochStop = false;
        await callbacks.call('onEpochBegin');
        for await (const group of run.groups()) {
          session.checkRows(); // those of a stream are known now
          clearFlags(control);
          const { globalStep } = state;
          await using updates = new GroupUpdates(context, run, group.batches);
          let next = await updates.next();
          while (next) {
            await update(context, run, next);
            next = await updates.next(); // what stands behind the last one belongs to the group
            await run.device.pacer.admit(); // at most two updates in flight
            await callbacks.call('onStepEnd');
            if (ranks) await ranks.agree(control, stop);
            const { logs, metrics } = await doWhatIsDue(context, run, next === null);
            if (ranks) await ranks.agree(control, stop);
            yield { kind: 'update', step: state.globalStep, epoch: state.epoch, logs };
            if (metrics) yield evaluated(run, metrics);
            if (control.shouldTrainingStop) break;
          }
          if (!stop.reason) {
            run.useGroup();
            empty.note(state.globalStep > globalStep);
          }
          await endIfAsked(context, run);
          if (control.shouldTrainingStop || control.shouldEpochStop) break;
        }
        run.data.endEpoch(control.shouldEpochStop);
        clearFlags(control);
        await callbacks.call('onEpochEnd');
        if (ranks) await ranks.agree(control, stop);
        if (!stop.reason) {
          const { metrics } = await doWhatIsDue(context, run);
          if (metrics) yield evaluated(run, metrics);
        }
        await endIfAsked(context, run);
      }
      if (!control.shouldTrainingStop) empty.checkEnd(state.globalStep);
      await run.device.pacer.drain();
      const output = await finish(context, run);
      presence?.leave();
      return output;
    } catch (error) {
      const back = rollback.after(error, run.checkpoint);
      if (!back) {
        ranks?.fail(error);
        throw ranks?.isWriter === false ? error : await saveBeforeFailing(error, run, logger);
      }
      from = back;
    }
  }
}

/** This rank in a run of several, until it leaves in order. */
class Presence implements Disposable {
  #isOver = false;

  constructor(private readonly ranks: Ranks) {}

  leave(): void {
    this.#isOver = true;
  }

  [Symbol.dispose](): void {
    if (!this.#isOver) this.ranks.fail(new Error('its run was left before the end'));
  }
}

const evaluated = ({ state }: TrainingRun, metrics: EvalMetrics): EvaluationReport => ({
  kind: 'evaluation',
  step: state.globalStep,
  epoch: state.epoch,
  metrics,
});

/** Brings the best weights back where they are asked for; the summary. */
async function finish(context: TrainingContext, run: TrainingRun): Promise<TrainOutput> {
  const { args, callbacks, logger } = context;
  const { state } = run;
  const stoppedBy = whoStopped(context, run);
  if (stoppedBy) sayHowToGoOn(context, run, stoppedBy);
  await run.closeWindow();
  if (args.loadBestModelAtEnd) {
    sayWhatIsLoaded(state, args, logger);
    if (state.bestModelCheckpoint !== null) await run.loadBest();
  }
  const metrics = run.summary();
  await callbacks.log(metrics);
  await callbacks.call('onTrainEnd', metrics);
  return { globalStep: state.globalStep, trainingLoss: metrics.trainLoss!, stoppedBy, metrics };
}

/** null: the run has come to its end. */
function whoStopped(
  { stop, callbacks }: TrainingContext,
  { state }: TrainingRun,
): StopReason | null {
  if (state.globalStep >= state.maxSteps) return null;
  return stop.reason ?? (callbacks.context.control.shouldTrainingStop ? 'callback' : null);
}

function sayHowToGoOn({ args, logger }: TrainingContext, run: TrainingRun, by: StopReason): void {
  const { globalStep, maxSteps } = run.state;
  const saved = checkpointFolder(args.outputDir, globalStep);
  const isSaved = run.savedStep === globalStep && by !== 'callback';
  logger.info(
    `stopped by ${by} after update ${globalStep} of ${maxSteps}${isSaved ? `; go on with train({ resumeFromCheckpoint: "${saved}" })` : ''}`,
  );
}
