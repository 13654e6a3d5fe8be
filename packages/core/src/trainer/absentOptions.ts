import { AttuneError } from '../util/errors.js';
import { snakeToCamel } from '../util/json.js';

/**
 * Options of transformers and TRL that have no counterpart here yet, with the values at which they do
 * nothing. A script that sets one to such a value runs as it stands; any other value is an error, so
 * that nobody trains with less than they asked for.
 */
const absent: Readonly<Record<string, readonly unknown[]>> = {
  tf32: [false, null],
  packing: [false],
  paddingFree: [false],
  dataloaderNumWorkers: [0], // rows are tokenised while the device works
  loggingNanInfFilter: [true, false], // what is not finite is counted, never averaged in
  pushToHub: [false],
  fullDeterminism: [true, false], // every run here is
  removeUnusedColumns: [true, false], // rows keep their columns until they are tokenised
};

/** Takes the options away that are off and that this trainer has not. @throws OPTION_ABSENT for one that is on */
export function dropAbsentOptions(
  input: Readonly<Record<string, unknown>>,
  known: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const kept: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) {
    const name = snakeToCamel(key);
    const off = absent[name];
    if (!off || name in known) kept[key] = value;
    else if (
      value !== undefined &&
      !off.includes(value) &&
      !(Array.isArray(value) && value.length === 0)
    )
      throw new AttuneError(
        'OPTION_ABSENT',
        `${key}: ${JSON.stringify(value)} is an option of transformers or TRL that this trainer does not have.`,
        { remedy: `Leave it out, or set it to ${off.map((v) => JSON.stringify(v)).join(' or ')}.` },
      );
  }
  return kept;
}
