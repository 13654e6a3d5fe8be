import { isPlainObject } from '@attune/core/util';
import { messageOf, parsedJson } from './describeBody.js';

/**
 * What an endpoint refuses. "setup": the key, the model, the account or a field, so every request;
 * the others concern the texts of one request.
 */
export type RefusalKind = 'setup' | 'content' | 'length' | 'request';

const SETUP_STATUSES = new Set([401, 402, 404, 405, 407, 410]);
const SETUP =
  /api.?key|model_not_found|model .{0,80}(?:does not exist|not found)|(?:unsupported|unknown|unrecognized)_(?:parameter|value|argument)|insufficient_quota|billing|deactivated/i;
const CONTENT =
  /content.?(?:filter|policy|management|exists.risk)|inappropriate|data_inspection|moderation|flagged|\bsafety\b|responsible.?ai/i;
const LENGTH =
  /context.?(?:length|window|size)|maximum (?:context|input|prompt)|too (?:long|many (?:input )?tokens)|exceed\w* .{0,40}(?:token|length|context)|above_max_length|request too large|tokens?`? must be (?:<=|less|at most)/i;

/**
 * What a status that will not pass means, by itself and by the endpoint's words. Fields that may
 * quote the request are not read. A status of 200 is that of an answer that holds an error.
 *
 * @returns null for a 200 whose words say nothing that is known: it may pass
 */
export function refusalKind(status: number, body: string): RefusalKind | null {
  const words = wordsOf(parsedJson(body));
  if (SETUP_STATUSES.has(status) || (status >= 300 && status < 400)) return 'setup';
  if (status === 413) return 'length';
  if (status !== 403 && SETUP.test(words)) return 'setup';
  if (CONTENT.test(words)) return 'content';
  // OpenRouter says 403 of a text that it filters; all others of a key.
  if (status === 403) return 'setup';
  if (LENGTH.test(words)) return 'length';
  return status === 200 ? null : 'request';
}

function wordsOf(body: unknown): string {
  const inner = isPlainObject(body) && isPlainObject(body.error) ? body.error : body;
  const codes = isPlainObject(inner) ? [inner.code, inner.type] : [];
  return [messageOf(body), ...codes].filter((word) => typeof word === 'string').join(' ');
}
