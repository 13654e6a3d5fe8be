import { camelToSnake, snakeToCamel } from '../util/json.js';
import type { TrainingArguments } from './arguments/trainingArguments.js';

/** A row of the log: numbers by name, and the update after which it was written. */
export interface LogEntry {
  readonly step: number;
  readonly epoch: number;
  readonly [name: string]: number;
}

/** Where a run stands. It is what transformers keeps in trainer_state.json. */
export class TrainerState {
  /** Epochs done, fractional. */
  epoch = 0;
  /** Updates done. */
  globalStep = 0;
  /** Updates of the whole run. */
  maxSteps = 0;
  numTrainEpochs = 0;
  /** Tokens that training has put through the model, padding left out. */
  numInputTokensSeen = 0;
  /**
   * Updates that the device skipped because the gradient was not finite, as far as they were read.
   */
  skippedSteps = 0;
  /** The best value so far of `metricForBestModel`. */
  bestMetric: number | null = null;
  bestGlobalStep: number | null = null;
  bestModelCheckpoint: string | null = null;
  /** Every row that was logged, in order; the last one of a finished run is its summary. */
  logHistory: LogEntry[] = [];

  /** Back to the beginning, for a new run. */
  reset(): void {
    Object.assign(this, new TrainerState());
  }

  /**
   * trainer_state.json: keys sorted, two spaces; what transformers' TrainerState.load_from_json
   * reads.
   */
  toJson(args: TrainingArguments, statefulCallbacks: Readonly<Record<string, unknown>>): string {
    const json: Record<string, unknown> = {
      best_global_step: this.bestGlobalStep,
      best_metric: this.bestMetric,
      best_model_checkpoint: this.bestModelCheckpoint,
      epoch: this.epoch,
      eval_steps: args.evalSteps,
      global_step: this.globalStep,
      is_hyper_param_search: false,
      is_local_process_zero: true,
      is_world_process_zero: true,
      log_history: this.logHistory.map((row) => sorted(respelled(row, camelToSnake))),
      logging_steps: args.loggingSteps,
      max_steps: this.maxSteps,
      num_input_tokens_seen: this.numInputTokensSeen,
      num_train_epochs: this.numTrainEpochs,
      save_steps: args.saveSteps,
      stateful_callbacks: statefulCallbacks,
      total_flos: 0,
      train_batch_size: args.perDeviceTrainBatchSize,
      trial_name: null,
      trial_params: null,
    };
    return `${JSON.stringify(sorted(json), null, 2)}\n`;
  }

  /** What `toJson` wrote, back. A number that was not finite stands as null in JSON. */
  load(json: Readonly<Record<string, unknown>>): void {
    this.epoch = json.epoch as number;
    this.globalStep = json.global_step as number;
    this.numInputTokensSeen = json.num_input_tokens_seen as number;
    this.bestMetric = json.best_metric as number | null;
    this.bestGlobalStep = json.best_global_step as number | null;
    this.bestModelCheckpoint = json.best_model_checkpoint as string | null;
    this.logHistory = (json.log_history as Record<string, unknown>[]).map(
      (row) =>
        Object.fromEntries(
          Object.entries(respelled(row, snakeToCamel)).map(([name, value]) => [
            name,
            value ?? Number.NaN,
          ]),
        ) as unknown as LogEntry,
    );
  }
}

/** A metric with `/` in its name keeps it: `clip_ratio/low_mean` in files and here. */
const respelled = (
  row: Readonly<Record<string, unknown>>,
  rename: (name: string) => string,
): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name.includes('/') ? name : rename(name), value]),
  );

const sorted = (value: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
