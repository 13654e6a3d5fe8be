import type { LanguageModel } from '../models/languageModel.js';
import type { Logger } from '../util/logger.js';
import type { TrainingArguments } from './arguments/trainingArguments.js';
import type { Objective } from './objective.js';
import type { TrainerState } from './trainerState.js';

/**
 * What a callback may ask the Trainer for. The Trainer takes the flags back at the next step.
 * Evaluating and saving wait for the last update of a group, where an objective makes several.
 */
export interface TrainerControl {
  /** Ends the run after this step. Evaluation and saving that are due still happen. */
  shouldTrainingStop: boolean;
  /** Goes on with the next epoch. */
  shouldEpochStop: boolean;
  shouldLog: boolean;
  shouldEvaluate: boolean;
  shouldSave: boolean;
}

/** What callbacks see of a run, and ask it for. */
export interface CallbackContext {
  readonly args: TrainingArguments;
  /** Names of the arguments that the user wrote and that are not the defaults of this trainer. */
  readonly changedArguments: readonly string[];
  /** Where the run stands: step, epoch, log history, best metric. */
  readonly state: TrainerState;
  /** What the run shall do: set a flag to ask for it. */
  readonly control: TrainerControl;
  readonly model: LanguageModel;
  /** What the run trains for. */
  readonly objective: Objective;
  readonly logger: Logger;
}

/** Numbers by name, as they are logged. */
export type Logs = Readonly<Record<string, number>>;

/** A row of the training log, in full precision. */
export interface TrainLogs {
  /** Mean loss of an item over the updates since the last log, e.g. nats per token. */
  readonly loss: number;
  /** L2 norm of the gradient before clipping, of the last update. */
  readonly gradNorm: number;
  /** The rate that the last update used. */
  readonly learningRate: number;
  readonly epoch: number;
  readonly [name: string]: number;
}

/**
 * What an evaluation measured. Beside these there are the metrics of the objective, and
 * `evalPerplexity` = exp(evalLoss) where the objective says that its loss is a log-likelihood (SFT
 * does). The metrics with a name here are about rows: a trainer with `evaluationTasks` and without
 * evalDataset gives those of its tasks alone.
 */
export interface EvalMetrics {
  /** Mean loss over all items (tokens of a language model), whatever the batch size. */
  readonly evalLoss: number;
  /** Seconds. */
  readonly evalRuntime: number;
  readonly evalSamplesPerSecond: number;
  /** Tokens that went through the model, padding left out. */
  readonly evalTokensPerSecond: number;
  readonly [name: string]: number;
}

/** Where an evaluation or a prediction stands. */
export interface PredictionStep {
  /** Batches done. */
  readonly batch: number;
  /** null: of a stream, whose end is not known. */
  readonly batches: number | null;
}

type Hook = (context: CallbackContext) => void | Promise<void>;

/** Hooks that are awaited, and their second argument; null where there is none. */
export interface HookValues {
  onTrainBegin: number;
  onTrainEnd: Logs;
  onEpochBegin: null;
  onEpochEnd: null;
  onStepBegin: null;
  onSubstepEnd: null;
  onPreOptimizerStep: null;
  onOptimizerStep: null;
  onStepEnd: null;
  onEvaluate: EvalMetrics;
  onPredict: Logs;
  onSave: string;
  onLog: Logs;
  onPredictionStep: PredictionStep;
}

/** The name of a moment that is awaited. */
export type AsyncHook = keyof HookValues;

/**
 * Named moments of a run, as in Hugging Face's Trainer. Each is awaited, callbacks in their order.
 * Implement the ones that you need. One that throws ends the run with CALLBACK_FAILED, which names
 * the callback and the hook. What has been learned is saved as a checkpoint first.
 *
 * At an update: clip, onPreOptimizerStep, step, onOptimizerStep, onStepEnd, then what is due of
 * log, evaluate, save.
 *
 * In a class that `implements TrainerCallback`, TypeScript wants the parameters' types written out
 * (`onEvaluate({ state }: CallbackContext, metrics: EvalMetrics)`); in `defineCallback({ ... })` it
 * infers them.
 */
export interface TrainerCallback {
  /** How messages and a checkpoint's saved state call it. Default: the name of its class. */
  readonly name?: string;
  /**
   * It tells people about the run: then, of several ranks, the first alone has it. Default false.
   */
  readonly firstRankOnly?: boolean;
  /** When the Trainer has been made, before anything else. Must not wait: constructors cannot. */
  onInitEnd?(context: CallbackContext): void;
  /** @param maxSteps updates of the whole run */
  onTrainBegin?(context: CallbackContext, maxSteps: number): void | Promise<void>;
  /** @param metrics the summary: trainRuntime, trainLoss, ... */
  onTrainEnd?(context: CallbackContext, metrics: Logs): void | Promise<void>;
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
  /** After the evaluation of each set of rows, and of the tasks. */
  onEvaluate?(context: CallbackContext, metrics: EvalMetrics): void | Promise<void>;
  /** After `trainer.predict`. */
  onPredict?(context: CallbackContext, metrics: Logs): void | Promise<void>;
  /** A checkpoint has been written to `folder`. */
  onSave?(context: CallbackContext, folder: string): void | Promise<void>;
  /** Each row that enters `state.logHistory`: training, evaluation and the summary at the end. */
  onLog?(context: CallbackContext, logs: Logs): void | Promise<void>;
  /** A batch of an evaluation or a prediction is done. */
  onPredictionStep?(context: CallbackContext, progress: PredictionStep): void | Promise<void>;
  /** What a checkpoint must keep of this callback, as JSON. */
  exportState?(): Readonly<Record<string, unknown>>;
  /** Called on resume with what `exportState` gave. */
  importState?(state: Readonly<Record<string, unknown>>): void;
}

/** A callback as a plain object, its parameters' types inferred. */
export const defineCallback = (callback: TrainerCallback): TrainerCallback => callback;

/** What messages call a callback: its name, else that of its class. */
export const callbackName = (callback: TrainerCallback): string =>
  callback.name ?? callback.constructor.name;
