import { briefly, isPlainObject } from '@attune/core/util';

/** Takes secrets out of a text. Before it is cut: a piece of a secret is not known as one. */
export type Hide = (text: string) => string;

/** undefined: it is no JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Levels that are looked at, and items of a list. */
const MOST_LEVELS = 6;
const MOST_ITEMS = 20;

/** What a body that is no completion says, in its own words; null: it has none. */
export function messageOf(body: unknown, level = 0): string | null {
  if (typeof body === 'string') return body === '' ? null : body;
  if (level > MOST_LEVELS) return null;
  if (Array.isArray(body)) {
    const messages = body.slice(0, MOST_ITEMS).map((item) => messageOf(item, level + 1));
    return messages.filter((message) => message !== null).join('; ') || null;
  }
  if (!isPlainObject(body)) return null;
  for (const key of ['error', 'message', 'detail', 'msg', 'error_description']) {
    const message = messageOf(body[key], level + 1);
    if (message !== null) return message;
  }
  return null;
}

/** The words of an error body: its message, the title of a page, or how it begins. */
export function describeBody(text: string, hide: Hide): string {
  if (text.trim() === '') return 'with nothing';
  const body = parsedJson(text);
  const message = messageOf(body);
  if (message !== null) return `"${hide(message).slice(0, 500)}"`;
  if (/^\s*</.test(text)) {
    const title = /<title[^>]*>([^<]{0,2000})/i.exec(hide(text))?.[1]?.trim();
    return title ? `with a page: "${title.slice(0, 200)}"` : 'with a page of HTML';
  }
  const isCutOff = /^\s*[{[]/.test(text) && body === undefined;
  return `${isCutOff ? 'with JSON that is cut off or broken' : 'with what is no object of JSON'}: ${excerpt(body ?? text, hide)}`;
}

/** How a value begins, as JSON. */
export function excerpt(value: unknown, hide: Hide): string {
  if (typeof value === 'string') return briefly(hide(value), 120);
  const text = hide(briefly(value, 1000));
  return text.length > 120 ? `${text.slice(0, 120)}...` : text;
}
