import type { CallbackHandler } from '../../callbacks/handler.js';
import type { CallbackContext, EvalMetrics, Logs, TrainLogs } from '../../training/callback.js';
import type { Objective } from '../../training/objective.js';
import { loadModelWeights } from '../run/modelWeights.js';
import type { TrainingRun } from '../run/trainingRun.js';
import type { TrainOutput } from '../trainerOptions.js';
import { noteBest, sayWhatIsLoaded } from './bestEvaluation.js';
import type { StopRequest } from './stopRequest.js';
import { update } from './update.js';

export interface LoopParts {
  readonly context: CallbackContext;
  readonly callbacks: CallbackHandler;
  readonly objective: Objective;
  /** Of the trainer's evaluation rows. */
  readonly evaluate: () => Promise<EvalMetrics>;
  /** Refuses training rows that cannot be meant; those of a stream are known as they come. */
  readonly checkRows: () => void;
}

/** "update 7", "updates 7, 9 and 12 more". */
function named(updates: readonly number[]): string {
  const shown = updates.slice(0, 5).join(', ');
  const more = updates.length > 5 ? ` and ${updates.length - 5} more` : '';
  return `update${updates.length > 1 ? 's' : ''} ${shown}${more}`;
}

/**
 * The one training loop: epochs, updates, and after each of them what is due: a log, an evaluation, a
 * checkpoint. See "One training step" in docs/architecture.md.
 */
export class TrainingLoop {
  readonly context: CallbackContext;
  readonly #callbacks: CallbackHandler;
  readonly #objective: Objective;
  readonly #evaluate: () => Promise<EvalMetrics>;
  readonly #checkRows: () => void;

  constructor({ context, callbacks, objective, evaluate, checkRows }: LoopParts) {
    this.context = context;
    this.#callbacks = callbacks;
    this.#objective = objective;
    this.#evaluate = evaluate;
    this.#checkRows = checkRows;
  }

  /** To the end of the run, or until something stops it. */
  async run(run: TrainingRun, stop: StopRequest): Promise<TrainOutput> {
    await this.#train(run, stop);
    return this.#finish(run, stop);
  }

  async #train(run: TrainingRun, stop: StopRequest): Promise<void> {
    const { args, state, control } = this.context;
    const { plan } = run;
    control.shouldTrainingStop = state.globalStep >= plan.maxSteps || stop.reason !== null;
    await this.#callbacks.call('onTrainBegin', this.context, plan.maxSteps);
    if ((args.evalOnStart && state.globalStep === 0) || run.isEvaluationDue)
      await this.#evaluateUnlessStopped(run, stop);
    if (stop.reason) control.shouldTrainingStop = true;
    while (run.position.epoch < plan.numTrainEpochs && !control.shouldTrainingStop) {
      control.shouldEpochStop = false;
      await this.#callbacks.call('onEpochBegin', this.context);
      for await (const group of run.groups()) {
        this.#checkRows(); // a stream's rows are known now
        const { epoch, batches } = run.position;
        await this.#step(run, stop, group, epoch + (batches + group.length) / plan.batchesPerEpoch);
        if (stop.reason) await this.#stop(run);
        if (control.shouldTrainingStop || control.shouldEpochStop) break;
      }
      const isWhole = run.position.batches === plan.batchesPerEpoch;
      if (control.shouldEpochStop || isWhole) run.nextEpoch();
      this.#clearFlags();
      await this.#callbacks.call('onEpochEnd', this.context);
      if (!stop.reason) await this.#logEvaluateSave(run, stop);
      if (stop.reason) await this.#stop(run);
    }
    await run.pacer.drain();
  }

  /** One update: see "One training step" in docs/architecture.md. */
  async #step(
    run: TrainingRun,
    stop: StopRequest,
    group: readonly unknown[][],
    epoch: number,
  ): Promise<void> {
    const { state } = this.context;
    this.#clearFlags();
    run.beginUpdate();
    await this.#callbacks.call('onStepBegin', this.context);
    run.learningRate = run.schedule.rate(state.globalStep);
    const tokens = await update(this.context, this.#objective, run, group, {
      substepEnd: async () => {
        await run.pacer.pause();
        await this.#callbacks.call('onSubstepEnd', this.context);
      },
      preOptimizerStep: () => this.#callbacks.call('onPreOptimizerStep', this.context),
    });
    try {
      await this.#callbacks.call('onOptimizerStep', this.context);
    } finally {
      // The update is done, whatever a callback says about it.
      run.optimizer.zeroGrad();
      state.globalStep++;
      state.epoch = epoch;
      state.numInputTokensSeen += tokens;
      run.endUpdate(group);
    }
    await run.pacer.admit();
    await this.#callbacks.call('onStepEnd', this.context);
    await this.#logEvaluateSave(run, stop);
  }

  async #stop(run: TrainingRun): Promise<void> {
    this.context.control.shouldTrainingStop = true;
    await this.#save(run, true);
  }

  async #logEvaluateSave(run: TrainingRun, stop: StopRequest): Promise<void> {
    const { state, args, control } = this.context;
    if (control.shouldLog && state.globalStep > run.loggedStep) await this.#log(run);
    if (control.shouldEvaluate) {
      await run.checkFinite();
      const isBest = await this.#evaluateUnlessStopped(run, stop);
      if (args.saveStrategy === 'best') control.shouldSave = isBest;
    }
    if (control.shouldSave) await this.#save(run);
    this.#clearFlags();
  }

  /**
   * The evaluation that is due. One that a request to end cuts short gives no metrics; the run that goes
   * on from the checkpoint begins with it.
   *
   * @returns whether it was the best so far
   */
  async #evaluateUnlessStopped(run: TrainingRun, stop: StopRequest): Promise<boolean> {
    const { state, args } = this.context;
    run.isEvaluationDue = false;
    let metrics: EvalMetrics;
    try {
      metrics = await this.#evaluate();
    } catch (error) {
      if (!stop.signal.aborted || error !== stop.signal.reason) throw error;
      run.isEvaluationDue = true;
      return false;
    }
    if (state.globalStep === 0) return false; // evalOnStart looks, and decides nothing
    // After the callbacks, so that they see what the best was.
    const isBest = noteBest(state, args, metrics);
    run.schedule.observe(metrics);
    return isBest;
  }

  /** @param whole even with saveOnlyModel: a run that was stopped is to go on */
  async #save(run: TrainingRun, whole?: true): Promise<void> {
    if (this.context.state.globalStep === run.savedStep) return;
    const folder = await run.save({ whole });
    await this.#callbacks.call('onSave', this.context, folder);
  }

  async #log(run: TrainingRun): Promise<void> {
    const from = run.loggedStep + 1;
    const { logs, skipped, skippedAt } = await run.readMeter();
    run.loggedStep = this.context.state.globalStep;
    if (skipped > 0)
      this.context.logger.warn(
        `${named(skippedAt.map((i) => from + i))}: loss or gradient was not finite; the device left the parameters as they were. Lower learningRate or maxGradNorm, or look at the rows.`,
      );
    const row = {
      ...logs,
      learningRate: run.learningRate,
      epoch: this.context.state.epoch,
      ...(this.context.args.includeNumInputTokensSeen !== 'no' && {
        numInputTokensSeen: this.context.state.numInputTokensSeen,
      }),
      ...(skipped > 0 && { skippedSteps: skipped }),
    } satisfies TrainLogs;
    await this.enterLog(row);
  }

  /** A row of the log, and the callbacks that read it. */
  async enterLog(logs: Logs): Promise<void> {
    const { state } = this.context;
    state.logHistory.push({ ...logs, epoch: state.epoch, step: state.globalStep });
    await this.#callbacks.call('onLog', this.context, logs);
  }

  async #finish(run: TrainingRun, stop: StopRequest): Promise<TrainOutput> {
    const { state, args, model } = this.context;
    const isShort = state.globalStep < state.maxSteps;
    const stoppedBy = isShort ? (stop.reason ?? 'callback') : null;
    if (isShort) run.reportStop(stoppedBy!);
    await run.readMeter();
    if (args.loadBestModelAtEnd) {
      sayWhatIsLoaded(state, args, model.attune.logger);
      if (state.bestModelCheckpoint !== null) {
        await loadModelWeights(model, state.bestModelCheckpoint);
        run.isLatest = false;
      }
    }
    const metrics = run.summary();
    await this.enterLog(metrics);
    await this.#callbacks.call('onTrainEnd', this.context, metrics);
    const { globalStep } = state;
    return { globalStep, trainingLoss: metrics.trainLoss!, stoppedBy, metrics };
  }

  #clearFlags(): void {
    const { control } = this.context;
    control.shouldLog = false;
    control.shouldEvaluate = false;
    control.shouldSave = false;
  }
}
