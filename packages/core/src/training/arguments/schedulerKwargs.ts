import type { ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import { AttuneError } from '../../util/errors.js';
import { keysToCamel } from '../../util/json.js';

/**
 * `lrSchedulerKwargs` through the schema of the schedule: camelCase or snake_case, defaults filled in.
 *
 * @throws ARGUMENTS_INVALID with the option, its value and what the schedule takes
 */
export function readSchedulerKwargs(
  { name, options }: ScheduleDefinition,
  given: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const values = keysToCamel(given);
  const read = options.safeParse(values);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  if (issue!.code === 'unrecognized_keys') {
    const takes = Object.keys(options.shape);
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      `lrSchedulerKwargs.${issue!.keys[0]} is not an option of the schedule "${name}".`,
      { remedy: takes.length > 0 ? `It takes ${takes.join(', ')}.` : 'It takes none.' },
    );
  }
  const key = String(issue!.path[0]);
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `lrSchedulerKwargs.${issue!.path.join('.')} is ${JSON.stringify(values[key]) ?? String(values[key])}: ${issue!.message}.`,
    { remedy: `Change lrSchedulerKwargs.${key}.` },
  );
}
