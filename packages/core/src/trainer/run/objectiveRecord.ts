import { encode } from '../../backend/dtype.js';
import type { Objective } from '../../training/objective.js';
import type { Fingerprint } from '../../training/rowRules.js';
import { AttuneError } from '../../util/errors.js';
import type { PlainJson } from '../../util/json.js';

/** What attune_state.json says of the objective. */
export interface ObjectiveRecord {
  readonly name: string;
  readonly fingerprint: Readonly<Record<string, unknown>>;
  /** `state.values` */
  readonly values?: Readonly<Record<string, unknown>> | undefined;
}

/** @throws OBJECTIVE_STATE for values that JSON cannot hold */
export function recordOf(objective: Objective): ObjectiveRecord {
  const { name, state } = objective;
  const fingerprint = fingerprintOf(objective);
  checkJson(fingerprint, `objective "${name}": fingerprint`);
  if (!state?.values) return { name, fingerprint };
  checkJson(state.values, `objective "${name}": state.values`);
  return { name, fingerprint, values: state.values };
}

/**
 * What is not as it was, in words.
 *
 * @param saved without a name: of that time only what its fingerprint names is known
 */
export function changedObjective(
  saved: Pick<ObjectiveRecord, 'fingerprint'> & Partial<ObjectiveRecord>,
  objective: Objective,
): string[] {
  const { name } = objective;
  if (saved.name !== undefined && saved.name !== name)
    return [`the objective was "${saved.name}" and is "${name}"`];
  const [was, is] = [saved.fingerprint, fingerprintOf(objective) as typeof saved.fingerprint];
  return [...new Set([...Object.keys(was), ...(saved.name === undefined ? [] : Object.keys(is))])]
    .filter((key) => canonical(was[key]) !== canonical(is[key]))
    .map((key) => `${key} was ${shown(was[key])} and is ${shown(is[key])}`);
}

/** The objective's own, and that of its rows. */
const fingerprintOf = ({
  rows,
  fingerprint,
}: Pick<Objective, 'rows' | 'fingerprint'>): Fingerprint => ({
  ...rows?.fingerprint,
  ...fingerprint,
});

/** `state.values` as they were saved, in the object that the objective holds. */
export function restoreValues(
  { state }: Objective,
  saved: Readonly<Record<string, unknown>> | undefined,
): void {
  const values = state?.values;
  if (!values || !saved) return;
  for (const key of Object.keys(values)) delete values[key];
  Object.assign(values, structuredClone(saved));
}

/** Until it is disposed the objective may change its state; then it is what it was. */
export async function keptState(objective: Objective): Promise<AsyncDisposable> {
  const { values, tensors = {} } = objective.state ?? {};
  const before = structuredClone(values);
  const held = await Promise.all(
    Object.values(tensors).map(
      async (tensor) => [tensor, encode(await tensor.data(), tensor.dtype)] as const,
    ),
  );
  return {
    async [Symbol.asyncDispose]() {
      restoreValues(objective, before);
      for (const [{ engine, storage, byteOffset }, values] of held)
        engine.backend.write(storage.buffer, byteOffset, values);
    },
  };
}

const shown = (value: unknown): string =>
  value === undefined ? 'not there' : typeof value === 'string' ? value : JSON.stringify(value);

/** JSON with the keys of objects in order; undefined stays. */
function canonical(value: unknown): string | undefined {
  return JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** @throws OBJECTIVE_STATE */
function checkJson(value: PlainJson | undefined, path: string): void {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return;
  if (typeof value === 'number' && Number.isFinite(value)) return;
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) checkJson(item, `${path}[${i}]`);
    return;
  }
  const prototype = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined;
  if (prototype === Object.prototype || prototype === null) {
    for (const [key, item] of Object.entries(value as object)) checkJson(item, `${path}.${key}`);
    return;
  }
  throw new AttuneError('OBJECTIVE_STATE', `${path} is ${String(value)}, which JSON cannot hold.`, {
    remedy: 'Keep finite numbers, strings, booleans, null, lists and plain objects in it.',
  });
}
