import type { z } from 'zod';
import { briefly } from './briefly.js';
import { describeValue, isPromise } from './describeValue.js';
import { AttuneError } from './errors.js';
import { isPlainObject, snakeToCamel } from './json.js';
import { expectedKinds, optionsAt, plainIssues } from './optionIssues.js';
import { explainUnknown, type OptionHints } from './unknownOptions.js';

// Options are written once, as the keys of a zod schema: JSDoc on the key is what an editor shows,
// `.default()` is what is taken without them, and `.meta({ aka: 'lr rate' })`, the last call, lists
// what other libraries call them, in lower case without underscores. Types and messages are derived
// here.

type Inputs<Shape> = { readonly [K in keyof Shape]: z.input<Shape[K] & z.ZodType> };

type RequiredIn<Shape> = {
  [K in keyof Shape]: undefined extends z.input<Shape[K] & z.ZodType> ? never : K;
}[keyof Shape];

/**
 * What a user writes. Documentation survives a mapped type over the keys of another type alone.
 * In declarations it stays on the keys of a constant, and is lost on those of a literal in a call:
 * so the shape is a constant, and its type is what this takes.
 *
 * @example
 * const shape = { r: z.int().default(8) };
 * const schema = z.strictObject(shape);
 * type Options = OptionsInput<typeof shape>; // { readonly r?: number | undefined }
 */
export type OptionsInput<Shape extends z.ZodRawShape> = Pick<Inputs<Shape>, RequiredIn<Shape>> &
  Partial<Omit<Inputs<Shape>, RequiredIn<Shape>>>;

/** What a schema gives: an option that has no default may be missing. */
export type OptionsOutput<S extends z.ZodObject> = Readonly<z.output<S>>;

/** Every option filled in: those without a default by what parses them. */
export type FilledOptions<Shape extends z.ZodRawShape> = {
  readonly [K in keyof Shape]-?: Exclude<z.output<Shape[K]>, undefined>;
};

/** The same options, some of another type: with the documentation of the first. */
export type Retyped<T, Types> = { [K in keyof T]: K extends keyof Types ? Types[K] : T[K] };

/** Where options are written, for messages. */
export interface OptionPlace extends Omit<OptionHints, 'known' | 'synonyms'> {
  /** What takes them: "createAttune". */
  readonly where: string;
  /**
   * Code of an error about a value. That of an unknown name is UNKNOWN_OPTION everywhere. Default
   * "INVALID_OPTION".
   */
  readonly code?: string;
}

const INVALID = 'INVALID_OPTION';

/** Names of a schema, and what they are called elsewhere. */
export function hintsOf(schema: z.ZodObject): Pick<OptionHints, 'known' | 'synonyms'> {
  const entries = Object.entries(schema.shape as Record<string, z.ZodType>);
  const synonyms = entries.flatMap(([name, option]) => {
    const aka = option.meta()?.aka;
    return typeof aka === 'string' ? aka.split(' ').map((word) => [word, name] as const) : [];
  });
  return { known: entries.map(([name]) => name), synonyms: Object.fromEntries(synonyms) };
}

/** What is wrong with options: all of it is one error. */
export interface OptionProblems {
  readonly unknown: readonly string[];
  readonly messages: readonly string[];
  readonly remedies: readonly string[];
}

/** How messages speak of options. */
export interface Wording {
  /** The name of an option: "peftConfig.r". */
  label(path: readonly PropertyKey[]): string;
  /** A sentence about an option that does not exist. */
  explain(name: string): string;
  /** What to do about a value; expected: in words, where the schema has them. */
  remedy?(name: string, expected: string | null): string;
}

/** What a schema found, in the user's words. @param values what was parsed */
export function problemsOf(
  { issues }: z.ZodError,
  values: unknown,
  schema: z.ZodObject,
  { label, explain, remedy = remedyOf }: Wording,
): OptionProblems {
  const unknown: string[] = [];
  const messages: string[] = [];
  const remedies = new Set<string>();
  for (const issue of plainIssues(issues))
    if (issue.code === 'unrecognized_keys' && issue.path.length === 0) {
      unknown.push(...issue.keys);
      messages.push(...issue.keys.map((name) => explain(name)));
      remedies.add(optionList(Object.keys(schema.shape)));
    } else if (issue.code === 'unrecognized_keys') {
      const inner = optionsAt(schema, issue.path);
      const hints = inner ? hintsOf(inner) : { known: [] };
      for (const key of issue.keys) {
        const name = label([...issue.path, key]);
        unknown.push(name);
        messages.push(explainUnknown(key, hints, `there is no option "${name}"`));
      }
      const place = label(issue.path);
      remedies.add(inner ? optionList(hints.known, ` of ${place}`) : `Change ${place}.`);
    } else {
      const name = label(issue.path);
      const message = messageOf(issue);
      const isExpectation = message.startsWith('expected ');
      const value = valueAt(values, issue.path);
      const found = value === undefined ? 'not given' : show(value);
      messages.push(`${name} is ${found}${isExpectation ? ';' : ':'} ${message}.`);
      remedies.add(remedy(name, isExpectation ? message.slice(9) : null));
    }
  return { unknown, messages, remedies: [...remedies] };
}

/** The error that has all problems. @param code where no option is unknown */
export const problemError = (
  code: string,
  { unknown, messages, remedies }: OptionProblems,
  cause?: unknown,
): AttuneError =>
  new AttuneError(unknown.length > 0 ? 'UNKNOWN_OPTION' : code, messages.join('\n  '), {
    remedy: remedies.join(' '),
    ...(unknown.length > 0 && { details: { option: unknown[0], options: unknown } }),
    ...(cause !== undefined && { cause }),
  });

/**
 * The options of a call: names and values checked, defaults filled in, every problem in one error.
 *
 * @throws UNKNOWN_OPTION with the right name of each; `place.code` for what is no object, and for
 *   values
 */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  options: unknown,
  place: OptionPlace,
): OptionsOutput<S> {
  const { where, code = INVALID } = place;
  checkIsOptions(options, schema, place);
  const values = Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  );
  const parsed = schema.safeParse(values);
  if (parsed.success) return parsed.data as OptionsOutput<S>;
  const hints: OptionHints = { ...place, ...hintsOf(schema) };
  const label = (path: readonly PropertyKey[]) => path.map(String).join('.');
  const problems = problemsOf(parsed.error, values, schema, {
    label,
    explain: (name) => explainUnknown(name, hints),
  });
  const [first, ...rest] = problems.messages;
  throw problemError(
    code,
    { ...problems, messages: [`${where}: ${first}`, ...rest] },
    parsed.error,
  );
}

/**
 * The names alone, where the values are checked otherwise, or where a call is too frequent for
 * more: nothing is built where they are right.
 *
 * @throws UNKNOWN_OPTION; `place.code` for what is no object
 */
export function checkNames(schema: z.ZodObject, options: unknown, place: OptionPlace): void {
  checkIsOptions(options, schema, place);
  let unknown: string[] | null = null;
  for (const name of Object.keys(options))
    if (!Object.hasOwn(schema.shape, name) && (options as Values)[name] !== undefined)
      unknown = [...(unknown ?? []), name];
  if (unknown === null) return;
  const { where, code = INVALID } = place;
  const hints: OptionHints = { ...place, ...hintsOf(schema) };
  const [first, ...rest] = unknown.map((name) => explainUnknown(name, hints));
  const remedies = [optionList(hints.known)];
  throw problemError(code, { unknown, messages: [`${where}: ${first}`, ...rest], remedies });
}

type Values = Readonly<Record<string, unknown>>;

/** @throws `place.code` for what is no object of options */
function checkIsOptions(
  options: unknown,
  { shape }: z.ZodObject,
  { where, code = INVALID }: OptionPlace,
): asserts options is object {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    const names = Object.keys(shape);
    throw new AttuneError(
      code,
      `${where}: expected its options as an object, found ${describeValue(options)}.`,
      { remedy: `Pass { ${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''} }.` },
    );
  }
  if (isPromise(options))
    throw new AttuneError(code, `${where}: its options are a promise that is not awaited.`, {
      remedy: 'Write await before it.',
    });
}

/** camelCase names -> as the user spelt them. @throws `code` for an option in both spellings */
export function spellingOf(
  options: Readonly<Record<string, unknown>>,
  code: string,
): ReadonlyMap<string, string> {
  const spelling = new Map<string, string>();
  for (const [key, value] of Object.entries(options)) {
    const name = snakeToCamel(key);
    if (spelling.has(name) && value !== undefined)
      throw new AttuneError(code, `"${spelling.get(name)}" and "${key}" are the same option.`, {
        remedy: 'Give it once.',
      });
    spelling.set(name, key);
  }
  return spelling;
}

/** A union's own message says nothing; those of its members say what was allowed. */
function messageOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union' || issue.errors.length === 0 || !isGeneric(issue.message))
    return issue.message;
  const kinds = expectedKinds(issue.errors);
  if (kinds !== null) return kinds;
  return [...new Set(issue.errors.flat().map((e) => e.message))].join('; or ');
}

const optionList = (names: readonly string[], of = ''): string =>
  names.length > 0 ? `Options${of}: ${names.join(', ')}.` : 'It takes none.';

const isGeneric = (message: string) => message === 'Invalid input';

const remedyOf = (name: string, expected: string | null): string =>
  expected === null ? `Change ${name}.` : `Pass ${expected}, or leave ${name} out.`;

const valueAt = (values: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>(
    (inside, key) => (inside as Record<PropertyKey, unknown> | undefined)?.[key],
    values,
  );

/** What can be written as JSON so; of all else the kind. */
const show = (value: unknown): string =>
  typeof value === 'function' ||
  (typeof value === 'object' && value !== null && !Array.isArray(value) && !isPlainObject(value))
    ? describeValue(value)
    : briefly(value);
