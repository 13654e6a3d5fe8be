import type { Objective, PrepareContext } from '../training/objective.js';
import type { Activity } from '../util/activity.js';
import { AttuneError } from '../util/errors.js';

/**
 * `Objective.prepare` for one trainer: whoever comes first has it done, and the others wait for the
 * same. One that failed is tried again.
 *
 * @throws OBJECTIVE_PREPARE, or the code of what it was refused for (OUT_OF_MEMORY)
 */
export function prepareOnce(
  objective: Objective,
  context: PrepareContext,
  activity: Activity,
): () => Promise<void> {
  let done: Promise<void> | null = null;
  const prepare = async (): Promise<void> => {
    try {
      await activity.during(
        `objective "${objective.name}" in prepare`,
        objective.prepare?.(context),
      );
    } catch (error) {
      done = null;
      throw named(objective, error);
    }
  };
  return () => {
    done ??= prepare();
    return done;
  };
}

function named({ name }: Objective, error: unknown): AttuneError {
  const failed = `objective "${name}" could not be prepared: `;
  if (!AttuneError.isInstance(error)) {
    const found = error instanceof Error ? error.message : String(error);
    return new AttuneError('OBJECTIVE_PREPARE', `${failed}${found}`, { cause: error });
  }
  const { code, description, remedy, details } = error;
  const rest = { details, cause: error, ...(remedy !== undefined && { remedy }) };
  return new AttuneError(code, `${failed}${description}`, rest);
}
