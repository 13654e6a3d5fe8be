import { briefly, isPlainObject } from '@attune/core/util';

/** undefined: it is no JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What a body that is no completion says, in its own words; null: it has none. */
export function messageOf(body: unknown): string | null {
  if (typeof body === 'string') return body === '' ? null : body.slice(0, 500);
  if (Array.isArray(body))
    return (
      body
        .map(messageOf)
        .filter((message) => message !== null)
        .join('; ') || null
    );
  if (!isPlainObject(body)) return null;
  for (const key of ['error', 'message', 'detail', 'msg', 'error_description']) {
    const message = messageOf(body[key]);
    if (message !== null) return message;
  }
  return null;
}

/** The words of an error body: its message, the title of a page, or how it begins. */
export function describeBody(text: string): string {
  if (text.trim() === '') return 'with nothing';
  const message = messageOf(parsedJson(text));
  if (message !== null) return `"${message}"`;
  if (/^\s*</.test(text)) {
    const title = /<title[^>]*>([^<]{0,200})/i.exec(text)?.[1]?.trim();
    return title ? `with a page: "${title}"` : 'with a page of HTML';
  }
  const isCutOff = /^\s*[{[]/.test(text) && parsedJson(text) === undefined;
  return `${isCutOff ? 'with JSON that is cut off or broken' : 'with what is no object of JSON'}: ${briefly(text, 120)}`;
}
