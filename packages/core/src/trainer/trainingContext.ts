import type { CallbackHandler } from '../callbacks/handler.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import type { EvalMetrics } from '../training/callback.js';
import type { Objective } from '../training/objective.js';
import type { Activity } from '../util/activity.js';
import type { Logger } from '../util/logger.js';
import type { Ranks } from './loop/ranks.js';
import type { StopRequest } from './loop/stopRequest.js';
import type { OptimizerChoice } from './makeOptimizer.js';
import type { PreparedRows } from './rows/preparedRows.js';

/**
 * What is fixed in a training run, and given to every part of it. What changes is `TrainingRun`;
 * what callbacks are given is `callbacks.context`.
 */
export interface TrainingContext {
  readonly model: LanguageModel;
  readonly objective: Objective;
  readonly args: TrainingArguments;
  readonly callbacks: CallbackHandler;
  readonly rows: PreparedRows;
  readonly optimizers: OptimizerChoice;
  readonly logger: Logger;
  /** What is waited for that is not the run's own. */
  readonly activity: Activity;
  /** What ranks tell one another; null: there is one. */
  readonly ranks: Ranks | null;
  /** Asks the run to end; its signal aborts then. */
  readonly stop: StopRequest;
  /**
   * `Objective.prepare`, the first time that it is asked for. Before anything records the loss or
   * reads the weights of a checkpoint.
   */
  prepare(): Promise<void>;
  /** Measures the trainer's evaluation rows and tasks. */
  evaluate(): Promise<EvalMetrics>;
}
