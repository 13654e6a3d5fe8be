import type { RowSource } from '../dataset/rowSource.js';
import type { EvalDataset } from '../evaluation/evaluation.js';
import type { ComputeMetrics, PreprocessLogits } from '../evaluation/predictions.js';
import type { EvaluationTask } from '../evaluation/tasks/evaluationTask.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Schedule } from '../optim/scheduleDefinition.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import type { Resume } from '../training/arguments/choices.js';
import type {
  TrainingArguments,
  TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import type { Logs, TrainerCallback } from '../training/callback.js';
import type { Objective } from '../training/objective.js';
import type { PeftConfigInput } from './applyPeft.js';
import type { StopReason } from './loop/stopRequest.js';
import type { OptimizerFactory } from './makeOptimizer.js';

/** What a trainer is made of. */
export interface TrainerOptions<
  Args extends TrainingArguments = TrainingArguments,
  ArgsInput extends object = TrainingArgumentsInput,
> {
  /** What is trained: of `fromPretrained`, `fromConfig`, or one with adapters. */
  readonly model: LanguageModel;
  /** What to learn, or a function that makes it from the checked arguments. */
  readonly objective: Objective | ((args: Args, model: LanguageModel) => Objective);
  /** Needed for rows of text, and saved beside the weights. Default null: rows of token ids. */
  readonly tokenizer?: SavableTokenizer | null | undefined;
  /** Rows to learn from: of `loadDataset`, `Dataset.from`, or an array. Default none: only `evaluate` and `predict` work. */
  readonly trainDataset?: RowSource | undefined;
  /** Rows to evaluate on: one set, or several by name: `{ math, code }` is logged as evalMathLoss, evalCodeLoss and evalLoss. Default none. */
  readonly evalDataset?: EvalDataset | undefined;
  /** Benchmarks at each evaluation, by themselves or by the name under which a plugin added them: evalArcAcc, ... Default none. */
  readonly evaluationTasks?: readonly (EvaluationTask | string)[] | undefined;
  /** Metrics of your own from the outputs of an evaluation; logged as `eval<Name>`. Outputs are kept only for it. Default none. */
  readonly computeMetrics?: ComputeMetrics | undefined;
  /** Makes less of the logits before they leave the device, e.g. `(logits) => ops.argmax(logits)`. Default: they stay as they are. */
  readonly preprocessLogitsForMetrics?: PreprocessLogits | undefined;
  /** A new adapter on the frozen model, e.g. `{ peftType: 'LORA', r: 8 }`. Needs the peft plugin. Default none: all weights are trained. */
  readonly peftConfig?: PeftConfigInput | undefined;
  /** How to train: batch sizes, learning rate, when to log, evaluate and save. Default {}: every argument has a default. */
  readonly args?: ArgsInput | undefined;
  /**
   * An optimizer and a schedule of your own, as in transformers; null: what the arguments say. The
   * first is a function (engine, groups) => Optimizer, called for each run; the second goes from updates
   * done to a factor on learningRate. Default [null, null].
   */
  readonly optimizers?: readonly [OptimizerFactory | null, (Schedule | null)?] | undefined;
  /** Callbacks in their order; a string names one that a plugin added. Default none. */
  readonly callbacks?: readonly (TrainerCallback | string)[] | undefined;
}

export const trainerOptionNames: Record<keyof TrainerOptions, true> = {
  model: true,
  objective: true,
  tokenizer: true,
  trainDataset: true,
  evalDataset: true,
  evaluationTasks: true,
  computeMetrics: true,
  preprocessLogitsForMetrics: true,
  peftConfig: true,
  args: true,
  optimizers: true,
  callbacks: true,
};

/** A tokenizer; if it can be saved, `saveModel` puts it beside the weights. */
export type SavableTokenizer = TextTokenizer & { savePretrained?(folder: string): Promise<void> };

/** How a trainer differs from the general one: its options and their defaults. */
export interface TrainerFlavor {
  readonly schema?: typeof trainingArgumentsSchema;
  readonly defaults?: Readonly<Record<string, unknown>>;
}

export interface TrainOptions {
  /**
   * Goes on from a checkpoint. true: the latest whole one of the run that used outputDir last; "if-present":
   * so, or anew where there is none; a folder: that one. Default: args.resumeFromCheckpoint.
   */
  readonly resumeFromCheckpoint?: Resume | undefined;
  /** Ends the run cleanly after the update in progress, with a checkpoint. Default none. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Ctrl-C (SIGINT) and SIGTERM end the run as `signal` does; a second Ctrl-C ends the process at once.
   * The handlers are gone when train() is over. Default true.
   */
  readonly handleSignals?: boolean | undefined;
}

export const trainOptionNames: Record<keyof TrainOptions, true> = {
  resumeFromCheckpoint: true,
  signal: true,
  handleSignals: true,
};

export interface TrainOutput {
  readonly globalStep: number;
  /** Mean loss over all updates of the run. */
  readonly trainingLoss: number;
  /** Who ended the run before its last update: a callback, the AbortSignal or a signal of the process; null: nobody. */
  readonly stoppedBy: StopReason | null;
  /**
   * trainRuntime (seconds), trainSamplesPerSecond, trainStepsPerSecond, trainTokensPerSecond, trainLoss, epoch;
   * trainDataWaitMs: how long all updates after the first waited for their rows.
   */
  readonly metrics: Logs;
}
