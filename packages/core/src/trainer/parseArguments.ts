import type { z } from 'zod';
import { AttuneError, nearest } from '../util/errors.js';
import { keysToCamel, snakeToCamel } from '../util/json.js';

type Input = Readonly<Record<string, unknown>>;

/**
 * Options through a schema: camelCase or snake_case, defaults below what the user wrote, and errors
 * that speak the user's spelling.
 *
 * @throws ARGUMENTS_INVALID
 */
export function parseArguments<S extends z.ZodObject>(
  schema: S,
  input: Input,
  defaults: Input = {},
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
  if (result.success) return result.data;
  const known = Object.keys(schema.shape);
  const problems = result.error.issues.map((issue) => describe(issue, values, spelling, known));
  throw new AttuneError('ARGUMENTS_INVALID', problems.map((p) => p.message).join('\n  '), {
    remedy: [...new Set(problems.map((p) => p.remedy))].join(' '),
    cause: result.error,
  });
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
      const near = nearest(key, known);
      return `there is no option "${spelling.get(key) ?? key}".${near ? ` Did you mean "${near}"?` : ''}`;
    });
    return { message: messages.join(' '), remedy: `Options: ${known.join(', ')}.` };
  }
  const [first, ...rest] = issue.path.map(String);
  const path = [spelling.get(first ?? '') ?? first, ...rest].join('.');
  const value = issue.path.reduce<unknown>(
    (inside, key) => (inside as Record<PropertyKey, unknown> | undefined)?.[key],
    values,
  );
  return {
    message: `${path} is ${JSON.stringify(value) ?? String(value)}: ${issue.message}.`,
    remedy: `Change ${path}.`,
  };
}
