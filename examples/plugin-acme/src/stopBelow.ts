import {
  type CallbackContext,
  type EvalMetrics,
  inject,
  injectable,
  type Logger,
  TOKENS,
  type TrainerCallback,
} from '@attune/core';

/** Ends a run when the loss of an evaluation falls under 1. */
@injectable()
export class StopBelow implements TrainerCallback {
  constructor(@inject(TOKENS.Logger) private readonly logger: Logger) {}
  // TypeScript infers no parameter types from `implements`; JavaScript needs neither.
  onEvaluate({ state, control }: CallbackContext, metrics: EvalMetrics) {
    this.logger.info(`step ${state.globalStep}: ${metrics.evalLoss}`);
    if (metrics.evalLoss < 1) control.shouldTrainingStop = true;
  }
}
