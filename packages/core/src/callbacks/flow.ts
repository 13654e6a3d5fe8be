import { defineCallback, type TrainerCallback } from '../training/callback.js';

/**
 * Says when to log, evaluate, save and stop, by the strategies of the arguments. Always the first
 * callback, so that others see its flags and may change them.
 */
export const flowCallback = (): TrainerCallback =>
  defineCallback({
    name: 'DefaultFlowCallback',
    onStepEnd({ args, state, control }) {
      const step = state.globalStep;
      const isLast = step >= state.maxSteps;
      if (isLast) control.shouldTrainingStop = true;
      if (step === 1 && args.loggingFirstStep) control.shouldLog = true;
      if (args.loggingStrategy === 'steps' && step % args.loggingSteps === 0)
        control.shouldLog = true;
      // The last step counts as due: a run does not end between two evaluations.
      const isEvalDue = step >= args.evalDelay && (isLast || step % args.evalSteps === 0);
      if (args.evalStrategy === 'steps' && isEvalDue) control.shouldEvaluate = true;
      if (args.saveStrategy === 'steps' && (isLast || step % args.saveSteps === 0))
        control.shouldSave = true;
    },
    onEpochEnd({ args, state, control }) {
      if (args.loggingStrategy === 'epoch') control.shouldLog = true;
      if (args.evalStrategy === 'epoch' && state.epoch >= args.evalDelay)
        control.shouldEvaluate = true;
      if (args.saveStrategy === 'epoch') control.shouldSave = true;
    },
  });
