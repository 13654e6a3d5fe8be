import { nearest } from './errors.js';

/**
 * What is known about the options of one place, to say which one somebody meant. Keys of the tables
 * are written without case and underscores: "batchsize" stands for batchSize, batch_size and
 * BatchSize.
 */
export interface OptionHints {
  readonly known: readonly string[];
  /** What an option is called elsewhere -> its name here. */
  readonly synonyms?: Readonly<Record<string, string>>;
  /** An option that is not here -> why, or where: the end of a sentence. */
  readonly notes?: OptionNotes;
  /** Other places, whose options are often written here. */
  readonly elsewhere?: readonly OtherPlace[];
}

/** An option that is not here -> why, or where: the end of a sentence. */
export type OptionNotes = Readonly<Record<string, string>>;

/** Another place, and how its options are written there. */
export interface OtherPlace {
  readonly hints: OptionHints;
  /** Where the option belongs: "args: { seed }". */
  readonly place: (name: string) => string;
}

const plain = (name: string): string => name.replaceAll(/[_\s-]/g, '').toLowerCase();

const own = <T>(table: Readonly<Record<string, T>> | undefined, key: string): T | undefined =>
  table && Object.hasOwn(table, key) ? table[key] : undefined;

/** The option that a word certainly means; undefined: none. */
function meant(name: string, { known, synonyms }: OptionHints): string | undefined {
  const same = known.find((candidate) => plain(candidate) === plain(name));
  const synonym = own(synonyms, plain(name));
  return same ?? (synonym !== undefined && known.includes(synonym) ? synonym : undefined);
}

/**
 * One sentence about an option that does not exist: which one was meant, why it is absent, or the
 * nearest name.
 *
 * @param what its beginning
 */
export function explainUnknown(
  name: string,
  hints: OptionHints,
  what = `there is no option "${name}"`,
): string {
  const option = meant(name, hints);
  if (option !== undefined) return `${what}. Did you mean "${option}"?`;
  const note = own(hints.notes, plain(name));
  if (note !== undefined) return `${what}: ${note}.`;
  for (const { hints: other, place } of hints.elsewhere ?? []) {
    const there = meant(name, other);
    if (there !== undefined) return `${what} here. It belongs into ${place(there)}.`;
  }
  const near = nearest(name, hints.known);
  return `${what}.${near === undefined ? '' : ` Did you mean "${near}"?`}`;
}
