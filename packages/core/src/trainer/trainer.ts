import type { z } from 'zod';
import type { TuningOptions, TuningReport } from '../backend/backend.js';
import { CallbackHandler, type CallbackKey } from '../callbacks/handler.js';
import { type Examples, isStream, type Loader, sampleExamples } from '../dataset/loader.js';
import type { RowSource } from '../dataset/rowSource.js';
import { type EvalDataset, Evaluation, type PredictionOutput } from '../evaluation/evaluation.js';
import { EvaluationTasks } from '../evaluation/tasks/evaluationTask.js';
import { saveWhole } from '../io/saveWhole.js';
import type { AdapterHost } from '../models/adapterHost.js';
import type { LanguageModel } from '../models/languageModel.js';
import { LearningRateSchedules } from '../optim/scheduleDefinition.js';
import type { PreflightReport } from '../text/preflight/preflightReport.js';
import { changedArguments } from '../training/arguments/changedArguments.js';
import {
  parseTrainingArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import type { CallbackContext, EvalMetrics, TrainerCallback } from '../training/callback.js';
import type { TrainerEvents } from '../training/events.js';
import type { Objective } from '../training/objective.js';
import { TrainerState } from '../training/trainerState.js';
import { AttuneError } from '../util/errors.js';
import { parseOptions } from '../util/options.js';
import { requireFolder } from '../util/requireFolder.js';
import { applyPeft } from './applyPeft.js';
import { argumentsPlace, checkEvalRows, checkTrainerOptions } from './checkInputs.js';
import {
  checkEvaluation,
  checkPerplexity,
  checkSameAdapters,
  checkSmoothing,
} from './checkTraining.js';
import { Rollback } from './loop/nonFinite.js';
import { type StopReason, StopRequest } from './loop/stopRequest.js';
import { TrainingLoop } from './loop/trainingLoop.js';
import { update } from './loop/update.js';
import { chooseOptimizer, type OptimizerChoice } from './makeOptimizer.js';
import { resolveMaxLength } from './maxLength.js';
import { findBatchSize, takeBatchSize } from './memory/autoBatchSize.js';
import { checkBudget } from './memory/memoryBudget.js';
import type { MemoryPlan, PlanMemoryOptions } from './memory/memoryPlan.js';
import { longestExamples, type PlanSubject, planMemory } from './memory/planMemory.js';
import { type ProfileOptions, profileUpdates, type TrainingProfile } from './profile.js';
import { PreparedRows } from './rows/preparedRows.js';
import { RowLengths } from './rows/rowLengths.js';
import { trainingLoader } from './rows/trainingLoader.js';
import { OutputFolder } from './run/outputFolder.js';
import { saveBeforeFailing } from './run/saveBeforeFailing.js';
import { type Position, TrainingRun } from './run/trainingRun.js';
import {
  type TrainerFlavor,
  type TrainerOptions,
  type TrainOptions,
  type TrainOutput,
  trainerOptions,
  trainOptions,
} from './trainerOptions.js';

/**
 * Trains a model. What is learned is the objective's affair: SFTTrainer, DPOTrainer, ... are this with
 * an objective and its defaults. The loop itself: trainingLoop.ts.
 *
 * @example
 * const trainer = new Trainer({ model, objective, trainDataset, args: { outputDir: 'out', maxSteps: 100 } });
 * await trainer.train();
 */
export class Trainer<
  Args extends TrainingArguments = TrainingArguments,
  ArgsInput extends object = TrainingArgumentsInput,
> {
  readonly model: LanguageModel;
  readonly args: Args;
  readonly state = new TrainerState();
  readonly objective: Objective;
  readonly #options: TrainerOptions<Args, ArgsInput>;
  readonly #schema: z.ZodObject;
  readonly #optimizers: OptimizerChoice;
  readonly #callbacks: CallbackHandler;
  readonly #evaluation: Evaluation;
  readonly #context: CallbackContext;
  readonly #loop: TrainingLoop;
  readonly #rows: PreparedRows;
  readonly #lengths: RowLengths | null;
  /** The adapters that the model had when the trainer was made. */
  readonly #adapters: AdapterHost | null;
  #isBusy = false;
  #stop: StopRequest | null = null;

  /** @throws UNKNOWN_OPTION, TRAINER_OPTION, ARGUMENTS_INVALID, PEFT_MISSING, UNKNOWN_NAME (a callback), MAX_LENGTH */
  constructor(options: TrainerOptions<Args, ArgsInput>, flavor: TrainerFlavor = {}) {
    const { schema = trainingArgumentsSchema, defaults = {} } = flavor;
    checkTrainerOptions(new.target.name, options, trainerOptions, schema);
    const { model, evalDataset, evaluationTasks = [], peftConfig, callbacks = [] } = options;
    const args = (options.args ?? {}) as Readonly<Record<string, unknown>>;
    const { attune } = model;
    const schedules = attune.registry(LearningRateSchedules);
    const parsed = parseTrainingArguments(schema, args, defaults, schedules);
    checkEvaluation(parsed, evalDataset !== undefined, evaluationTasks.length > 0);
    this.#options = options;
    this.#schema = schema;
    const fitting = { ...parsed, maxLength: resolveMaxLength(parsed, args, model) };
    const [optimizer, schedule] = options.optimizers ?? [null];
    this.#optimizers = [
      optimizer ?? chooseOptimizer(attune, parsed),
      schedule ?? schedules.get(parsed.lrSchedulerType),
    ];
    attune.engine.reseed(parsed.seed);
    this.model = peftConfig ? applyPeft(model, peftConfig) : model;
    this.#adapters = this.model.adapters;
    // Virtual tokens of the new adapter take positions.
    const maxLength = resolveMaxLength(fitting, args, this.model);
    this.args = { ...parsed, maxLength } as unknown as Args;
    if (parsed.gradientCheckpointing)
      this.model.gradientCheckpointingEnable(parsed.gradientCheckpointingKwargs);
    const { objective } = options;
    if (!objective)
      throw new AttuneError('TRAINER_OPTION', `${new.target.name}: objective is not given.`, {
        remedy: 'Pass objective: causalLmObjective({ ... }), or use SFTTrainer, which brings one.',
      });
    this.objective = typeof objective === 'function' ? objective(this.args, this.model) : objective;
    checkSmoothing(parsed.labelSmoothingFactor, this.objective);
    if (!options.computeMetrics) checkPerplexity(parsed.metricForBestModel, this.objective);
    this.#callbacks = new CallbackHandler(attune, this.args, callbacks);
    this.#context = {
      args: this.args,
      changedArguments: changedArguments(args, this.args, schema, defaults),
      state: this.state,
      control: {
        shouldTrainingStop: false,
        shouldEpochStop: false,
        shouldLog: false,
        shouldEvaluate: false,
        shouldSave: false,
      },
      model: this.model,
      objective: this.objective,
      logger: attune.logger,
    };
    const tokenizer = options.tokenizer ?? null;
    this.#lengths =
      parsed.groupByLength && parsed.lengthColumnName !== null
        ? new RowLengths(parsed.lengthColumnName)
        : null;
    this.#rows = new PreparedRows(this.model, this.objective, tokenizer, this.#lengths);
    this.#evaluation = new Evaluation({
      context: this.#context,
      callbacks: this.#callbacks,
      objective: this.objective,
      computeMetrics: options.computeMetrics,
      preprocessLogits: options.preprocessLogitsForMetrics,
      tasks: evaluationTasks.map((task) =>
        typeof task === 'string' ? attune.registry(EvaluationTasks).get(task) : task,
      ),
      tokenizer,
      rows: this.#rows,
      signal: () => this.#stop?.signal ?? null,
    });
    this.#loop = new TrainingLoop({
      context: this.#context,
      callbacks: this.#callbacks,
      objective: this.objective,
      evaluate: () => this.evaluate(),
      checkRows: () => this.#rows.check(options.trainDataset!, 'training'),
    });
    this.#callbacks.initEnd(this.#context);
  }

  /** Watches the run: every moment at which a callback is called has an event. Cannot disturb it. */
  on<E extends keyof TrainerEvents>(name: E, listener: TrainerEvents[E]): this {
    this.#callbacks.events.on(name, listener);
    return this;
  }

  off<E extends keyof TrainerEvents>(name: E, listener: TrainerEvents[E]): this {
    this.#callbacks.events.off(name, listener);
    return this;
  }

  /** A callback more, after the others. @throws UNKNOWN_NAME for a name that no plugin added */
  addCallback(callback: TrainerCallback | string): void {
    this.#callbacks.add(callback);
  }

  /** @param callback itself, its name or its class; the first that fits goes */
  removeCallback(callback: CallbackKey): void {
    this.#callbacks.pop(callback);
  }

  /** `removeCallback` that returns what it took away; null when nothing fits. */
  popCallback(callback: CallbackKey): TrainerCallback | null {
    return this.#callbacks.pop(callback);
  }

  /**
   * Trains from the start, or on from a checkpoint: then every number is that of the uninterrupted run.
   *
   * One at a time on an Attune: dropout draws and the memory limit are the Attune's.
   *
   * @throws ALREADY_TRAINING, ATTUNE_BUSY, NO_ROWS, ROW_FORMAT, NO_TRAINABLE, CHECKPOINT_NONE, CHECKPOINT_MISMATCH, DEVICE_LOST, ...
   */
  async train(options: TrainOptions = {}): Promise<TrainOutput> {
    const { args, model } = this;
    const trainDataset = this.#trainRows('train');
    const { resumeFromCheckpoint, signal, handleSignals } = parseOptions(trainOptions, options, {
      where: 'train',
      code: 'TRAINER_OPTION',
      elsewhere: [argumentsPlace(this.#schema)],
    });
    using _ = this.#occupy('train');
    await using output = await OutputFolder.open(
      args.outputDir,
      {
        saves: args.saveStrategy !== 'no',
        resume: resumeFromCheckpoint ?? args.resumeFromCheckpoint,
      },
      model.attune.logger,
    );
    const checkpoint = output.start;
    const examples = await this.#rows.examples(trainDataset, 'training');
    if (!isStream(examples)) this.#rows.check(trainDataset, 'training');
    if (args.evalStrategy !== 'no' || args.evalOnStart)
      await this.#evaluation.checkAhead(this.#options.evalDataset);
    if (args.autoFindBatchSize)
      await (checkpoint ? takeBatchSize(args, checkpoint) : this.#findBatchSize(trainDataset));
    const loader = this.#loader(examples);
    if (args.maxMemory !== null) checkBudget(await this.#planSubject(trainDataset), args.maxMemory);
    await model.adapters?.ready?.();
    const rollback = new Rollback(args, model.attune.logger);
    const { backend } = model.engine;
    let position: Position | null = null;
    for (let from = checkpoint; ; ) {
      const run = await TrainingRun.start(
        this.#context,
        this.#callbacks,
        loader,
        from,
        this.#optimizers,
        output,
      );
      if (position) run.position = position;
      const stop = new StopRequest(signal, handleSignals, (reason) => this.#sayStop(reason));
      this.#stop = stop;
      try {
        backend.limitMemory?.(args.maxMemory);
        if (args.nonFinite === 'rollback' && from === null) await run.save();
        return await this.#loop.run(run, stop);
      } catch (error) {
        const back = rollback.after(error, run.checkpoint);
        if (!back) throw await saveBeforeFailing(error, run, this.#context);
        ({ checkpoint: from, position } = back);
      } finally {
        stop.dispose();
        backend.limitMemory?.(null);
        this.#stop = null;
        await run.dispose();
      }
    }
  }

  /**
   * What will be trained on: decoded rows, the share of trained tokens, end tokens, what is cut off or
   * left out, and what `train()` would refuse. Prints as `train()` shows it.
   *
   * @example console.log(String(await trainer.preview({ rows: 5 })));
   * @param options.rows to show, at most 100. Default: args.preflight.rows, else 3
   * @throws NO_ROWS, ALREADY_TRAINING, PREVIEW_UNSUPPORTED, and what a row is refused for
   */
  async preview(options: { readonly rows?: number } = {}): Promise<PreflightReport> {
    return this.#rows.preview(this.#trainRows('preview'), options.rows);
  }

  /**
   * Where the time of an update goes: a table by op, and a trace file. The first batch of the training
   * rows, again and again, with learning rate 0: the weights stay as they are. No callback is called.
   *
   * @example console.log(String(await trainer.profile({ steps: 3 })));
   * @throws NO_ROWS, ALREADY_TRAINING, PROFILE_UNSUPPORTED
   */
  profile(options: ProfileOptions = {}): Promise<TrainingProfile> {
    const traceFile = `${this.args.outputDir}/profile.trace.json`;
    return this.#rehearse('profile', (update) =>
      profileUpdates(this.model.engine, update, { traceFile, ...options }),
    );
  }

  /**
   * Lets the backend choose among its kernels by measuring them in an update of this trainer, and keep
   * the choice for later runs on this device. Rehearsed as in `profile`: no weight changes.
   *
   * @example await trainer.tune({ maxSeconds: 30 });
   * @throws NO_ROWS, ALREADY_TRAINING, TUNING_UNSUPPORTED, PROFILE_UNSUPPORTED, TUNING_FILE
   */
  tune(options: TuningOptions = {}): Promise<TuningReport> {
    const { backend } = this.model.engine;
    return this.#rehearse('tune', async (update) => {
      if (backend.tune) return backend.tune(update, options);
      throw new AttuneError(
        'TUNING_UNSUPPORTED',
        `backend "${backend.info.name}" has one kernel for each op.`,
        { remedy: 'Tune on WebGPU: createAttune({ plugins: [dawn()] }).' },
      );
    });
  }

  /**
   * What training will hold on the device, by purpose, before it begins: nothing is allocated or
   * computed. Prints as a table.
   *
   * @example console.log(String(await trainer.planMemory()));
   * @throws NO_ROWS, ALREADY_TRAINING
   */
  async planMemory(options: PlanMemoryOptions = {}): Promise<MemoryPlan> {
    return planMemory(
      await this.#planSubject(options.rows ?? this.#trainRows('planMemory')),
      options,
    );
  }

  #loader(examples: Examples<unknown>): Loader<unknown> {
    return trainingLoader(examples, this.args, this.objective, this.#lengths);
  }

  async #planSubject(rows: RowSource): Promise<PlanSubject> {
    const { evalDataset } = this.#options;
    return {
      context: this.#context,
      callbacks: this.#callbacks,
      objective: this.objective,
      trainExamples: await sampleExamples(await this.#rows.examples(rows, 'training')),
      evalExamples: evalDataset ? await this.#evaluation.examples(evalDataset) : null,
      optimizers: this.#optimizers,
    };
  }

  /** Updates of the first batch with learning rate 0, as often as `use` asks for; leaves no trace. */
  async #rehearse<T>(caller: string, use: (update: () => Promise<void>) => Promise<T>): Promise<T> {
    const rows = this.#trainRows(caller);
    using _ = this.#occupy(caller);
    const { objective } = this;
    const examples = await this.#rows.examples(rows, 'training');
    return await this.#tryOut(this.#loader(examples), async (run) => {
      let first: unknown[][] = [];
      for await (const group of run.groups()) {
        first = group;
        break;
      }
      return use(async () => {
        await update(this.#context, objective, run, first);
        run.optimizer.zeroGrad();
      });
    });
  }

  /** A run with learning rate 0, of which nothing is left. */
  async #tryOut<T>(loader: Loader<unknown>, use: (run: TrainingRun) => Promise<T>): Promise<T> {
    const before = { ...this.state };
    const run = await TrainingRun.start(
      this.#context,
      this.#callbacks,
      loader,
      null,
      this.#optimizers,
    );
    try {
      run.learningRate = 0;
      return await use(run);
    } finally {
      await run.dispose();
      Object.assign(this.state, before);
    }
  }

  /** Sets perDeviceTrainBatchSize to what fits: see `autoFindBatchSize`. */
  async #findBatchSize(rows: RowSource): Promise<void> {
    const { args, model } = this;
    const { backend } = model.engine;
    const examples = await this.#rows.examples(rows, 'training');
    const sample = await sampleExamples(examples);
    const attempt = async (size: number): Promise<void> => {
      Object.assign(args, { perDeviceTrainBatchSize: size });
      if (args.maxMemory !== null) checkBudget(await this.#planSubject(rows), args.maxMemory);
      await this.#tryOut(this.#loader(examples), async (run) => {
        await backend.sync(); // optimizer and gradients fit
        const longest = longestExamples(sample, size);
        const group = args.gradientAccumulationSteps > 1 ? [longest, longest] : [longest];
        await update(this.#context, this.objective, run, group);
        await backend.sync();
      });
    };
    const recover = backend.recover ? () => backend.recover!() : undefined;
    await findBatchSize(args.perDeviceTrainBatchSize, attempt, recover, model.attune.logger);
  }

  /** @throws ADAPTERS_CHANGED */
  #checkModel(): void {
    checkSameAdapters(this.#adapters, this.model.adapters, 'after this trainer was made');
  }

  /** Until it is disposed, nobody else trains here. @throws ATTUNE_BUSY */
  #occupy(caller: string): Disposable {
    const lease = this.model.attune.occupy(`${this.constructor.name}.${caller}()`);
    this.#isBusy = true;
    return {
      [Symbol.dispose]: () => {
        this.#isBusy = false;
        lease[Symbol.dispose]();
      },
    };
  }

  /** At the first request to end: what happens, and what the run is waiting for meanwhile. */
  #sayStop(reason: StopReason): void {
    const { logger } = this.model.attune;
    const waits = this.#callbacks.activity.current;
    const waiting = waits === null ? '' : ` It is waiting for ${waits}.`;
    if (reason !== 'abort')
      logger.warn(
        `${reason}: the run ends after the update in progress, with a checkpoint.${waiting} Once more ends the process at once.`,
      );
    else if (waiting) logger.warn(`the run is to end.${waiting}`);
  }

  /** @throws NO_ROWS, ALREADY_TRAINING, ADAPTERS_CHANGED */
  #trainRows(caller: string): RowSource {
    this.#checkModel();
    const { trainDataset } = this.#options;
    if (!trainDataset)
      throw new AttuneError('NO_ROWS', `${caller}() needs training rows.`, {
        remedy: 'Pass trainDataset to the trainer.',
      });
    if (this.#isBusy)
      throw new AttuneError('ALREADY_TRAINING', 'this trainer is training already.', {
        remedy: 'Await the first train() or profile() before the second.',
      });
    return trainDataset;
  }

  /**
   * The objective's loss over `dataset`, every item weighing the same, and what `computeMetrics` says.
   * Several sets by name give the metrics of each (`evalMathLoss`) and of all together (`evalLoss`).
   *
   * @param dataset default: the trainer's evaluationTasks, and its evalDataset where it has one
   * @throws NO_ROWS, EVAL_SET_NAME, COMPUTE_METRICS, EVALUATION_TASK
   */
  async evaluate(dataset?: EvalDataset): Promise<EvalMetrics> {
    checkEvalRows('evaluate()', dataset);
    this.#checkModel();
    const metrics = await (dataset
      ? this.#evaluation.evaluate(dataset)
      : this.#evaluation.evaluateAll(this.#options.evalDataset));
    await this.#loop.enterLog(metrics);
    await this.#callbacks.call('onEvaluate', this.#context, metrics);
    return metrics;
  }

  /**
   * Outputs of the model for every row, with labels and metrics (`testLoss`, ...). The outputs lie in
   * host memory: `preprocessLogitsForMetrics` makes them small.
   *
   * @param metricKeyPrefix what metrics begin with. Default "test"
   * @throws NO_ROWS, PREDICTIONS, COMPUTE_METRICS
   */
  async predict(dataset: RowSource, metricKeyPrefix = 'test'): Promise<PredictionOutput> {
    this.#checkModel();
    return this.#evaluation.predict(dataset, metricKeyPrefix);
  }

  /** The adapter (or, without one, the model) and the tokenizer, as Hugging Face lays them out. Default: outputDir. */
  async saveModel(folder: string = this.args.outputDir): Promise<void> {
    this.#checkModel();
    requireFolder(folder, 'saveModel');
    await saveWhole(folder, async (temporary) => {
      await (this.model.adapters ?? this.model).savePretrained(temporary);
      await this.#options.tokenizer?.savePretrained?.(temporary);
    });
  }
}
