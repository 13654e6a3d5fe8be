import type { ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import { AttuneError } from '../../util/errors.js';
import type { TrainingArguments } from './trainingArguments.js';

const invalid = (message: string, remedy: string): AttuneError =>
  new AttuneError('ARGUMENTS_INVALID', message, { remedy });

/** What no option can see alone. @throws ARGUMENTS_INVALID */
export function checkTogether(args: TrainingArguments, schedule: ScheduleDefinition): void {
  const { evalStrategy, evalSteps, saveStrategy, saveSteps, warmupSteps, maxSteps } = args;
  if (maxSteps > 0 && warmupSteps >= 1 && warmupSteps > maxSteps)
    throw invalid(
      `warmupSteps ${warmupSteps} is more than maxSteps ${maxSteps}: the learning rate would never arrive.`,
      'Lower warmupSteps, or use warmupRatio.',
    );
  if (schedule.follows === 'metric' && evalStrategy === 'no')
    throw invalid(
      `lrSchedulerType "${schedule.name}" follows evaluations, but nothing is evaluated.`,
      'Set evalStrategy: "steps" or "epoch".',
    );
  if (args.nonFinite === 'rollback' && args.saveOnlyModel)
    throw invalid(
      'nonFinite is "rollback", but with saveOnlyModel there is nothing to go back to.',
      'Leave saveOnlyModel out.',
    );
  if (args.bf16 && args.fp16) throw invalid('bf16 and fp16 are both true.', 'Choose one of them.');
  if (saveStrategy === 'best' && evalStrategy === 'no')
    throw invalid(
      'saveStrategy is "best", but nothing is evaluated.',
      'Set evalStrategy: "steps" or "epoch".',
    );
  if (!args.loadBestModelAtEnd || saveStrategy === 'best') return;
  if (evalStrategy === 'no' || saveStrategy !== evalStrategy)
    throw invalid(
      `loadBestModelAtEnd needs a checkpoint of each evaluation, but evalStrategy is "${evalStrategy}" and saveStrategy is "${saveStrategy}".`,
      'Give both the same strategy, "steps" or "epoch".',
    );
  if (evalStrategy === 'steps' && saveSteps % evalSteps !== 0)
    throw invalid(
      `loadBestModelAtEnd needs saveSteps to be a multiple of evalSteps, but they are ${saveSteps} and ${evalSteps}.`,
      `Set saveSteps: ${Math.max(1, Math.round(saveSteps / evalSteps)) * evalSteps}.`,
    );
}
