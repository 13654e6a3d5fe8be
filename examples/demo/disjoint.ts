import { POOLS, plural } from './names.js';

interface Row {
  readonly prompt: string;
  readonly document_id: string;
}

/**
 * Proves the split instead of trusting it: no eval family, function text or name may occur in what
 * the model learns from. Words are compared without case and with identifiers cut into their parts.
 *
 * @throws Error that names the first overlap
 */
export function assertDisjoint(
  corpus: readonly string[],
  train: readonly Row[],
  held: readonly Row[],
): void {
  const { entities, amounts, states, values } = POOLS.eval;
  const forbidden = new Set([
    ...entities,
    ...entities.map(plural),
    ...amounts,
    ...states,
    ...values,
  ]);
  for (const text of [...corpus, ...train.map((row) => row.prompt)]) {
    const word = parts(text).find((part) => forbidden.has(part));
    if (word !== undefined)
      throw new Error(`split: the eval name "${word}" is in training text:\n${text}`);
  }
  const families = new Set(train.map((row) => row.document_id));
  const combinations = new Set(train.map((row) => combination(row)));
  for (const row of held) {
    if (families.has(row.document_id))
      throw new Error(`split: ${row.document_id} is on both sides`);
    if (combinations.has(combination(row))) {
      throw new Error(`split: the combination ${combination(row)} is on both sides`);
    }
  }
}

/** `invoice/js:fetch+ratio` -> `js:fetch+ratio`. */
const combination = (row: Row): string => row.document_id.slice(row.document_id.indexOf('/') + 1);

const parts = (text: string): string[] =>
  [...text.matchAll(/[A-Z]?[a-z]+|[A-Z]+/g)].map(([part]) => part.toLowerCase());
