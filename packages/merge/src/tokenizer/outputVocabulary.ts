import type { AddedToken } from '@attune/core/text';
import { isPlainObject, sameValue } from '@attune/core/util';
import type { TokenizerFolder } from './tokenizerFolder.js';

/** A model whose rows are aligned. */
export interface VocabularyModel {
  /** As the config names it. */
  readonly key: string;
  readonly tokens: TokenizerFolder;
  /** Rows of its embedding: tokens behind them are none of the model's. */
  readonly numRows: number;
}

/** A token that is added to the owner's tokenizer, or that was there and is now an added one. */
export interface NewToken {
  readonly id: number;
  readonly token: AddedToken;
}

/** The tokens of the output. */
export interface OutputVocabulary {
  /** Whose tokenizer it is, with what is added to it. */
  readonly owner: VocabularyModel;
  /** Ids by token, in the order of ids. */
  readonly ids: ReadonlyMap<string, number>;
  /** Highest id + 1. */
  readonly numTokens: number;
  /** In the order of ids, behind the owner's. */
  readonly added: readonly NewToken[];
  /** Tokens of the owner's vocabulary that are added tokens of another model. */
  readonly promoted: readonly NewToken[];
  /** Tokens of the owner that have no row in its embedding. */
  readonly dropped: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * The vocabulary of a `union`: the base's, then what other models have beside it, in their order,
 * first what is in their vocabularies and then their added tokens. As in mergekit all of these
 * become added tokens. Within a model mergekit's order is that of a hash table; here it is that of
 * ids.
 *
 * @param owner the base
 * @param wanted tokens that the config names: those that nobody has are added last
 */
export function unionVocabulary(
  owner: VocabularyModel,
  models: readonly VocabularyModel[],
  wanted: Iterable<string>,
): OutputVocabulary {
  const words = new Set<string>();
  const added = new Map<string, AddedToken>();
  const conflicts = new Set<string>();
  for (const { tokens, numRows } of models)
    for (const [token, id] of tokens.vocabulary) {
      if (id >= numRows) continue;
      const flags = tokens.tokenizer.addedTokens.get(id);
      const known = added.get(token);
      if (!flags) words.add(token);
      else if (!known) added.set(token, flags);
      else if (!sameValue({ ...known }, { ...flags })) conflicts.add(token);
    }
  const further = [...words].filter((token) => !added.has(token));
  const vocabulary = extend(owner, further, [...added.values()], wanted);
  if (conflicts.size === 0) return vocabulary;
  const warning = `${listTokens([...conflicts])} ${conflicts.size === 1 ? 'is' : 'are'} added with other flags in other models; those of the first model count.`;
  return { ...vocabulary, warnings: [...vocabulary.warnings, warning] };
}

/** The vocabulary of one model, and what the config names beside it. */
export const ownVocabulary = (owner: VocabularyModel, wanted: Iterable<string>): OutputVocabulary =>
  extend(owner, [], [], wanted);

function extend(
  owner: VocabularyModel,
  words: readonly string[],
  others: readonly AddedToken[],
  wanted: Iterable<string>,
): OutputVocabulary {
  const { vocabulary, tokenizer } = owner.tokens;
  const ids = new Map([...vocabulary].filter(([, id]) => id < owner.numRows));
  const dropped = [...vocabulary.keys()].filter((token) => !ids.has(token));
  const promoted = others.flatMap((token) => {
    const id = ids.get(token.content);
    return id === undefined || tokenizer.addedTokens.has(id) ? [] : [{ id, token }];
  });
  const added: NewToken[] = [];
  let next = nextId(owner, dropped);
  for (const token of [...words.map(plainToken), ...others, ...[...wanted].map(plainToken)]) {
    if (ids.has(token.content)) continue;
    added.push({ id: next, token });
    ids.set(token.content, next++);
  }
  let last = -1;
  for (const id of ids.values()) last = Math.max(last, id);
  return { owner, ids, numTokens: last + 1, added, promoted, dropped, warnings: [] };
}

/** As tokenizers numbers added tokens: behind the vocabulary, or behind the last added one. */
function nextId({ tokens, numRows }: VocabularyModel, dropped: readonly string[]): number {
  const gone = new Set(dropped);
  const { model } = tokens.json;
  const vocab = isPlainObject(model) ? model.vocab : [];
  const names = Array.isArray(vocab)
    ? vocab.map((item: unknown) => String(Array.isArray(item) ? item[0] : item))
    : Object.keys(vocab as object);
  const size = names.filter((token) => !gone.has(token)).length;
  let highest = -1;
  for (const id of tokens.tokenizer.addedTokens.keys())
    if (id < numRows) highest = Math.max(highest, id);
  return highest >= size ? highest + 1 : size;
}

/** How `add_tokens("...")` of tokenizers adds a text. */
const plainToken = (content: string): AddedToken => ({
  content,
  singleWord: false,
  lstrip: false,
  rstrip: false,
  normalized: true,
  special: false,
});

const SHOWN = 5;

/** `"a", "b", ...`: the first of them. */
export const listTokens = (tokens: readonly string[]): string =>
  tokens
    .slice(0, SHOWN)
    .map((token) => JSON.stringify(token))
    .join(', ') + (tokens.length > SHOWN ? ', ...' : '');
