import { AttuneError } from '@attune/core';
import { isPlainObject, sameValue } from '@attune/core/util';
import { openTokenizer, type TokenizerFolder, tokenizerHash } from './tokenizerFolder.js';

/** How the tokenizer of a folder differs from that of the first one. */
export interface TokenizerDifference {
  readonly folder: string;
  /** Ids that mean other tokens: `id 5 is "a", there "b"; ...`. null: none. */
  readonly vocabulary: string | null;
  /** What makes other ids of a text with the same vocabulary: merges, normaliser. null: nothing. */
  readonly splitting: string | null;
  /** Why one of the two could not be read; then the others are null. */
  readonly unreadable: string | null;
}

/**
 * Compares tokenizers by what is in them, not by the bytes of their files: vocabulary with ids,
 * merges, added tokens with their flags, normaliser, pre-tokeniser.
 *
 * @param folders of models; the first one is what the others are compared with
 * @returns one for each folder but the first
 */
export async function compareTokenizers(
  folders: readonly string[],
): Promise<TokenizerDifference[]> {
  const [first, ...others] = folders;
  if (first === undefined) return [];
  const firstHash = await tokenizerHash(first);
  let opened: Promise<TokenizerFolder | string> | null = null;
  const found: TokenizerDifference[] = [];
  for (const folder of others) {
    const same = { folder, vocabulary: null, splitting: null, unreadable: null };
    if (folder === first || (await tokenizerHash(folder)) === firstHash) {
      found.push(same);
      continue;
    }
    opened ??= open(first);
    const [a, b] = [await opened, await open(folder)];
    if (typeof a === 'string' || typeof b === 'string')
      found.push({ ...same, unreadable: typeof a === 'string' ? a : (b as string) });
    else found.push({ ...same, vocabulary: vocabularies(a, b), splitting: splittings(a, b) });
  }
  return found;
}

const open = (folder: string): Promise<TokenizerFolder | string> =>
  openTokenizer(folder).catch((error: unknown) => {
    if (!AttuneError.isInstance(error)) throw error;
    return error.description;
  });

function vocabularies(a: TokenizerFolder, b: TokenizerFolder): string | null {
  const only = (x: TokenizerFolder, y: TokenizerFolder) =>
    [...x.vocabulary.keys()].filter((token) => !y.vocabulary.has(token));
  const missing = only(a, b);
  const further = only(b, a);
  const moved = [...a.vocabulary].filter(
    ([token, id]) => b.vocabulary.has(token) && b.vocabulary.get(token) !== id,
  );
  const parts = [
    missing.length > 0 && `${count(missing.length, 'token')} not there (${list(missing)})`,
    further.length > 0 && `${count(further.length, 'token')} only there (${list(further)})`,
    moved.length > 0 &&
      `${count(moved.length, 'token')} with another id (${moved
        .slice(0, SHOWN)
        .map(([token, id]) => `${JSON.stringify(token)} is ${id}, there ${b.vocabulary.get(token)}`)
        .join('; ')}${moved.length > SHOWN ? '; ...' : ''})`,
  ].filter((part) => part !== false);
  return parts.length > 0 ? parts.join(', ') : null;
}

function splittings(a: TokenizerFolder, b: TokenizerFolder): string | null {
  const flags = [...a.vocabulary].filter(([token, id]) => {
    const there = b.vocabulary.get(token);
    if (there === undefined) return false;
    const [here, other] = [a.tokenizer.addedTokens.get(id), b.tokenizer.addedTokens.get(there)];
    return !sameValue(here && { ...here }, other && { ...other });
  });
  const [mergesA, mergesB] = [mergesOf(a), mergesOf(b)];
  const sameMerges =
    mergesA.length === mergesB.length && mergesA.every((merge, i) => merge === mergesB[i]);
  const parts = [
    a.kind !== b.kind && `kind ${a.kind}, there ${b.kind}`,
    !sameMerges &&
      (mergesA.length === mergesB.length
        ? 'other merges'
        : `${mergesA.length} merges, there ${mergesB.length}`),
    flags.length > 0 &&
      `how ${count(flags.length, 'token')} (${list(flags.map(([token]) => token))}) ${flags.length === 1 ? 'is' : 'are'} added`,
    !sameValue(a.json.normalizer ?? null, b.json.normalizer ?? null) && 'the normalizer',
    !sameValue(a.json.pre_tokenizer ?? null, b.json.pre_tokenizer ?? null) && 'the pre_tokenizer',
  ].filter((part) => part !== false);
  return parts.length > 0 ? parts.join(', ') : null;
}

/** Merges as "a b", whichever of the two ways a file writes them. */
function mergesOf({ json }: TokenizerFolder): string[] {
  const merges = isPlainObject(json.model) ? json.model.merges : [];
  if (!Array.isArray(merges)) return [];
  return merges.map((merge: unknown) => (Array.isArray(merge) ? merge.join(' ') : String(merge)));
}

const SHOWN = 3;

const count = (n: number, noun: string) => `${n} ${noun}${n === 1 ? '' : 's'}`;

const list = (tokens: readonly string[]): string =>
  tokens
    .slice(0, SHOWN)
    .map((token) => JSON.stringify(token))
    .join(', ') + (tokens.length > SHOWN ? ', ...' : '');
