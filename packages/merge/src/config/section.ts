import {
  briefly,
  camelToSnake,
  explainUnknown,
  isPlainObject,
  type OptionHints,
  snakeToCamel,
} from '@attune/core/util';
import type { ConfigPath, MergeProblems } from '../problems.js';

/** What a section may have, and what is written there by mistake. */
export interface SectionShape extends Omit<OptionHints, 'known'> {
  /** How messages call it: "a model". */
  readonly what: string;
  /** Its keys in camelCase. */
  readonly keys: readonly string[];
}

/** How a config is read: where problems go, and how names are written. */
export interface SectionReader {
  readonly problems: MergeProblems;
  /** A name as this config writes it: snake_case in files, camelCase in code. */
  spell(name: string): string;
  /** Whether a key that nobody knows is one that only holds values for others. */
  isHolder?(path: ConfigPath): boolean;
}

/** The keys of a mapping in camelCase, each with its path. null and undefined are missing. */
export class Section {
  readonly #values = new Map<string, { readonly key: string; readonly value: unknown }>();

  constructor(
    readonly path: ConfigPath,
    private readonly spell: (name: string) => string,
  ) {}

  set(name: string, key: string, value: unknown): void {
    this.#values.set(name, { key, value });
  }

  has(name: string): boolean {
    const value = this.get(name);
    return value !== undefined && value !== null;
  }

  get(name: string): unknown {
    return this.#values.get(name)?.value;
  }

  /** Path of a key as it is written, or as it would be. */
  at(name: string): ConfigPath {
    return [...this.path, this.#values.get(name)?.key ?? this.spell(name)];
  }
}

/** A mapping, of whose keys all are known; null: it is none. What is wrong is in the problems. */
export function readSection(
  value: unknown,
  path: ConfigPath,
  shape: SectionShape,
  { problems, spell, isHolder }: SectionReader,
): Section | null {
  if (!isPlainObject(value)) {
    const names = shape.keys.slice(0, 4).map(spell).join(', ');
    problems.add({
      path,
      message: `${shape.what} is ${found(value)}, expected a mapping with ${names}.`,
      remedy: `Write ${shape.what} as a mapping.`,
    });
    return null;
  }
  const section = new Section(path, spell);
  const { what, keys, synonyms = {}, ...hints } = shape;
  const known = keys.map(spell);
  const spelled = Object.entries(synonyms).map(([word, name]) => [word, spell(name)] as const);
  for (const [key, item] of Object.entries(value)) {
    const name = snakeToCamel(key);
    const at = [...path, key];
    if (!keys.includes(name)) {
      if (isHolder?.(at)) continue;
      problems.add({
        path: at,
        message: explainUnknown(
          key,
          { ...hints, known, synonyms: Object.fromEntries(spelled) },
          `${what} has no "${key}"`,
        ),
        remedy: `What it may have: ${known.join(', ')}.`,
      });
    } else if (section.get(name) !== undefined)
      problems.add({
        path: at,
        message: `${what} has ${camelToSnake(name)} in two spellings.`,
        remedy: 'Leave one of them.',
      });
    else section.set(name, key, item);
  }
  return section;
}

/** What a value of a config is, for a message. */
export function found(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'empty';
  if (Array.isArray(value)) return `the list ${briefly(value)}`;
  if (typeof value === 'object') return isPlainObject(value) ? 'a mapping' : 'an object';
  return typeof value === 'string' ? briefly(value) : `the ${typeof value} ${String(value)}`;
}

/** A text; null: none, or it is wrong. */
export function readText(
  section: Section,
  name: string,
  { problems }: Pick<SectionReader, 'problems'>,
): string | null {
  const value = section.get(name);
  if (value === undefined || value === null) return null;
  if (typeof value === 'string' && value !== '') return value;
  problems.add({
    path: section.at(name),
    message: `${section.at(name).at(-1)} is ${value === '' ? 'empty' : found(value)}, expected text.`,
    remedy:
      typeof value === 'number' || typeof value === 'boolean'
        ? 'Put it in quotes.'
        : `Write a text.`,
  });
  return null;
}

/** A whole number, also as text or as 3.0, as pydantic reads one; null: it is none. */
export function asInteger(value: unknown): number | null {
  if (typeof value === 'string' && !/^\s*[-+]?\d+(?:\.0*)?\s*$/.test(value)) return null;
  if (typeof value !== 'number' && typeof value !== 'string') return null;
  return Number.isSafeInteger(Number(value)) ? Number(value) : null;
}
