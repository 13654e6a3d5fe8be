import type { Attune } from '../attune.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Optimizer } from '../optim/optimizer.js';
import { decayGroups, type ParameterGroup } from '../optim/parameterGroups.js';
import { Optimizers } from '../optim/points.js';
import type { Schedule, ScheduleDefinition } from '../optim/scheduleDefinition.js';
import type { Engine } from '../tensor/engine.js';
import type { OptimArgs } from '../training/arguments/optimization.js';
import { parseArguments } from '../training/arguments/parseArguments.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import type { Objective } from '../training/objective.js';
import { trainedRoot } from '../training/trainedRoot.js';
import { AttuneError } from '../util/errors.js';

/** Makes an optimizer of one's own for each run: the `optimizers` option of a Trainer. */
export type OptimizerFactory = (engine: Engine, groups: readonly ParameterGroup[]) => Optimizer;

/**
 * What makes the optimizer, and the schedule: that of `lrSchedulerType`, or a function of one's
 * own.
 */
export type OptimizerChoice = readonly [OptimizerFactory, Schedule | ScheduleDefinition];

/**
 * The optimizer that `optim` and `optimArgs` name, checked.
 *
 * @throws UNKNOWN_NAME for a name that no plugin added; ARGUMENTS_INVALID for optimArgs that it
 *   does not take
 */
export function chooseOptimizer(attune: Attune, args: TrainingArguments): OptimizerFactory {
  const definition = attune.registry(Optimizers).get(args.optim);
  const options = parseArguments(definition.options, readOptimArgs(args.optimArgs));
  return (engine, groups) => definition.create(engine, groups, args, options);
}

/**
 * The trainable parameters in groups by weight decay and learning rate, as an optimizer takes them
 * over.
 */
export const trainableGroups = (
  model: LanguageModel,
  objective: Pick<Objective, 'modules'>,
  args: TrainingArguments,
): ParameterGroup[] =>
  decayGroups(
    trainedRoot(model, objective),
    args.weightDecay,
    (_, parameter) => model.adapters?.learningRateScale?.(parameter, args.learningRate) ?? 1,
  );

/** "momentum=0.9,nesterov=true" -> { momentum: 0.9, nesterov: true }. @throws ARGUMENTS_INVALID */
export function readOptimArgs(given: OptimArgs): Readonly<Record<string, unknown>> {
  if (typeof given !== 'string') return given;
  const pairs = given.replaceAll(' ', '').split(',').filter(Boolean);
  return Object.fromEntries(
    pairs.map((pair) => {
      const [key, value, ...more] = pair.split('=');
      if (!key || !value || more.length > 0)
        throw new AttuneError('ARGUMENTS_INVALID', `optimArgs has "${pair}".`, {
          remedy: 'Write optimArgs as "key=value,key=value", or as an object.',
        });
      return [key, readValue(value)];
    }),
  );
}

function readValue(text: string): unknown {
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  return Number.isNaN(Number(text)) ? text : Number(text);
}
