import type { z } from 'zod';
import { describeValue } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject, keysToCamel, snakeToCamel } from '../../util/json.js';
import { explainUnknown } from '../../util/unknownOptions.js';
import { argumentHints } from './argumentHints.js';

type Input = Readonly<Record<string, unknown>>;

/**
 * Options through a schema: camelCase or snake_case, defaults below what the user wrote, and errors
 * that speak the user's spelling.
 *
 * @param refused what is wrong with other options of the call: all of it is one error
 * @throws ARGUMENTS_INVALID; OPTION_ABSENT where `refused` is all
 */
export function parseArguments<S extends z.ZodObject>(
  schema: S,
  input: Input,
  defaults: Input = {},
  refused: readonly string[] = [],
): z.output<S> {
  const spelling = new Map<string, string>();
  for (const key of Object.keys(input)) {
    const name = snakeToCamel(key);
    if (spelling.has(name) && input[key] !== undefined)
      throw new AttuneError(
        'ARGUMENTS_INVALID',
        `"${spelling.get(name)}" and "${key}" are the same option.`,
        { remedy: 'Give it once.' },
      );
    spelling.set(name, key);
  }
  const written = Object.entries(keysToCamel(input)).filter(([, value]) => value !== undefined);
  const values = { ...defaults, ...Object.fromEntries(written) };
  const result = schema.safeParse(values);
  if (result.success && refused.length === 0) return result.data;
  if (result.success)
    throw new AttuneError('OPTION_ABSENT', refused.join('\n  '), {
      remedy: 'docs/hf-mapping.md lists what differs.',
    });
  const known = Object.keys(schema.shape);
  const problems = result.error.issues.map((issue) => describe(issue, values, spelling, known));
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    [...problems.map((p) => p.message), ...refused].join('\n  '),
    {
      remedy: [...new Set(problems.map((p) => p.remedy))].join(' '),
      cause: result.error,
    },
  );
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

interface Problem {
  readonly message: string;
  readonly remedy: string;
}

function describe(
  issue: z.core.$ZodIssue,
  values: Input,
  spelling: ReadonlyMap<string, string>,
  known: readonly string[],
): Problem {
  if (issue.code === 'unrecognized_keys' && issue.path.length === 0) {
    const messages = issue.keys.map((key) => {
      return explainUnknown(spelling.get(key) ?? key, { ...argumentHints, known });
    });
    return { message: messages.join('\n  '), remedy: `Options: ${known.join(', ')}.` };
  }
  const [first, ...rest] = issue.path.map(String);
  const path = [spelling.get(first ?? '') ?? first, ...rest].join('.');
  const value = issue.path.reduce<unknown>(
    (inside, key) => (inside as Record<PropertyKey, unknown> | undefined)?.[key],
    values,
  );
  return {
    message: `${path} is ${typeof value === 'number' ? value : (JSON.stringify(value) ?? String(value))}: ${issue.message}.`,
    remedy: `Change ${path}.`,
  };
}
