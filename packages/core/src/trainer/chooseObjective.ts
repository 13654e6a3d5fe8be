import type { Objective } from '../training/objective.js';
import { type ObjectiveContext, Objectives } from '../training/objectiveDefinition.js';
import { AttuneError } from '../util/errors.js';
import { keysToCamel } from '../util/json.js';
import { parseOptions } from '../util/options.js';

/**
 * The objective as it was given, or the one of that name.
 *
 * @throws UNKNOWN_NAME for a name that no plugin added; UNKNOWN_OPTION, TRAINER_OPTION for options
 *   that it does not take
 */
export function chooseObjective(
  given: Objective | string,
  options: Readonly<Record<string, unknown>> | undefined,
  context: ObjectiveContext,
): Objective {
  if (typeof given === 'string') {
    const definition = context.model.attune.registry(Objectives).get(given);
    const place = { where: 'objectiveOptions', code: 'TRAINER_OPTION' };
    return definition.create(
      context,
      parseOptions(definition.options, keysToCamel(options ?? {}), place),
    );
  }
  if (options === undefined) return given;
  throw new AttuneError(
    'TRAINER_OPTION',
    `objectiveOptions are given beside the objective "${given.name}" itself.`,
    { remedy: 'Give the options where the objective is made, or name it: objective: "causal-lm".' },
  );
}
