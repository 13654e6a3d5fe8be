import { JsonNumber, type JsonValue } from './losslessJson.js';

/** Options of {@link formatJson}. */
export interface FormatJsonOptions {
  /** Spaces for each level. Default 2, as in Hugging Face's files; 0: all in one line. */
  readonly indent?: number;
  /**
   * The file that the value was read from: numbers that are still the same keep their spelling, and
   * of plain objects its keys come first, in its order. Default none.
   */
  readonly like?: JsonValue | undefined;
  /**
   * Keys whose numbers are floats, with a point in them wherever they stand: "30.0" for 30. Default
   * none.
   */
  readonly floats?: ReadonlySet<string>;
}

/**
 * JSON.stringify that writes numbers as they were read: `50.0` stays `50.0`. Takes plain values,
 * those of `parseJson`, and bigints.
 */
export function formatJson(value: unknown, options: FormatJsonOptions = {}): string {
  const { indent = 2, like, floats = new Set<string>() } = options;
  return format(value, like, { indent, floats, margin: '', isFloat: false }) ?? 'null';
}

interface Place {
  readonly indent: number;
  readonly floats: ReadonlySet<string>;
  /** White space before the line. */
  readonly margin: string;
  readonly isFloat: boolean;
}

function format(value: unknown, like: JsonValue | undefined, place: Place): string | undefined {
  const { indent, margin, isFloat } = place;
  if (value instanceof JsonNumber || typeof value === 'number') {
    const text = value instanceof JsonNumber ? value.text : spelling(value, like);
    return isFloat && /^-?\d+$/.test(text) ? `${text}.0` : text;
  }
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = margin + ' '.repeat(indent);
  const within = { ...place, margin: inner };
  const parts = Array.isArray(value)
    ? value.map((item, i) => {
        const old = Array.isArray(like) ? (like[i] as JsonValue | undefined) : undefined;
        return format(item, old, within) ?? 'null';
      })
    : entriesOf(value, like).flatMap(([key, item]) => {
        const old = like instanceof Map ? like.get(key) : undefined;
        const text = format(item, old, { ...within, isFloat: place.floats.has(key) });
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
  if (value instanceof Map) return [...value];
  const entries = Object.entries(value);
  if (!(like instanceof Map)) return entries;
  const places = new Map([...like.keys()].map((key, place) => [key as string, place]));
  const place = ([key]: [string, unknown]) => places.get(key) ?? places.size;
  return entries.sort((a, b) => place(a) - place(b));
}
