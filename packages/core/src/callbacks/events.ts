import { EventEmitter } from 'eventemitter3';
import type { Logger } from '../util/logger.js';
import type { EvalMetrics, Logs, TrainLogs } from './callback.js';

/** What `trainer.on(name, listener)` tells, after the callbacks of the same moment. */
export interface TrainerEvents {
  /** A row of the training log: loss, gradNorm, learningRate, epoch, ... */
  log: (event: { readonly step: number; readonly logs: TrainLogs }) => void;
  evaluate: (event: { readonly step: number; readonly metrics: EvalMetrics }) => void;
  /** A checkpoint has been written. */
  save: (event: { readonly step: number; readonly folder: string }) => void;
  step: (event: { readonly step: number; readonly epoch: number }) => void;
  trainBegin: (event: { readonly step: number; readonly maxSteps: number }) => void;
  trainEnd: (event: { readonly step: number; readonly metrics: Logs }) => void;
}

type EventName = keyof TrainerEvents;

/**
 * Listeners watch; they cannot change or end a run. One that throws, or whose promise rejects, is
 * reported to the logger and the run goes on. Callbacks are for everything else.
 */
export class Events {
  readonly #emitter = new EventEmitter<EventName>();

  constructor(private readonly logger: Logger) {}

  on<E extends EventName>(name: E, listener: TrainerEvents[E]): void {
    this.#emitter.on(name, listener);
  }

  off<E extends EventName>(name: E, listener: TrainerEvents[E]): void {
    this.#emitter.off(name, listener);
  }

  emit<E extends EventName>(name: E, event: Parameters<TrainerEvents[E]>[0]): void {
    const report = (error: unknown) =>
      this.logger.error(
        `a listener of "${name}" failed: ${error instanceof Error ? error.message : error}`,
      );
    for (const listener of this.#emitter.listeners(name)) {
      try {
        const result: unknown = (listener as (e: unknown) => unknown)(event);
        if (result instanceof Promise) result.catch(report);
      } catch (error) {
        report(error);
      }
    }
  }
}
