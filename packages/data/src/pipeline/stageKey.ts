import { createHash } from 'node:crypto';
import { isPlainObject, type PlainJson } from '@attune/core/util';
import type { PlannedStage } from './runStages.js';

/** Raised when kept rows are written otherwise. */
const LAYOUT = 1;

/**
 * What the rows of a stage depend on, as one name: its input rows, its name, version and options,
 * what it says of options that are no JSON, and the seed.
 */
export async function stageKey(
  { stage, options }: PlannedStage,
  inputHash: string,
  seed: number,
): Promise<string> {
  const fingerprint: PlainJson = (await stage.fingerprint?.(options)) ?? null;
  const parts = [
    LAYOUT,
    stage.name,
    stage.version ?? 1,
    asJson(options),
    fingerprint,
    seed,
    inputHash,
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

/** Options as JSON with sorted keys: of a function its text, of other objects nothing. */
function asJson(value: unknown): PlainJson {
  if (Array.isArray(value)) return value.map(asJson);
  if (isPlainObject(value))
    return Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, asJson(item)]);
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (typeof value === 'object' && !(value instanceof RegExp)) return null;
  return [typeof value, String(value)];
}
