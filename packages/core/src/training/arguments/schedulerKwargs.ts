import type { ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import { keysToCamel } from '../../util/json.js';
import { hintsOf, problemError, problemsOf } from '../../util/options.js';
import { explainUnknown } from '../../util/unknownOptions.js';

/**
 * `lrSchedulerKwargs` through the schema of the schedule: camelCase or snake_case, defaults filled
 * in.
 *
 * @throws UNKNOWN_OPTION with what the schedule takes; ARGUMENTS_INVALID with the option and its
 *   value
 */
export function readSchedulerKwargs(
  { name, options }: ScheduleDefinition,
  given: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const values = keysToCamel(given);
  const read = options.safeParse(values);
  if (read.success) return read.data;
  const label = (path: readonly PropertyKey[]) => ['lrSchedulerKwargs', ...path].join('.');
  const problems = problemsOf(read.error, values, options, {
    label,
    explain: (key) =>
      explainUnknown(
        key,
        hintsOf(options),
        `${label([key])} is not an option of the schedule "${name}"`,
      ),
  });
  throw problemError('ARGUMENTS_INVALID', problems, read.error);
}
