import type { z } from 'zod';
import type { TuningOptions, TuningReport } from '../backend/backend.js';
import { tuningOptions } from '../backend/tuningOptions.js';
import type { CallbackKey } from '../callbacks/handler.js';
import type { RowSource } from '../dataset/rowSource.js';
import type { EvalDataset, Evaluation, PredictionOutput } from '../evaluation/evaluation.js';
import { saveWhole } from '../io/saveWhole.js';
import type { AdapterHost } from '../models/adapterHost.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { PreflightReport } from '../text/preflight/preflightReport.js';
import type {
  TrainingArguments,
  TrainingArgumentsInput,
} from '../training/arguments/trainingArguments.js';
import type { EvalMetrics, TrainerCallback } from '../training/callback.js';
import type { TrainerEvents } from '../training/events.js';
import type { Objective } from '../training/objective.js';
import type { TrainerState } from '../training/trainerState.js';
import { AttuneError } from '../util/errors.js';
import { parseOptions } from '../util/options.js';
import { requireFolder } from '../util/requireFolder.js';
import { beginTraining, loaderOf, planSubject, type TrainerRows } from './beginTraining.js';
import { argumentsPlace, checkEvalRows } from './checkInputs.js';
import { checkSameAdapters } from './checkTraining.js';
import { type TrainingStep, trainingSteps } from './loop/trainingSteps.js';
import { checkPlanMemory, type MemoryPlan, type PlanMemoryOptions } from './memory/memoryPlan.js';
import { planMemory } from './memory/planMemory.js';
import {
  type ProfileOptions,
  profileOptions,
  profileUpdates,
  type TrainingProfile,
} from './profile.js';
import { firstGroup, rehearse } from './rehearsals.js';
import { groupShape } from './rows/groupShape.js';
import {
  type PreviewOptions,
  previewOptions,
  type TrainerFlavor,
  type TrainerOptions,
  type TrainOptions,
  type TrainOutput,
  trainOptions,
} from './trainerOptions.js';
import type { TrainingContext } from './trainingContext.js';
import { wireTrainer } from './wireTrainer.js';

/**
 * Trains a model. The objective says what is learned: SFTTrainer is this with an objective and its
 * defaults. The loop itself is in loop/trainingSteps.ts.
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
  /** Where the run stands. */
  readonly state: TrainerState;
  readonly objective: Objective;
  readonly #options: TrainerOptions<Args, ArgsInput>;
  readonly #schema: z.ZodObject;
  readonly #context: TrainingContext;
  readonly #evaluation: Evaluation;
  /** The adapters that the model had when the trainer was made. */
  readonly #adapters: AdapterHost | null;
  #isBusy = false;

  /**
   * @throws UNKNOWN_OPTION, TRAINER_OPTION, OBJECTIVE_INVALID, ARGUMENTS_INVALID, PEFT_MISSING,
   *   UNKNOWN_NAME (a callback), MAX_LENGTH
   */
  constructor(options: TrainerOptions<Args, ArgsInput>, flavor: TrainerFlavor = {}) {
    const { context, evaluation, schema } = wireTrainer(new.target.name, options, flavor, () =>
      this.evaluate(),
    );
    this.model = context.model;
    this.args = context.args as Args;
    this.state = context.callbacks.context.state;
    this.objective = context.objective;
    this.#options = options;
    this.#schema = schema;
    this.#context = context;
    this.#evaluation = evaluation;
    this.#adapters = context.model.adapters;
    context.callbacks.initEnd();
  }

  /**
   * Watches the run. Every moment at which a callback is called has an event. A listener cannot
   * disturb the run.
   */
  on<E extends keyof TrainerEvents>(name: E, listener: TrainerEvents[E]): this {
    this.#context.callbacks.events.on(name, listener);
    return this;
  }

  off<E extends keyof TrainerEvents>(name: E, listener: TrainerEvents[E]): this {
    this.#context.callbacks.events.off(name, listener);
    return this;
  }

  /** Adds a callback, after the others. @throws UNKNOWN_NAME for a name that no plugin added */
  addCallback(callback: TrainerCallback | string): void {
    this.#context.callbacks.add(callback);
  }

  /** @param callback itself, its name or its class; the first that fits goes */
  removeCallback(callback: CallbackKey): void {
    this.#context.callbacks.pop(callback);
  }

  /** `removeCallback` that returns what it took away; null when nothing fits. */
  popCallback(callback: CallbackKey): TrainerCallback | null {
    return this.#context.callbacks.pop(callback);
  }

  /**
   * Trains from the start, or goes on from a checkpoint. Then every number is that of the
   * uninterrupted run.
   *
   * An Attune trains one run at a time, because draws of dropout and the memory limit belong to it.
   *
   * @throws ALREADY_TRAINING, ATTUNE_BUSY, NO_ROWS, ROW_FORMAT, NO_TRAINABLE, CHECKPOINT_NONE,
   *   CHECKPOINT_MISMATCH, DEVICE_LOST, ...
   */
  async train(options: TrainOptions = {}): Promise<TrainOutput> {
    const steps = this.steps(options);
    while (true) {
      const { done, value } = await steps.next();
      if (done) return value;
    }
  }

  /**
   * `train` as a loop. It tells of each update and each evaluation when it is done, with the log,
   * evaluation and checkpoint that were due at it, and returns what `train` returns. Nothing waits
   * for the device to tell of an update: the numbers of most are still there, and `logs` is null.
   *
   * Leaving the loop with `break` ends the run: outputDir is free for others, and the last
   * checkpoint is what it was. An iterator that is neither run to its end nor returned holds both
   * the Attune and outputDir.
   *
   * @example
   * for await (const update of trainer.steps())
   *   if (update.kind === 'evaluation' && update.metrics.evalLoss < 1) break;
   * @throws as `train`
   */
  steps(options: TrainOptions = {}): AsyncGenerator<TrainingStep, TrainOutput, void> {
    return trainingSteps(this.#context, async () => {
      const rows = this.#trainRows('train');
      const checked = parseOptions(trainOptions, options, {
        where: 'train',
        code: 'TRAINER_OPTION',
        elsewhere: [argumentsPlace(this.#schema)],
      });
      const lease = this.#occupy('train');
      return beginTraining(this.#context, this.#evaluation, rows, checked, lease);
    });
  }

  /**
   * Looks at what will be trained on: decoded rows, the share of trained tokens, end tokens, what
   * is cut off or left out, and what `train()` would refuse. It prints as `train()` shows it.
   *
   * @example console.log(String(await trainer.preview({ rows: 5 })));
   * @throws UNKNOWN_OPTION, INVALID_OPTION, NO_ROWS, ALREADY_TRAINING, PREVIEW_UNSUPPORTED, and
   *   what a row is refused for
   */
  async preview(options: PreviewOptions = {}): Promise<PreflightReport> {
    const { rows } = parseOptions(previewOptions, options, { where: 'preview' });
    return this.#context.rows.preview(this.#trainRows('preview').train, rows);
  }

  /**
   * Measures where the time of an update goes: a table by op, and a trace file. It repeats the
   * first batch of the training rows with learning rate 0, so the weights stay as they are. No
   * callback is called.
   *
   * @example console.log(String(await trainer.profile({ steps: 3 })));
   * @throws UNKNOWN_OPTION, INVALID_OPTION, NO_ROWS, ALREADY_TRAINING, PROFILE_UNSUPPORTED
   */
  async profile(options: ProfileOptions = {}): Promise<TrainingProfile> {
    const traceFile = `${this.args.outputDir}/profile.trace.json`;
    const checked = parseOptions(profileOptions, options, { where: 'profile' });
    return this.#rehearse('profile', (update) =>
      profileUpdates(this.model.engine, update, { traceFile, ...checked }),
    );
  }

  /**
   * Lets the backend choose among its kernels by measuring them in an update of this trainer, and
   * keep the choice for later runs on this device. Updates are repeated as in `profile`: no weight
   * changes.
   *
   * @example await trainer.tune({ maxSeconds: 30 });
   * @throws UNKNOWN_OPTION, INVALID_OPTION, NO_ROWS, ALREADY_TRAINING, TUNING_UNSUPPORTED,
   *   PROFILE_UNSUPPORTED, TUNING_FILE
   */
  async tune(options: TuningOptions = {}): Promise<TuningReport> {
    const checked = parseOptions(tuningOptions, options, { where: 'tune' });
    const { backend } = this.model.engine;
    return this.#rehearse('tune', async (update) => {
      if (backend.tune) return backend.tune(update, checked);
      throw new AttuneError(
        'TUNING_UNSUPPORTED',
        `backend "${backend.info.name}" has one kernel for each op.`,
        { remedy: 'Tune on WebGPU: createAttune({ plugins: [dawn()] }).' },
      );
    });
  }

  /**
   * Plans what training will hold on the device, by purpose, before it begins. Nothing is allocated
   * or computed. The plan prints as a table.
   *
   * @example console.log(String(await trainer.planMemory()));
   * @throws UNKNOWN_OPTION, INVALID_OPTION, NO_ROWS, ALREADY_TRAINING
   */
  async planMemory(options: PlanMemoryOptions = {}): Promise<MemoryPlan> {
    checkPlanMemory(options, 'planMemory');
    const rows = options.rows
      ? { train: options.rows, eval: this.#options.evalDataset }
      : this.#trainRows('planMemory');
    await this.#context.prepare();
    return planMemory(await planSubject(this.#context, this.#evaluation, rows), options);
  }

  /** Updates of the first batches, as often as `use` asks for; leaves no trace. */
  async #rehearse<T>(caller: string, use: (update: () => Promise<void>) => Promise<T>): Promise<T> {
    const { train } = this.#trainRows(caller);
    using _ = this.#occupy(caller);
    const loader = loaderOf(this.#context, await this.#context.rows.examples(train, 'training'));
    await this.#context.prepare();
    return await rehearse(this.#context, loader, async (update) => {
      const group = await firstGroup(loader, groupShape(this.args, this.objective).batches);
      return await use(() => update(group));
    });
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

  /** @throws NO_ROWS, ALREADY_TRAINING, ADAPTERS_CHANGED */
  #trainRows(caller: string): TrainerRows {
    this.#checkModel();
    const { trainDataset, evalDataset } = this.#options;
    if (!trainDataset)
      throw new AttuneError('NO_ROWS', `${caller}() needs training rows.`, {
        remedy: 'Pass trainDataset to the trainer.',
      });
    if (this.#isBusy)
      throw new AttuneError('ALREADY_TRAINING', 'this trainer is training already.', {
        remedy: 'Await the first train() or profile() before the second.',
      });
    return { train: trainDataset, eval: evalDataset };
  }

  /**
   * Measures the objective's loss over `dataset`, every item weighing the same, and what
   * `computeMetrics` says. Several sets by name give the metrics of each (`evalMathLoss`) and of
   * all together (`evalLoss`).
   *
   * @param dataset default: the trainer's evaluationTasks, and its evalDataset where it has one
   * @throws NO_ROWS, EVAL_SET_NAME, COMPUTE_METRICS, EVALUATION_TASK
   */
  async evaluate(dataset?: EvalDataset): Promise<EvalMetrics> {
    checkEvalRows('evaluate()', dataset);
    this.#checkModel();
    await this.#context.prepare();
    const metrics = await (dataset
      ? this.#evaluation.evaluate(dataset)
      : this.#evaluation.evaluateAll(this.#options.evalDataset));
    await this.#context.callbacks.log(metrics);
    await this.#context.callbacks.call('onEvaluate', metrics);
    return metrics;
  }

  /**
   * Gives the outputs of the model for every row, with labels and metrics (`testLoss`, ...). The
   * outputs lie in host memory; `preprocessLogitsForMetrics` makes them small.
   *
   * @param metricKeyPrefix what metrics begin with. Default "test"
   * @throws NO_ROWS, PREDICTIONS, COMPUTE_METRICS
   */
  async predict(dataset: RowSource, metricKeyPrefix = 'test'): Promise<PredictionOutput> {
    this.#checkModel();
    await this.#context.prepare();
    return this.#evaluation.predict(dataset, metricKeyPrefix);
  }

  /**
   * Writes the adapter (or, without one, the model) and the tokenizer, as Hugging Face lays them
   * out. Rank 0 alone writes.
   *
   * @param folder default: outputDir
   */
  async saveModel(folder: string = this.args.outputDir): Promise<void> {
    this.#checkModel();
    requireFolder(folder, 'saveModel');
    const { communicator } = this.model.attune;
    if (communicator.rank > 0) return communicator.barrier();
    await saveWhole(folder, async (temporary) => {
      await (this.model.adapters ?? this.model).savePretrained(temporary);
      await this.#options.tokenizer?.savePretrained?.(temporary);
    });
    if (communicator.worldSize > 1) await communicator.barrier();
  }
}
