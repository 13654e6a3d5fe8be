import { z } from 'zod';
import type { RowSource } from '../dataset/rowSource.js';
import type { EvalDataset } from '../evaluation/evaluation.js';
import type { ComputeMetrics, PreprocessLogits } from '../evaluation/predictions.js';
import type { EvaluationTask } from '../evaluation/tasks/evaluationTask.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Schedule } from '../optim/scheduleDefinition.js';
import { PREFLIGHT_MAX_ROWS } from '../text/preflight/preflight.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import type { Resume } from '../training/arguments/choices.js';
import type {
  TrainingArguments,
  TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import type { Logs, TrainerCallback } from '../training/callback.js';
import type { Objective } from '../training/objective.js';
import type { OptionsInput, Retyped } from '../util/options.js';
import type { PeftConfigInput } from './applyPeft.js';
import type { StopReason } from './loop/stopRequest.js';
import type { OptimizerFactory } from './makeOptimizer.js';

/** What a trainer is made of: checked in `checkInputs`, each a thing of its kind. */
const trainerShape = {
  /** What is trained: of `fromPretrained`, `fromConfig`, or one with adapters. */
  model: z.custom<LanguageModel>().meta({ aka: 'basemodel lm llm network' }),
  /**
   * What to learn; a function that makes it from the checked arguments; or a name: "causal-lm", or
   * one of a plugin's.
   */
  objective: z.custom<Objective>(),
  /** Options of an objective that is given by its name. Default {}. */
  objectiveOptions: z.custom<Readonly<Record<string, unknown>>>().optional(),
  /** Needed for rows of text, and saved beside the weights. Default null: rows of token ids. */
  tokenizer: z
    .custom<SavableTokenizer | null>()
    .optional()
    .meta({ aka: 'processingclass tokeniser processor' }),
  /**
   * Rows to learn from: of `loadDataset`, `Dataset.from`, or an array. Default none: only
   * `evaluate` and `predict` work.
   */
  trainDataset: z.custom<RowSource>().optional().meta({
    aka: 'dataset data train traindata trainset trainingdata trainingset trainingdataset rows traindataloader',
  }),
  /**
   * Rows to evaluate on: one set, or several by name: `{ math, code }` is logged as evalMathLoss,
   * evalCodeLoss and evalLoss. Default none.
   */
  evalDataset: z.custom<EvalDataset>().optional().meta({
    aka: 'eval evaldata evalset validation validationdata validationset validationdataset valdata valdataset testdataset',
  }),
  /**
   * Benchmarks at each evaluation, by themselves or by the name under which a plugin added them:
   * evalArcAcc, ... Default none.
   */
  evaluationTasks: z
    .custom<readonly (EvaluationTask | string)[]>()
    .optional()
    .meta({ aka: 'tasks benchmarks evaltasks' }),
  /**
   * Metrics of your own from the outputs of an evaluation; logged as `eval<Name>`. Outputs are kept
   * only for it. Default none.
   */
  computeMetrics: z
    .custom<ComputeMetrics>()
    .optional()
    .meta({ aka: 'metrics metric computemetric' }),
  /**
   * Makes less of the logits before they leave the device, e.g. `(logits) => ops.argmax(logits)`.
   * Default: they stay as they are.
   */
  preprocessLogitsForMetrics: z
    .custom<PreprocessLogits>()
    .optional()
    .meta({ aka: 'preprocesslogits' }),
  /**
   * A new adapter on the frozen model, e.g. `{ peftType: 'LORA', r: 8 }`. Needs the peft plugin.
   * Default none: all weights are trained.
   */
  peftConfig: z
    .custom<PeftConfigInput>()
    .optional()
    .meta({ aka: 'peft lora loraconfig adapter adapters adapterconfig qlora' }),
  /**
   * How to train: batch sizes, learning rate, when to log, evaluate and save. Default {}: every
   * argument has a default.
   */
  args: z.custom<object>().optional().meta({
    aka: 'arguments trainingargs trainingarguments config options params settings hyperparameters sftconfig',
  }),
  /**
   * An optimizer and a schedule of your own, as in transformers; null: what the arguments say. The
   * first is a function (engine, groups) => Optimizer, called for each run; the second goes from
   * updates done to a factor on learningRate. Default [null, null].
   */
  optimizers: z
    .custom<readonly [OptimizerFactory | null, (Schedule | null)?]>()
    .optional()
    .meta({ aka: 'optimizerclsandkwargs optimizerclass' }),
  /** Callbacks in their order; a string names one that a plugin added. Default none. */
  callbacks: z
    .custom<readonly (TrainerCallback | string)[]>()
    .optional()
    .meta({ aka: 'callback hooks' }),
};
/** The options of {@link TrainerOptions}: their names and types; the trainer checks the values. */
export const trainerOptions = z.strictObject(trainerShape);

/** Options of a {@link Trainer}. */
export type TrainerOptions<
  Args extends TrainingArguments = TrainingArguments,
  ArgsInput extends object = TrainingArgumentsInput,
> = Retyped<
  OptionsInput<typeof trainerShape>,
  {
    readonly objective: Objective | string | ((args: Args, model: LanguageModel) => Objective);
    readonly args: ArgsInput | undefined;
  }
>;

/** A tokenizer; if it can be saved, `saveModel` puts it beside the weights. */
export type SavableTokenizer = TextTokenizer & { savePretrained?(folder: string): Promise<void> };

/** How a trainer differs from the general one: its options and their defaults. */
export interface TrainerFlavor {
  readonly schema?: typeof trainingArgumentsSchema;
  readonly defaults?: Readonly<Record<string, unknown>>;
}

/** Options of `train()`. */
const trainShape = {
  /**
   * Goes on from a checkpoint. true: the latest whole one of the run that used outputDir last;
   * "if-present": so, or anew where there is none; a folder: that one. Default:
   * args.resumeFromCheckpoint.
   */
  resumeFromCheckpoint: z.custom<Resume>().optional().meta({ aka: 'resume checkpoint' }),
  /** Ends the run cleanly after the update in progress, with a checkpoint. Default none. */
  signal: z.custom<AbortSignal>().optional(),
  /**
   * Ctrl-C (SIGINT) and SIGTERM end the run as `signal` does; a second Ctrl-C ends the process at
   * once. The handlers are gone when train() is over. Default true.
   */
  handleSignals: z.boolean().default(true),
};
/** The options of {@link TrainOptions}. */
export const trainOptions = z.strictObject(trainShape);

/** Options of `trainer.train` and `trainer.steps`. */
export type TrainOptions = OptionsInput<typeof trainShape>;

const previewShape = {
  /** Rows to show, at most 100. Default: args.preflight.rows, else 3. */
  rows: z.int().min(0).max(PREFLIGHT_MAX_ROWS).optional().meta({ aka: 'numrows n count' }),
};
export const previewOptions = z.strictObject(previewShape);

/** Options of `trainer.preview`. */
export type PreviewOptions = OptionsInput<typeof previewShape>;

/** What a run ended with. */
export interface TrainOutput {
  readonly globalStep: number;
  /** Mean loss over all updates of the run. */
  readonly trainingLoss: number;
  /**
   * Who ended the run before its last update: a callback, the AbortSignal or a signal of the
   * process; null: nobody.
   */
  readonly stoppedBy: StopReason | null;
  /**
   * trainRuntime (seconds), trainSamplesPerSecond, trainStepsPerSecond, trainTokensPerSecond,
   * trainLoss, epoch; trainDataWaitMs: how long all updates after the first waited for their rows.
   */
  readonly metrics: Logs;
}
