import { listTokens, type OutputVocabulary, type VocabularyModel } from './outputVocabulary.js';

/** What becomes of the vocabulary, and of each model's tokens: a sentence each. */
export function vocabularyChanges(
  { owner, ids, numTokens, added, promoted, dropped }: OutputVocabulary,
  models: readonly VocabularyModel[],
  { keptRows, padding }: { readonly keptRows: number; readonly padding: number },
): string[] {
  const changes: string[] = [];
  const count = (n: number, noun = 'token') => `${n} ${noun}${n === 1 ? '' : 's'}`;
  if (added.length > 0)
    changes.push(
      `${count(added.length)} added to the tokenizer of ${owner.key} (${listTokens(added.map(({ token }) => token.content))}), as added tokens: each is taken out of a text before the tokenizer splits the rest.`,
    );
  if (promoted.length > 0)
    changes.push(
      `${count(promoted.length)} of ${owner.key} ${promoted.length === 1 ? 'becomes an added token' : 'become added tokens'}, as in other models: ${listTokens(promoted.map(({ token }) => token.content))}.`,
    );
  if (dropped.length > 0)
    changes.push(
      `${count(dropped.length)} of ${owner.key} without a row in its embedding of ${owner.numRows} rows left out: ${listTokens(dropped)}.`,
    );
  for (const { key, tokens, numRows } of models) {
    const has = (token: string) => (tokens.vocabulary.get(token) ?? numRows) < numRows;
    const missing = [...ids.keys()].filter((token) => !has(token));
    const gone = [...tokens.vocabulary.keys()].filter((token) => !ids.has(token) && has(token));
    if (missing.length > 0)
      changes.push(
        `${key} lacks ${count(missing.length)} of the vocabulary (${listTokens(missing)}), and has rows of others for them.`,
      );
    if (missing.length * 2 > ids.size)
      changes.push(
        `${key} shares less than half of the vocabulary: rows of tokens that it lacks say nothing of what it learned.`,
      );
    if (gone.length > 0)
      changes.push(
        `${count(gone.length)} of ${key} not in the vocabulary (${listTokens(gone)}): their rows are left out.`,
      );
  }
  if (keptRows > numTokens)
    changes.push(
      `${count(keptRows - numTokens, 'row')} without a token kept behind the vocabulary of ${numTokens}, as ${owner.key} has them.`,
    );
  if (padding > 0)
    changes.push(
      `${count(padding, 'row')} without a token behind the vocabulary of ${numTokens}, each the mean of all others.`,
    );
  if (keptRows + padding < owner.numRows)
    changes.push(
      `The embedding has ${keptRows + padding} rows; that of ${owner.key} has ${owner.numRows}, of which those without a token are left out.`,
    );
  return changes;
}
