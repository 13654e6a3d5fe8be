import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import { Pattern } from './regex.js';
import { PatternError } from './regexSyntax.js';

const MAX_DEPTH = 100;

/**
 * One object of tokenizer.json: its fields are read with their types, and errors say where they
 * stand.
 */
export class Fields {
  private constructor(
    /** The file, for messages. */
    readonly file: string,
    readonly path: string,
    private readonly value: Readonly<Record<string, unknown>>,
    private readonly depth: number,
  ) {}

  static root(file: string, value: Readonly<Record<string, unknown>>): Fields {
    return new Fields(file, '', value, 0);
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined && this.raw(key) !== null;
  }

  raw(key: string): unknown {
    return Object.hasOwn(this.value, key) ? this.value[key] : undefined;
  }

  string(key: string, fallback?: string): string {
    const value = this.raw(key);
    if (typeof value === 'string') return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw this.wrong(key, 'a text');
  }

  /** A text, or null where it is null or missing. */
  optionalString(key: string): string | null {
    return this.has(key) ? this.string(key) : null;
  }

  /** One character. */
  char(key: string): string {
    const value = this.string(key);
    if (Array.from(value).length === 1) return value;
    throw this.wrong(key, 'one character');
  }

  boolean(key: string, fallback?: boolean): boolean {
    const value = this.raw(key);
    if (typeof value === 'boolean') return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw this.wrong(key, 'true or false');
  }

  /** An integer from 0 to 2^32 - 1. */
  count(key: string, fallback?: number): number {
    const value = this.raw(key);
    if (isCount(value)) return value;
    if (value === undefined && fallback !== undefined) return fallback;
    throw this.wrong(key, 'an integer from 0 to 4294967295');
  }

  oneOf<T extends string>(key: string, known: readonly T[], fallback?: T): T {
    const value = this.raw(key);
    const found = known.find((name) => name === value);
    if (found !== undefined) return found;
    if (value === undefined && fallback !== undefined) return fallback;
    throw this.wrong(key, `one of ${known.join(', ')}`);
  }

  array(key: string): readonly unknown[] {
    const value = this.raw(key);
    if (Array.isArray(value)) return value;
    throw this.wrong(key, 'a list');
  }

  /** An object below this one. */
  object(key: string): Fields {
    return this.#below(this.raw(key), key);
  }

  /** The objects of a list below this one. */
  objects(key: string): Fields[] {
    return this.array(key).map((item, i) => this.#below(item, `${key}[${i}]`));
  }

  #below(value: unknown, key: string): Fields {
    if (!isPlainObject(value)) throw this.wrong(key, 'an object', value);
    if (this.depth >= MAX_DEPTH)
      throw this.error(`${this.#at(key)} is nested deeper than ${MAX_DEPTH} levels`);
    return new Fields(this.file, this.#at(key), value, this.depth + 1);
  }

  /**
   * `{ "String": "..." }`, a text as it is, or `{ "Regex": "..." }`. An empty text matches
   * everywhere.
   */
  pattern(key: string): Pattern {
    const fields = this.object(key);
    const literal = fields.optionalString('String');
    const source =
      literal === null
        ? fields.string('Regex')
        : literal.replaceAll(/[\\^$.*+?()[\]{}|#&\-~\s]/g, '\\$&');
    return this.compile(key, source);
  }

  compile(key: string, source: string): Pattern {
    try {
      return new Pattern(source);
    } catch (cause) {
      if (!(cause instanceof PatternError)) throw cause;
      throw this.error(
        `the pattern of ${this.#at(key)}, ${show(source)}, cannot be used: ${cause.message}`,
        {
          remedy: unsupportedRemedy,
          cause,
        },
      );
    }
  }

  /** A part of a kind that is not known here. */
  unknown(key = 'type'): AttuneError {
    return this.error(
      `${this.#at(key)} is ${show(this.raw(key))}, a kind of part that is not supported`,
      {
        remedy: unsupportedRemedy,
      },
    );
  }

  wrong(key: string, expected: string, value: unknown = this.raw(key)): AttuneError {
    const found = value === undefined ? 'missing' : show(value);
    return this.error(`${this.#at(key)} is ${found}: expected ${expected}`);
  }

  error(problem: string, options: { remedy?: string; cause?: unknown } = {}): AttuneError {
    return new AttuneError('TOKENIZER_INVALID', `${this.file}: ${problem}.`, {
      remedy: 'Save it again with tokenizer.save_pretrained in a recent transformers.',
      ...options,
    });
  }

  #at(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }
}

/** What to do without a part that is not supported. */
export const unsupportedRemedy =
  'Attune does not have this part of a tokenizer: tokenise in Python, and train on rows of { input_ids, labels }.';

export const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0xffffffff;

/** A value of a file, short enough for a message. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
