/** Options of {@link AttuneError}: everything a reader needs to mend the mistake. */
export interface AttuneErrorOptions {
  /** One thing to do about it, in the imperative. Shown on a line of its own. */
  readonly remedy?: string;
  /** The facts as data (values, paths, rows), for programs that handle the error. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

const mark = Symbol.for('attune.error');

/**
 * Every error that Attune throws on purpose. It has a stable `code` for programs, a message that
 * says what was found and what was expected, and a `remedy`.
 *
 * `AttuneError.isInstance` asks for a symbol, so it knows errors of another copy of the package,
 * too.
 */
export class AttuneError extends Error {
  readonly [mark] = true;
  /** The message without its code and its remedy. */
  readonly description: string;
  readonly remedy: string | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    /** Stable and searchable, e.g. `SAFETENSORS_TRUNCATED`. */
    readonly code: string,
    message: string,
    options: AttuneErrorOptions = {},
  ) {
    super(
      `${code}: ${message}${options.remedy ? `\n  Fix: ${options.remedy}` : ''}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'AttuneError';
    this.description = message;
    this.remedy = options.remedy;
    this.details = options.details ?? {};
  }

  static isInstance(value: unknown): value is AttuneError {
    return typeof value === 'object' && value !== null && mark in value;
  }
}

const LONGEST_NAME = 200;

/**
 * The known name nearest to `name` by edit distance, for "did you mean"; undefined when none is
 * near.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  // Names of files may be of any length, and none that long is a slip of the fingers.
  if (name.length > LONGEST_NAME) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 2)) + 1;
  for (const candidate of known) {
    if (candidate.length > LONGEST_NAME) continue;
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
