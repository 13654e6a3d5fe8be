import type { Group } from '../../dataset/loader.js';
import { rankSeed } from '../../distributed/exchange.js';
import type { Module, Parameter } from '../../nn/module.js';
import type { HostBatch } from '../../training/batch.js';
import type { EvalMetrics, Logs } from '../../training/callback.js';
import { trainedRoot } from '../../training/trainedRoot.js';
import type { TrainerState } from '../../training/trainerState.js';
import { writing } from '../../util/diskError.js';
import { keysToSnake } from '../../util/json.js';
import { checkTrainable } from '../applyPeft.js';
import { checkOffload } from '../checkTraining.js';
import type { WindowSummary } from '../loop/meter.js';
import { groupShape } from '../rows/groupShape.js';
import type { TrainingContext } from '../trainingContext.js';
import {
  checkpointFolder,
  checkResumable,
  readOptimizer,
  writeCheckpoint,
} from './checkpoint/checkpoint.js';
import { checkpointJson } from './checkpoint/checkpointJson.js';
import { runOf } from './checkpoint/checkpointManifest.js';
import { readObjectiveModules, readObjectiveTensors } from './checkpoint/objectiveFiles.js';
import { planTraining, type TrainingPlan } from './countUpdates.js';
import { DataCursor, type Position, type TrainingLoader } from './dataCursor.js';
import { checkSameRun, geometryOf } from './geometry.js';
import { LogWindow } from './logWindow.js';
import { loadModelWeights } from './modelWeights.js';
import { recordOf, restoreValues } from './objectiveRecord.js';
import type { OutputFolder } from './outputFolder.js';
import { checkpointBytes, checkSpace } from './outputProbe.js';
import { RunDevice } from './runDevice.js';
import { RunSchedule } from './runSchedule.js';
import { Throughput } from './throughput.js';
import { TrainedAdapters } from './trainedAdapters.js';

export interface RunStart {
  /** Where the run stands: filled anew. */
  readonly state: TrainerState;
  readonly loader: TrainingLoader;
  /** null: a rehearsal, which saves nothing. */
  readonly output: OutputFolder | null;
  /** The checkpoint to go on from; null: the beginning. */
  readonly checkpoint: string | null;
  /** Where in the data to go on; null: where the checkpoint says. */
  readonly position: Position | null;
}

/** What a run trains: of the model and of its objective. */
export function* trainedParameters({
  model,
  objective,
}: Pick<TrainingContext, 'model' | 'objective'>): Generator<Parameter> {
  for (const [, parameter] of trainedRoot(model, objective).namedParameters())
    if (parameter.trainable) yield parameter;
}

const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/**
 * What changes while a run lasts: its place in the data, the rate, the window of the log, what is
 * on the device. All of it goes into a checkpoint (`save`) and comes back (`start`). Nobody else
 * writes it.
 */
export class TrainingRun implements AsyncDisposable {
  readonly state: TrainerState;
  readonly plan: TrainingPlan;
  readonly device: RunDevice;
  readonly adapters: TrainedAdapters;
  readonly data: DataCursor;
  readonly #context: TrainingContext;
  readonly #loader: TrainingLoader;
  readonly #output: OutputFolder | null;
  readonly #schedule: RunSchedule;
  readonly #window: LogWindow;
  readonly #throughput = new Throughput();
  /** The rate of the last update. */
  #learningRate = 0;
  /** Dropout masks drawn before the update, or the group, in progress; null between them. */
  #drawsBefore: number | null = null;
  /** The evaluation after the last update was cut short. */
  #isEvaluationDue = false;
  #savedStep: number;
  #checkpoint: string | null;
  #hasBestWeights = false;
  /**
   * Asked for once: a model whose adapters are gone when the run ends has nothing to say of itself.
   */
  readonly #root: Module;

  private constructor(
    context: TrainingContext,
    plan: TrainingPlan,
    { state, loader, output, checkpoint, position }: RunStart,
  ) {
    const { args, model, optimizers } = context;
    this.#context = context;
    this.#root = trainedRoot(model, context.objective);
    this.#loader = loader;
    this.#output = output;
    this.state = state;
    this.plan = plan;
    this.adapters = new TrainedAdapters(model);
    this.#schedule = new RunSchedule(args, plan.maxSteps, optimizers[1]);
    this.device = new RunDevice(context);
    this.#window = new LogWindow(this.device.meter, args, state.globalStep);
    this.#savedStep = state.globalStep;
    this.#checkpoint = checkpoint;
    this.data = new DataCursor(context, loader, plan, this.#throughput);
    if (position) this.data.moveTo(position);
  }

  /**
   * Readies everything for the first update, or for the one after a checkpoint.
   *
   * @throws NO_TRAINABLE, OPTIMIZER_DTYPE, CHECKPOINT_MISMATCH, DISK_SPACE
   */
  static async start(context: TrainingContext, start: RunStart): Promise<TrainingRun> {
    const { args, model, objective, ranks } = context;
    const { state, loader, output, checkpoint } = start;
    const plan = planTraining(
      loader.batchesPerEpoch,
      { ...args, gradientAccumulationSteps: groupShape(args, objective).batches },
      objective,
    );
    state.reset();
    model.adapters?.checkTraining?.({ saves: args.saveStrategy !== 'no' });
    checkTrainable(model, objective);
    recordOf(objective); // what no checkpoint could hold is refused before the first update
    checkOffload(model);
    model.engine.reseed(rankSeed(args.seed, ranks?.rank ?? 0));
    // Weights before the optimizer, which moves them into its arenas.
    if (checkpoint !== null) {
      await checkResumable(checkpoint);
      const saved = await checkpointJson.read(checkpoint, 'attune_state.json');
      checkSameRun(checkpoint, saved, context, loader);
      await loadModelWeights(model, checkpoint);
      await readObjectiveModules(checkpoint, objective);
      state.load(await checkpointJson.read(checkpoint, 'trainer_state.json'));
    }
    state.maxSteps = plan.maxSteps;
    state.numTrainEpochs = plan.numTrainEpochs;
    const run = new TrainingRun(context, plan, start);
    try {
      if (checkpoint !== null) await run.#import(checkpoint, start.position);
      if (ranks) {
        const { learningRate } = args;
        const geometry = geometryOf(context, loader);
        await ranks.checkSame({ ...geometry, maxSteps: plan.maxSteps, learningRate });
        await ranks.shareWeights(trainedParameters(context));
      }
      if (output?.isOpen)
        await checkSpace(
          output.path,
          checkpointBytes(model, objective, args.saveOnlyModel ? null : run.device.optimizer),
        );
      run.#root.train(objective.disableDropout !== true);
      if (output) model.engine.backend.limitMemory?.(args.maxMemory);
      return run;
    } catch (error) {
      await run[Symbol.asyncDispose]();
      throw error;
    }
  }

  get isEvaluationDue(): boolean {
    return this.#isEvaluationDue;
  }

  /** The update of the last checkpoint. */
  get savedStep(): number {
    return this.#savedStep;
  }

  /** What the run could go back to: its last whole checkpoint, or the one that it started from. */
  get checkpoint(): string | null {
    return this.#checkpoint;
  }

  /** Whether updates have been made of which there is no checkpoint. */
  get hasUnsaved(): boolean {
    return this.state.globalStep > this.#savedStep && !this.#hasBestWeights;
  }

  /** Updates since the last row of the log. */
  get hasUnlogged(): boolean {
    return this.state.globalStep > this.#window.loggedStep;
  }

  /** The groups of an epoch, from where the run stands. */
  async *groups(): AsyncGenerator<Group<HostBatch>> {
    const waits = () => `training rows, for update ${this.state.globalStep + 1}`;
    for await (const group of this.data.groups(waits)) {
      this.#drawsBefore = this.#context.model.engine.dropoutDraws;
      yield group;
    }
  }

  /** @returns the learning rate of the update that begins */
  beginUpdate(): number {
    this.#drawsBefore = this.#context.model.engine.dropoutDraws;
    return this.#schedule.rate(this.state.globalStep);
  }

  /** The update has been recorded. @param tokens that it put through the model */
  endUpdate(learningRate: number, tokens: number): void {
    const { state } = this;
    this.device.optimizer.zeroGrad();
    this.useGroup();
    state.globalStep++;
    state.numInputTokensSeen += tokens;
    this.#learningRate = learningRate;
    this.#throughput.addUpdate(tokens);
    this.#window.add(state.globalStep, this.data.position);
  }

  /**
   * The rows of the group that came last count as used: with its first update, or if it gives none.
   */
  useGroup(): void {
    this.data.use();
    this.state.epoch = this.data.epochs;
    this.#drawsBefore = null;
  }

  /**
   * What the updates since the last row of the log were like. Waits for the device.
   *
   * @throws NON_FINITE
   */
  async closeWindow(): Promise<WindowSummary & { readonly learningRate: number }> {
    const from = this.#window.loggedStep + 1;
    const summary = await this.#window.close(this.state.globalStep);
    this.state.skippedSteps += summary.skipped;
    const skippedAt = summary.skippedAt.map((i) => from + i);
    return { ...summary, skippedAt, learningRate: this.#learningRate };
  }

  /** Before anything is measured. @throws NON_FINITE */
  checkFinite(): Promise<void> {
    return this.#window.checkFinite();
  }

  /** @param metrics null: the evaluation was cut short, and is due when the run goes on */
  noteEvaluation(metrics: EvalMetrics | null): void {
    this.#isEvaluationDue = metrics === null;
    // evalOnStart looks, and decides nothing.
    if (metrics && this.state.globalStep > 0) this.#schedule.observe(metrics);
  }

  /** The weights of the best checkpoint, in place of those of the last update. */
  async loadBest(): Promise<void> {
    const { model, objective } = this.#context;
    const best = this.state.bestModelCheckpoint!;
    await loadModelWeights(model, best);
    await readObjectiveModules(best, objective);
    this.#hasBestWeights = true;
  }

  summary(): Logs {
    const { state } = this;
    const { trainDataWaitMs, ...speed } = this.#throughput.summary();
    return {
      ...speed,
      trainLoss: this.#window.meanLoss,
      trainDataWaitMs: trainDataWaitMs!,
      epoch: state.epoch,
      ...(state.skippedSteps > 0 && { skippedSteps: state.skippedSteps }),
    };
  }

  /**
   * Writes checkpoint-N and deletes what saveTotalLimit no longer allows. Rank 0 writes; other
   * ranks wait for it.
   *
   * @param whole false: weights only, nothing to resume from. Default: as `saveOnlyModel` says
   * @returns its folder
   */
  async save({ whole = !this.#context.args.saveOnlyModel } = {}): Promise<string> {
    const { args, model, objective, callbacks, ranks } = this.#context;
    const { state } = this;
    this.adapters.checkPresent();
    const output = this.#output!;
    const { run } = output;
    await this.checkFinite();
    const folder = checkpointFolder(args.outputDir, state.globalStep);
    if (state.bestGlobalStep !== null) {
      const best = checkpointFolder(args.outputDir, state.bestGlobalStep);
      const isOwn = best === folder || (await runOf(best))?.id === run.id;
      if (isOwn) state.bestModelCheckpoint = best;
    }
    const saved = () => {
      this.#savedStep = state.globalStep;
      if (whole) this.#checkpoint = folder;
    };
    const draws = ranks && (await ranks.gather(this.#draws));
    if (!ranks || ranks.isWriter) {
      const texts = {
        'trainer_state.json': state.toJson(args, callbacks.exportState()),
        'training_args.json': toJson(keysToSnake({ ...args })),
        ...(whole && (await this.#export(draws))),
      };
      await writing(folder, async () => {
        await output.claim();
        const optimizer = whole ? this.device.optimizer : null;
        await writeCheckpoint(folder, { model, objective, optimizer, texts, run });
        saved();
      });
      await writing(args.outputDir, () =>
        output.rotate(folder, args.saveTotalLimit, state.bestModelCheckpoint),
      );
    }
    if (ranks) await ranks.barrier();
    saved();
    return folder;
  }

  /** Dropout masks drawn before the update in progress. */
  get #draws(): number {
    return this.#drawsBefore ?? this.#context.model.engine.dropoutDraws;
  }

  /**
   * What a run needs to go on, beside weights, optimizer and trainer_state.json.
   *
   * @param draws dropout masks of each rank; null: there is one
   */
  async #export(draws: readonly number[] | null): Promise<Record<string, string>> {
    const { args, objective } = this.#context;
    const { state } = this;
    return {
      'scheduler.json': toJson({
        type: args.lrSchedulerType,
        base_lrs: [args.learningRate],
        last_epoch: state.globalStep,
        last_lr: this.#learningRate,
        max_steps: this.plan.maxSteps,
        state: this.#schedule.exportState(),
      }),
      'rng_state.json': toJson({
        seed: args.seed,
        dropout_draws: this.#draws,
        ...(draws && { dropout_draws_by_rank: draws }),
      }),
      'attune_state.json': toJson({
        geometry: geometryOf(this.#context, this.#loader),
        objective: recordOf(objective),
        position: this.data.position,
        skipped_steps: state.skippedSteps,
        evaluation_due: this.#isEvaluationDue,
        ...(await this.#window.export()),
        loss_scaler: await this.device.lossScaler?.exportState(),
      }),
    };
  }

  /** What `#export` wrote, back. @param position in place of the saved one */
  async #import(folder: string, position: Position | null): Promise<void> {
    const { model, objective, args, callbacks, ranks } = this.#context;
    const { optimizer, lossScaler } = this.device;
    const saved = await checkpointJson.read(folder, 'attune_state.json');
    this.data.moveTo(position ?? saved.position);
    await readOptimizer(folder, optimizer);
    restoreValues(objective, saved.objective?.values);
    await readObjectiveTensors(folder, objective);
    // A run that goes on in another precision starts with the usual scale.
    if (saved.loss_scaler) lossScaler?.importState(saved.loss_scaler);
    const rng = await checkpointJson.read(folder, 'rng_state.json');
    model.engine.dropoutDraws = rng.dropout_draws_by_rank?.[ranks?.rank ?? 0] ?? rng.dropout_draws;
    const scheduler = await checkpointJson.read(folder, 'scheduler.json');
    this.#learningRate = scheduler.last_lr;
    this.#schedule.importState(scheduler.state);
    this.#window.import(saved);
    this.state.skippedSteps = saved.skipped_steps;
    this.#isEvaluationDue = saved.evaluation_due;
    const { stateful_callbacks } = await checkpointJson.read(folder, 'trainer_state.json');
    if (args.restoreCallbackStatesFromCheckpoint) callbacks.importState(stateful_callbacks);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#context.model.engine.backend.limitMemory?.(null);
    await this.device.pacer.drain().catch(() => undefined);
    this.device.dispose();
    this.#root.eval();
  }
}
