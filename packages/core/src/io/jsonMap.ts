import { briefly } from '../util/briefly.js';
import { AttuneError } from '../util/errors.js';
import { type JsonValue, parseJson, strictJson } from '../util/losslessJson.js';
import { type ReadTextOptions, readText } from './readText.js';

export interface ReadJsonOptions extends ReadTextOptions {
  /** Most values in the file. Default 2^20. */
  readonly maxValues?: number;
  /** Accept NaN and infinities, which Python writes. Default false. */
  readonly nonFinite?: boolean;
}

/**
 * A JSON file of someone else, read strictly: an object, no key twice, none named `__proto__`, no
 * number beyond float64, at most 256 levels deep.
 *
 * @throws `code`, `invalidCode`, as `readText`
 */
export async function readJsonMap(
  path: string,
  options: ReadJsonOptions,
): Promise<ReadonlyMap<string, JsonValue>> {
  return parseJsonMap(await readText(path, options), path, options);
}

/** As `readJsonMap`, of a text that was read already. @param where the file, for the message */
export function parseJsonMap(
  text: string,
  where: string,
  options: ReadJsonOptions,
): ReadonlyMap<string, JsonValue> {
  const { invalidCode = options.code, label = '', remedy } = options;
  const { maxValues = 2 ** 20, nonFinite = false } = options;
  const invalid = (what: string, cause?: unknown) =>
    new AttuneError(invalidCode, `${label}${where} ${what}.`, {
      remedy,
      ...(cause !== undefined && { cause }),
    });
  if (text.trim() === '') throw invalid('is empty, expected a JSON object');
  let json: JsonValue;
  try {
    json = parseJson(text, { ...strictJson, maxValues, nonFinite });
  } catch (cause) {
    throw invalid(`is not JSON: ${(cause as Error).message}`, cause);
  }
  if (json instanceof Map) return json;
  throw invalid(`holds ${briefly(json)}, expected a JSON object, { ... }`);
}
