import { POOLS, plural } from './names.js';

interface Row {
  readonly prompt: string;
  readonly document_id: string;
}

/**
 * Proves the split instead of trusting it: no function of the eval rows occurs in the corpus, and
 * none of their families, combinations of blocks or names occurs in the rows of fine-tuning. Words
 * are compared without case and with identifiers cut into their parts.
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
  for (const { prompt } of train) {
    const word = parts(prompt).find((part) => forbidden.has(part));
    if (word !== undefined)
      throw new Error(`split: the eval name "${word}" is in a row of training:\n${prompt}`);
  }
  const families = new Set(train.map((row) => row.document_id));
  const combinations = new Set(train.map((row) => combination(row)));
  const library = corpus.join('\n\n');
  for (const row of held) {
    if (families.has(row.document_id))
      throw new Error(`split: ${row.document_id} is on both sides`);
    if (combinations.has(combination(row)))
      throw new Error(`split: the combination ${combination(row)} is on both sides`);
    if (library.includes(codeOf(row)))
      throw new Error(`split: the corpus holds a function of ${row.document_id}:\n${row.prompt}`);
  }
}

/** `invoice/js:fetch+ratio` -> `js:fetch+ratio`. */
const combination = (row: Row): string => row.document_id.slice(row.document_id.indexOf('/') + 1);

const codeOf = (row: Row): string => row.prompt.replace(/^### Code\n|\n### Review\n$/g, '');

const parts = (text: string): string[] =>
  [...text.matchAll(/[A-Z]?[a-z]+|[A-Z]+/g)].map(([part]) => part.toLowerCase());
