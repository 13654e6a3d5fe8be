import type { z } from 'zod';
import { describeValue } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject, keysToCamel } from '../../util/json.js';
import { hintsOf, problemError, problemsOf, spellingOf } from '../../util/options.js';
import { explainUnknown } from '../../util/unknownOptions.js';
import { argumentNotes } from './notes.js';

type Input = Readonly<Record<string, unknown>>;

/**
 * Options through a schema: camelCase or snake_case, defaults below what the user wrote, and errors
 * that speak the user's spelling.
 *
 * @param refused what is wrong with other options of the call: all of it is one error
 * @throws UNKNOWN_OPTION where a name is unknown, else ARGUMENTS_INVALID; OPTION_ABSENT where
 *   `refused` is all
 */
export function parseArguments<S extends z.ZodObject>(
  schema: S,
  input: Input,
  defaults: Input = {},
  refused: readonly string[] = [],
): z.output<S> {
  const spelling = spellingOf(input, 'ARGUMENTS_INVALID');
  const written = Object.entries(keysToCamel(input)).filter(([, value]) => value !== undefined);
  const values = { ...defaults, ...Object.fromEntries(written) };
  const result = schema.safeParse(values);
  if (result.success && refused.length === 0) return result.data;
  if (result.success)
    throw new AttuneError('OPTION_ABSENT', refused.join('\n  '), {
      remedy: 'docs/hf-mapping.md lists what differs.',
    });
  const asWritten = (name: PropertyKey | undefined) => spelling.get(String(name)) ?? String(name);
  const problems = problemsOf(result.error, values, schema, {
    label: ([first, ...rest]) => [asWritten(first), ...rest.map(String)].join('.'),
    explain: (name) =>
      explainUnknown(asWritten(name), { ...hintsOf(schema), notes: argumentNotes }),
  });
  const messages = [...problems.messages, ...refused];
  throw problemError('ARGUMENTS_INVALID', { ...problems, messages }, result.error);
}

/** @throws ARGUMENTS_INVALID */
export function checkIsObject(args: unknown): void {
  if (isPlainObject(args)) return;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `args: expected an object of options, found ${describeValue(args)}.`,
    { remedy: "Pass args: { outputDir: 'out', learningRate: 1e-4, ... }." },
  );
}
