import { EventEmitter } from 'eventemitter3';
import type { Logger } from '../util/logger.js';
import type { EvalMetrics, Logs, PredictionStep, TrainLogs } from './callback.js';

/** Where the run stands. It is part of every event. */
export interface Moment {
  /** Updates done. */
  readonly step: number;
  /** Epochs done, fractional. */
  readonly epoch: number;
}

/** What an event tells beside the moment. */
export interface EventPayloads {
  /** The Trainer has been made; for listeners that are added in the same turn. */
  initEnd: object;
  trainBegin: { readonly maxSteps: number };
  /** The summary: trainRuntime, trainLoss, ... */
  trainEnd: { readonly metrics: Logs };
  epochBegin: object;
  epochEnd: object;
  stepBegin: object;
  substepEnd: object;
  preOptimizerStep: object;
  optimizerStep: object;
  stepEnd: object;
  /** The same as `stepEnd`. */
  step: object;
  /** One set of rows, or the tasks, have been evaluated. */
  evaluate: { readonly metrics: EvalMetrics };
  predict: { readonly metrics: Logs };
  /** A checkpoint has been written. */
  save: { readonly folder: string };
  /** A row of the training log: loss, gradNorm, learningRate, epoch, ... */
  log: { readonly logs: TrainLogs };
  /** A batch of an evaluation or a prediction is done. */
  predictionStep: PredictionStep;
}

/** The name of an event: `on("log", ...)`. */
export type EventName = keyof EventPayloads;

/** What `trainer.on(name, listener)` tells a listener, after the callbacks of the same moment. */
export type TrainerEvents = {
  [E in EventName]: (event: Moment & EventPayloads[E]) => void;
};

type Report = (error: unknown) => void;

/** What `Events` emits: the event, and where the listener's errors go. */
type Emitted = {
  [E in EventName]: (event: Moment & EventPayloads[E], report: Report) => void;
};

/**
 * Listeners watch; they cannot change or end a run. One that throws, or whose promise rejects, is
 * reported to the logger and the run goes on. Callbacks are for everything else.
 *
 * eventemitter3 holds the listeners and calls them in their order: also where one adds or takes off
 * others meanwhile. It would let an error of one through to the run and leave a rejection
 * unhandled; so what it calls is `deliver`, with the listener as its `this`.
 */
export class Events {
  readonly #emitter = new EventEmitter<Emitted>();

  constructor(private readonly logger: Logger) {}

  on<E extends EventName>(name: E, listener: TrainerEvents[E]): void {
    this.#emitter.on(name as EventName, deliver, listener);
  }

  /** Takes a listener off, as often as it was added. */
  off<E extends EventName>(name: E, listener: TrainerEvents[E]): void {
    this.#emitter.off(name as EventName, deliver, listener);
  }

  emit<E extends EventName>(name: E, event: Moment & EventPayloads[E]): void {
    const report: Report = (error) =>
      this.logger.error(
        `a listener of "${name}" failed: ${error instanceof Error ? error.message : error}`,
      );
    this.#emitter.emit(name as EventName, event as never, report);
  }
}

function deliver(this: (event: unknown) => unknown, event: unknown, report: Report): void {
  try {
    const result = this(event);
    if (result instanceof Promise) result.catch(report);
  } catch (error) {
    report(error);
  }
}
