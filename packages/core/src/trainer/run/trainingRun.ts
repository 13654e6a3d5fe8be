import { Pacer } from '../../backend/pacer.js';
import type { CallbackHandler } from '../../callbacks/handler.js';
import type { Loader } from '../../dataset/loader.js';
import type { AdapterHost } from '../../models/adapterHost.js';
import type { Optimizer } from '../../optim/optimizer.js';
import type { CallbackContext, Logs } from '../../training/callback.js';
import type { Activity } from '../../util/activity.js';
import { writing } from '../../util/diskError.js';
import { AttuneError } from '../../util/errors.js';
import { keysToSnake } from '../../util/json.js';
import { checkTrainable } from '../applyPeft.js';
import { checkOffload, checkSameAdapters } from '../checkTraining.js';
import { LossScaler } from '../loop/lossScaler.js';
import { StepMeter, type StepRow, summarize, type WindowSummary } from '../loop/meter.js';
import { checkFinite, countSkipped } from '../loop/nonFinite.js';
import { type OptimizerChoice, trainableGroups } from '../makeOptimizer.js';
import type { SftArguments } from '../sftTrainer.js';
import {
  checkpointFolder,
  checkResumable,
  readOptimizer,
  writeCheckpoint,
} from './checkpoint/checkpoint.js';
import { checkpointJson, stepRows } from './checkpoint/checkpointJson.js';
import { runOf } from './checkpoint/checkpointManifest.js';
import { noTrainingRows, planTraining, type TrainingPlan } from './countUpdates.js';
import { loadModelWeights } from './modelWeights.js';
import type { OutputFolder } from './outputFolder.js';
import { checkpointBytes, checkSpace } from './outputProbe.js';
import { RunSchedule } from './runSchedule.js';

/** The order of the data and where it is cut into updates: what a resumed run must share. */
interface Geometry {
  readonly modelType: string;
  /** Trainable values, of whatever shape. */
  readonly trainable: number;
  /** null: a stream. */
  readonly rows: number | null;
  readonly batchSize: number;
  readonly gradientAccumulationSteps: number;
  readonly seed: number;
  readonly dataSeed: number;
  readonly trainSamplingStrategy: string;
  readonly dropLast: boolean;
  /** How rows were packed, where they are. */
  readonly packing: string;
}

/** A place in the data, counted in micro-batches from the start of an epoch. */
export interface Position {
  readonly epoch: number;
  readonly batches: number;
}

const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/**
 * What exists while a run lasts: optimizer, schedule, meters, the order of the data; and how all of it
 * goes into a checkpoint and comes back.
 */
export class TrainingRun {
  readonly meter: StepMeter;
  readonly pacer: Pacer;
  readonly optimizer: Optimizer;
  /** Of float16 arithmetic alone: bfloat16 has the range of float32. */
  readonly lossScaler: LossScaler | null;
  readonly schedule: RunSchedule;
  /** The rate of the last update. */
  learningRate = 0;
  /** The update of the last row of the log. */
  loggedStep: number;
  /** The update of the last checkpoint. */
  savedStep: number;
  /** What the run could go back to: its last whole checkpoint, or the one that it started from. */
  checkpoint: string | null = null;
  /** Where the rows after each update since the last log begin. */
  readonly #positions = new Map<number, Position>();
  samples = 0;
  /** False once other weights than those of the last update are in the model: the best ones. */
  isLatest = true;
  /** Dropout masks drawn before the update in progress; null between updates. */
  #drawsBefore: number | null = null;
  /** Where the next update begins. */
  position: Position = { epoch: 0, batches: 0 };
  /** How long updates after the first waited for their rows. */
  #dataWaitMs = 0;
  readonly #startedMs = performance.now();
  /** The adapters that are trained, and which of them: null: the model itself. */
  readonly #adapters: AdapterHost | null;
  readonly #activeAdapters: readonly string[];
  readonly #tokensBefore: number;
  readonly #stepsBefore: number;
  #lossSum = 0;
  #lossSteps = 0;
  /** The evaluation after the last update was cut short. */
  isEvaluationDue = false;
  /** Updates skipped after each other, up to the last log. */
  #skippedInARow = 0;

  /** Use {@link TrainingRun.start}; this alone only for counting what a run holds. */
  constructor(
    private readonly context: CallbackContext,
    private readonly callbacks: CallbackHandler,
    readonly loader: Loader<unknown>,
    readonly plan: TrainingPlan,
    [makeOptimizer, chosenSchedule]: OptimizerChoice,
    /** null: a rehearsal, which saves nothing. */
    private readonly output: OutputFolder | null = null,
  ) {
    const { args, model, state } = context;
    const { engine } = model;
    this.#adapters = model.adapters;
    this.#activeAdapters = model.adapters?.activeAdapters ?? [];
    this.schedule = new RunSchedule(args, plan.maxSteps, chosenSchedule);
    this.optimizer = makeOptimizer(engine, trainableGroups(model, args));
    this.lossScaler = args.fp16 ? new LossScaler(engine) : null;
    this.meter = new StepMeter(engine, {
      sticky: Number(args.nonFinite === 'stop'),
      scaled: Number(args.fp16),
    });
    this.pacer = new Pacer(engine.backend, 2, args.maxMemory !== null);
    this.loggedStep = state.globalStep;
    this.savedStep = state.globalStep;
    this.#tokensBefore = state.numInputTokensSeen;
    this.#stepsBefore = state.globalStep;
  }

  /**
   * Readies everything for the first update, or for the one after a checkpoint.
   *
   * @throws NO_TRAINABLE, OPTIMIZER_DTYPE, CHECKPOINT_MISMATCH, DISK_SPACE
   */
  static async start(
    context: CallbackContext,
    callbacks: CallbackHandler,
    loader: Loader<unknown>,
    checkpoint: string | null,
    optimizers: OptimizerChoice,
    output: OutputFolder | null = null,
  ): Promise<TrainingRun> {
    const { args, model, state, control } = context;
    const plan = planTraining(loader.batchesPerEpoch, args);
    state.reset();
    Object.assign(control, { shouldTrainingStop: false, shouldEpochStop: false });
    model.adapters?.checkTraining?.({ saves: args.saveStrategy !== 'no' });
    checkTrainable(model);
    checkOffload(model);
    model.engine.reseed(args.seed);
    // Weights before the optimizer, which moves them into its arenas.
    if (checkpoint) {
      await checkResumable(checkpoint);
      const { geometry } = await checkpointJson.read(checkpoint, 'attune_state.json');
      checkGeometry(checkpoint, geometry, geometryOf(context, loader));
      await loadModelWeights(model, checkpoint);
      state.load(await checkpointJson.read(checkpoint, 'trainer_state.json'));
    }
    state.maxSteps = plan.maxSteps;
    state.numTrainEpochs = plan.numTrainEpochs;
    const run = new TrainingRun(context, callbacks, loader, plan, optimizers, output);
    try {
      if (checkpoint) await run.#restore(checkpoint);
      run.checkpoint = checkpoint;
      if (output?.isOpen)
        await checkSpace(
          output.path,
          checkpointBytes(model, args.saveOnlyModel ? null : run.optimizer),
        );
      model.root.train();
      return run;
    } catch (error) {
      await run.dispose();
      throw error;
    }
  }

  /**
   * The model is the one that the optimizer knows: what is trained is what computes, and what is saved.
   *
   * @throws ADAPTERS_CHANGED
   */
  checkAdapters(): void {
    const { adapters } = this.context.model;
    checkSameAdapters(this.#adapters, adapters, 'during training');
    const active = adapters?.activeAdapters ?? [];
    const before = this.#activeAdapters;
    if (active.length === before.length && before.every((name, i) => name === active[i])) return;
    const names = (list: readonly string[]) => list.map((n) => `"${n}"`).join(', ') || 'none';
    throw new AttuneError(
      'ADAPTERS_CHANGED',
      `the active adapters were ${names(before)} when training began and are ${names(active)} now.`,
      {
        remedy: 'Switch adapters back before the next update, or train them in runs of their own.',
      },
    );
  }

  /** What the run waits for. */
  get activity(): Activity {
    return this.callbacks.activity;
  }

  beginUpdate(): void {
    this.#drawsBefore = this.context.model.engine.dropoutDraws;
  }

  /** @param group the examples of each micro-batch */
  endUpdate(group: readonly unknown[][]): void {
    this.#drawsBefore = null;
    this.samples += group.reduce((n, examples) => n + examples.length, 0);
    const { epoch, batches } = this.position;
    this.position = { epoch, batches: batches + group.length };
    this.#positions.set(this.context.state.globalStep, this.position);
  }

  /** Tells that the run ended before its last update, and how to go on. */
  reportStop(by: string): void {
    const { args, state, model } = this.context;
    const saved = checkpointFolder(args.outputDir, state.globalStep);
    model.attune.logger.info(
      `stopped by ${by} after update ${state.globalStep} of ${state.maxSteps}${this.savedStep === state.globalStep && by !== 'callback' ? `; go on with train({ resumeFromCheckpoint: "${saved}" })` : ''}`,
    );
  }

  /**
   * The updates of an epoch from the position on. The time that the loop waits for all but the first of
   * a run is counted: rows are ready when they are needed, unless tokenising is slower than training.
   *
   * @throws NO_TRAINING_ROWS when an epoch has none
   */
  async *groups(): AsyncGenerator<unknown[][]> {
    const { epoch, batches } = this.position;
    const groups = this.loader.groups(epoch, this.context.args.gradientAccumulationSteps, batches);
    try {
      while (true) {
        const asked = performance.now();
        const { done, value } = await this.activity.during(
          `training rows, for update ${this.context.state.globalStep + 1}`,
          groups.next(),
        );
        if (this.samples > 0) this.#dataWaitMs += performance.now() - asked;
        if (done) break;
        yield value;
      }
    } finally {
      await groups.return(undefined);
    }
    if (this.position.batches === 0) throw noTrainingRows();
    this.nextEpoch();
  }

  /** Goes on with the next epoch, if one has begun: for an epoch that is given up. */
  nextEpoch(): void {
    const { epoch, batches } = this.position;
    if (batches > 0) this.position = { epoch: epoch + 1, batches: 0 };
  }

  /** Summary of the updates since the last call: the only wait for the device between evaluations. */
  async readMeter(): Promise<WindowSummary> {
    const rows = await this.meter.take();
    checkFinite(rows, this.loggedStep, this.#positions, this.context.args);
    this.#skippedInARow = this.#countSkipped(rows);
    this.#positions.clear();
    const summary = summarize(rows);
    this.#lossSum += summary.lossSum;
    this.#lossSteps += summary.steps;
    this.context.state.skippedSteps += summary.skipped;
    return summary;
  }

  /** Before anything is measured or saved. Waits for the device, unless `nonFinite` is "skip". @throws NON_FINITE */
  async checkFinite(): Promise<void> {
    const { args } = this.context;
    if (args.nonFinite === 'skip') return;
    const rows = await this.meter.take();
    this.meter.putBack(rows);
    checkFinite(rows, this.loggedStep, this.#positions, args);
  }

  #countSkipped(rows: readonly StepRow[]): number {
    return countSkipped(rows, this.loggedStep, this.#skippedInARow, this.context.args);
  }

  summary(): Logs {
    const { state } = this.context;
    const seconds = (performance.now() - this.#startedMs) / 1000;
    const steps = state.globalStep - this.#stepsBefore;
    const tokens = state.numInputTokensSeen - this.#tokensBefore;
    return {
      trainRuntime: seconds,
      trainSamplesPerSecond: this.samples / seconds,
      trainStepsPerSecond: steps / seconds,
      trainTokensPerSecond: tokens / seconds,
      trainLoss: this.#lossSteps > 0 ? this.#lossSum / this.#lossSteps : Number.NaN,
      trainDataWaitMs: this.#dataWaitMs,
      epoch: state.epoch,
      ...(state.skippedSteps > 0 && { skippedSteps: state.skippedSteps }),
    };
  }

  /**
   * Writes checkpoint-N, deletes what saveTotalLimit no longer allows.
   *
   * @param whole false: weights only, nothing to resume from. Default: as `saveOnlyModel` says
   * @returns its folder
   */
  async save({ whole = !this.context.args.saveOnlyModel } = {}): Promise<string> {
    const { args, state, model } = this.context;
    checkSameAdapters(this.#adapters, model.adapters, 'during training');
    const { run } = this.output!;
    await this.checkFinite();
    const folder = checkpointFolder(args.outputDir, state.globalStep);
    if (state.bestGlobalStep !== null) {
      const best = checkpointFolder(args.outputDir, state.bestGlobalStep);
      const isOwn = best === folder || (await runOf(best))?.id === run.id;
      if (isOwn) state.bestModelCheckpoint = best;
    }
    const texts = {
      'trainer_state.json': state.toJson(args, this.callbacks.exportState()),
      'training_args.json': toJson(keysToSnake({ ...args })),
      ...(whole && (await this.#resumeTexts())),
    };
    await writing(folder, async () => {
      await this.output!.claim();
      await writeCheckpoint(folder, {
        model,
        optimizer: whole ? this.optimizer : null,
        texts,
        run,
      });
      this.savedStep = state.globalStep;
      if (whole) this.checkpoint = folder;
    });
    await writing(args.outputDir, () =>
      this.output!.rotate(folder, args.saveTotalLimit, state.bestModelCheckpoint),
    );
    return folder;
  }

  /** What a run needs to go on, beside weights and optimizer. */
  async #resumeTexts(): Promise<Record<string, string>> {
    const { args, state, model } = this.context;
    const rows = await this.meter.take();
    this.meter.putBack(rows);
    this.#countSkipped(rows);
    return {
      'scheduler.json': toJson({
        type: args.lrSchedulerType,
        base_lrs: [args.learningRate],
        last_epoch: state.globalStep,
        last_lr: this.learningRate,
        max_steps: this.plan.maxSteps,
        state: this.schedule.exportState(),
      }),
      'rng_state.json': toJson({
        seed: args.seed,
        dropout_draws: this.#drawsBefore ?? model.engine.dropoutDraws,
      }),
      'attune_state.json': toJson({
        geometry: geometryOf(this.context, this.loader),
        position: this.position,
        logged_step: this.loggedStep,
        skipped_steps: state.skippedSteps,
        skipped_in_a_row: this.#skippedInARow,
        evaluation_due: this.isEvaluationDue,
        loss_sum: this.#lossSum,
        loss_steps: this.#lossSteps,
        rows_since_log: rows,
        loss_scaler: await this.lossScaler?.exportState(),
      }),
    };
  }

  async #restore(folder: string): Promise<void> {
    const { model, state } = this.context;
    const saved = await checkpointJson.read(folder, 'attune_state.json');
    this.position = saved.position;
    await readOptimizer(folder, this.optimizer);
    // A run that goes on in another precision starts with the usual scale.
    if (saved.loss_scaler) this.lossScaler?.importState(saved.loss_scaler);
    const rng = await checkpointJson.read(folder, 'rng_state.json');
    model.engine.dropoutDraws = rng.dropout_draws;
    const scheduler = await checkpointJson.read(folder, 'scheduler.json');
    this.learningRate = scheduler.last_lr;
    this.schedule.importState(scheduler.state);
    this.loggedStep = saved.logged_step;
    this.#lossSum = saved.loss_sum ?? Number.NaN;
    this.#lossSteps = saved.loss_steps;
    state.skippedSteps = saved.skipped_steps;
    this.#skippedInARow = saved.skipped_in_a_row;
    this.isEvaluationDue = saved.evaluation_due;
    this.meter.putBack(stepRows(saved.rows_since_log));
    const { stateful_callbacks } = await checkpointJson.read(folder, 'trainer_state.json');
    if (this.context.args.restoreCallbackStatesFromCheckpoint)
      this.callbacks.importState(stateful_callbacks);
  }

  async dispose(): Promise<void> {
    await this.pacer.drain().catch(() => undefined);
    this.optimizer.dispose();
    this.lossScaler?.dispose();
    this.meter.dispose();
    this.context.model.root.eval();
  }
}

function geometryOf({ args, model }: CallbackContext, loader: Loader<unknown>): Geometry {
  const { packing, packingStrategy } = args as Partial<SftArguments>;
  const trainable = new Set(
    [...model.root.namedParameters()].flatMap(([, p]) => (p.trainable ? [p] : [])),
  );
  return {
    modelType: model.config.modelType,
    trainable: [...trainable].reduce((n, { size }) => n + size, 0),
    rows: loader.length,
    batchSize: args.perDeviceTrainBatchSize,
    gradientAccumulationSteps: args.gradientAccumulationSteps,
    seed: args.seed,
    dataSeed: args.dataSeed ?? args.seed,
    trainSamplingStrategy: args.trainSamplingStrategy,
    dropLast: args.dataloaderDropLast,
    packing: packing ? `${packingStrategy} of ${args.maxLength} tokens` : 'none',
  };
}

/** With another model or cut of the data, "go on where it stopped" has no meaning. @throws CHECKPOINT_MISMATCH */
function checkGeometry(
  folder: string,
  saved: Readonly<Record<string, unknown>>,
  now: Geometry,
): void {
  const changed = (Object.keys(now) as (keyof Geometry)[])
    .filter((key) => saved[key] !== now[key])
    .map((key) => `${key} was ${saved[key]} and is ${now[key]}`);
  if (changed.length === 0) return;
  throw new AttuneError('CHECKPOINT_MISMATCH', `${folder}: ${changed.join(', ')}.`, {
    remedy:
      'Resume with the model, rows and batch sizes of the saved run; or load its weights and start a new one.',
  });
}
