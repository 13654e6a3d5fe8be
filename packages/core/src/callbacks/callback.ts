import type { LanguageModel } from '../models/languageModel.js';
import type { TrainerState } from '../trainer/trainerState.js';
import type { TrainingArguments } from '../trainer/trainingArguments.js';
import type { Logger } from '../util/logger.js';

/** What a callback may ask the Trainer for. The Trainer takes the flags back at the next step. */
export interface TrainerControl {
  /** Ends the run after this step; evaluation and saving that are due still happen. */
  shouldTrainingStop: boolean;
  /** Goes on with the next epoch. */
  shouldEpochStop: boolean;
  shouldLog: boolean;
  shouldEvaluate: boolean;
  shouldSave: boolean;
}

export interface CallbackContext {
  readonly args: TrainingArguments;
  /** What is: step, epoch, log history, best metric. */
  readonly state: TrainerState;
  /** What shall be: set a flag to ask for it. */
  readonly control: TrainerControl;
  readonly model: LanguageModel;
  readonly logger: Logger;
}

/** Numbers by name, as they are logged. */
export type Logs = Readonly<Record<string, number>>;

/** The row of the training log, full precision. */
export interface TrainLogs {
  /** Mean over the updates since the last log: per item, e.g. nats per token. */
  readonly loss: number;
  /** L2 norm of the gradient before clipping, of the last update. */
  readonly gradNorm: number;
  /** The rate that the last update used. */
  readonly learningRate: number;
  readonly epoch: number;
  readonly [name: string]: number;
}

export interface EvalMetrics {
  /** Mean over all items (tokens for a language model), whatever the batch size. */
  readonly evalLoss: number;
  /** exp(evalLoss) */
  readonly evalPerplexity: number;
  /** Seconds. */
  readonly evalRuntime: number;
  readonly evalSamplesPerSecond: number;
  /** Tokens that went through the model, padding left out. */
  readonly evalTokensPerSecond: number;
  readonly [name: string]: number;
}

type Hook = (context: CallbackContext) => void | Promise<void>;

/**
 * Named moments of a run, as in Hugging Face's Trainer. Each is awaited, callbacks in their order;
 * an error ends the run. Implement the ones that you need.
 *
 * At an update: clip, onPreOptimizerStep, step, onOptimizerStep, onStepEnd, then what is due of log,
 * evaluate, save.
 *
 * In a class that `implements TrainerCallback`, TypeScript wants the parameters' types written out
 * (`onEvaluate({ state }: CallbackContext, metrics: EvalMetrics)`); in `defineCallback({ ... })` it infers them.
 */
export interface TrainerCallback {
  /** How messages and a checkpoint's saved state call it. Default: the name of its class. */
  readonly name?: string;
  /** When the Trainer has been made, before anything else. Must not wait: constructors cannot. */
  onInitEnd?(context: CallbackContext): void;
  onTrainBegin?: Hook;
  onTrainEnd?: Hook;
  onEpochBegin?: Hook;
  onEpochEnd?: Hook;
  /** Before the first micro-batch of an update. */
  onStepBegin?: Hook;
  /** After each micro-batch of an update but the last. */
  onSubstepEnd?: Hook;
  /** Gradients are accumulated and the clip factor is known to the device. */
  onPreOptimizerStep?: Hook;
  /** The parameters have changed; gradients are still there. */
  onOptimizerStep?: Hook;
  onStepEnd?: Hook;
  onEvaluate?(context: CallbackContext, metrics: EvalMetrics): void | Promise<void>;
  /** A checkpoint has been written. */
  onSave?: Hook;
  /** Each row that enters `state.logHistory`: training, evaluation and the summary at the end. */
  onLog?(context: CallbackContext, logs: Logs): void | Promise<void>;
  /** What a checkpoint must keep of this callback: JSON. */
  exportState?(): Readonly<Record<string, unknown>>;
  /** Called on resume with what `exportState` gave. */
  importState?(state: Readonly<Record<string, unknown>>): void;
}

/** A callback as a plain object, its parameters' types inferred. */
export const defineCallback = (callback: TrainerCallback): TrainerCallback => callback;

export const callbackName = (callback: TrainerCallback): string =>
  callback.name ?? callback.constructor.name;
