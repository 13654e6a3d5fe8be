import { JsonNumber, type JsonValue } from './losslessJson.js';

export interface FormatJsonOptions {
  /** Spaces for each level. Default 2, as in Hugging Face's files; 0: all in one line. */
  readonly indent?: number;
  /**
   * The file that the value was read from: its keys come first, in its order, and numbers that are still
   * the same keep their spelling. Default none.
   */
  readonly like?: JsonValue | undefined;
}

/**
 * JSON.stringify that writes numbers as they were read: `50.0` stays `50.0`. Takes plain values, those of
 * `parseJson`, and bigints.
 */
export function formatJson(value: unknown, options: FormatJsonOptions = {}): string {
  const { indent = 2, like } = options;
  return format(value, like, indent, '') ?? 'null';
}

function format(
  value: unknown,
  like: JsonValue | undefined,
  indent: number,
  margin: string,
): string | undefined {
  if (value instanceof JsonNumber) return value.text;
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return spelling(value, like);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = margin + ' '.repeat(indent);
  const parts = Array.isArray(value)
    ? value.map((item, i) => {
        const old = Array.isArray(like) ? (like[i] as JsonValue | undefined) : undefined;
        return format(item, old, indent, inner) ?? 'null';
      })
    : entriesOf(value, like).flatMap(([key, item]) => {
        const old = like instanceof Map ? like.get(key) : undefined;
        const text = format(item, old, indent, inner);
        return text === undefined
          ? []
          : [`${JSON.stringify(key)}:${indent === 0 ? '' : ' '}${text}`];
      });
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  if (parts.length === 0 || indent === 0) return open + parts.join(',') + close;
  return `${open}\n${inner}${parts.join(`,\n${inner}`)}\n${margin}${close}`;
}

/** As in the file where the number is still that one. */
function spelling(value: number, like: JsonValue | undefined): string {
  if (like instanceof JsonNumber && Object.is(like.value, value)) return like.text;
  return JSON.stringify(value);
}

/** A plain object puts keys that look like integers first: the order of the file is in `like`. */
function entriesOf(value: object, like: JsonValue | undefined): [string, unknown][] {
  const entries = value instanceof Map ? [...value] : Object.entries(value);
  if (!(like instanceof Map)) return entries;
  const places = new Map([...like.keys()].map((key, place) => [key as string, place]));
  const place = ([key]: [string, unknown]) => places.get(key) ?? places.size;
  return entries.sort((a, b) => place(a) - place(b));
}
