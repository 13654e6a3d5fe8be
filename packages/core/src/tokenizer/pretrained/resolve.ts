import { join } from '#platform';
import { isPlainObject } from '../../util/json.js';
import type { AddedToken } from '../engine/addedTokens.js';
import { createEngine, type TokenizerEngine } from '../engine/engine.js';
import { classTokens, rebuild } from './rebuild.js';
import {
  declaredTokens,
  keyOf,
  specialToken,
  type TokenFiles,
  type TokenValue,
  textOf,
  tokenNames,
  tokenValue,
} from './specialTokens.js';
import { type TokenizerClass, tokenizerClass } from './tokenizerClass.js';

type Json = Readonly<Record<string, unknown>>;

/** A tokenizer as transformers' AutoTokenizer makes it of a folder. */
export interface ResolvedTokenizer {
  readonly engine: TokenizerEngine;
  /**
   * The class that tokenizer_config.json has to name where it stands without config.json; null
   * where it need not.
   */
  readonly classToName: TokenizerClass | null;
  /** tokenizer.json as the class builds it. */
  readonly json: Json;
  /** Texts of special tokens by name: bos_token, ..., and a model's own. */
  readonly special: ReadonlyMap<string, string>;
}

export interface PretrainedFiles extends TokenFiles {
  /** config.json, where the folder has one: its model_type decides the class, too. */
  readonly modelConfig: Json | null;
}

/**
 * Chooses the class, builds its tokenizer.json, and adds what the folder names beyond it, so that
 * ids are those of transformers 5.23.
 *
 * @throws TOKENIZER_INVALID
 */
export function resolveTokenizer(files: PretrainedFiles): ResolvedTokenizer {
  const { tokenizer, config, modelConfig } = files;
  const className = tokenizerClass(tokenizer, config, modelConfig);
  const { named, extra, byId } = declaredTokens(files);
  const defaults = classTokens[className];
  for (const [name, token] of Object.entries(defaults))
    if (!named.has(name)) named.set(name, token);
  // The other classes say themselves whether there is a pad token.
  const asksPadding = className === 'TokenizersBackend' || className === 'LlamaTokenizer';
  if (asksPadding && isPlainObject(tokenizer.padding) && !named.has('pad_token')) {
    const padding = tokenValue(tokenizer.padding.pad_token);
    if (padding !== undefined) named.set('pad_token', padding);
  }
  const special = new Map<string, string>();
  for (const [name, token] of named) if (token !== null) special.set(name, textOf(token));
  const file = join(files.folder, 'tokenizer.json');
  const json =
    className === 'TokenizersBackend'
      ? tokenizer
      : rebuild(className, file, tokenizer, config, special);
  const ordered = [...inOrder(named), ...extra];
  const added = tokensToAdd(addedOf(json), byId, ordered, new Set(special.values()));
  // Qwen2Tokenizer adds its special tokens once more, without their properties.
  if (className === 'Qwen2Tokenizer') added.push(...ordered.map((t) => specialToken(textOf(t))));
  const engine = createEngine(file, json, {
    addedTokens: added,
    splitSpecialTokens: config.split_special_tokens === true,
  });
  const alone = tokenizerClass(tokenizer, config, null);
  return { engine, classToName: alone === className ? null : className, json, special };
}

/** Tokens by transformers' order of names; a model's own come last. */
function inOrder(named: ReadonlyMap<string, TokenValue | null>): TokenValue[] {
  const names = new Set<string>([...tokenNames, ...named.keys()]);
  return [...names].flatMap((name) => named.get(name) ?? []);
}

function addedOf(json: Json): AddedToken[] {
  const tokens = Array.isArray(json.added_tokens) ? (json.added_tokens as unknown[]) : [];
  return tokens.flatMap((value) => {
    const token = tokenValue(value);
    return token === undefined || typeof token === 'string' ? [] : [token];
  });
}

/**
 * What is added to a tokenizer, in order: added tokens by id that it has not, or has with other
 * properties, then special tokens that are not there yet.
 */
function tokensToAdd(
  present: readonly AddedToken[],
  byId: ReadonlyMap<number, AddedToken>,
  special: readonly TokenValue[],
  namedTexts: ReadonlySet<string>,
): AddedToken[] {
  const known = new Set(present.map(keyOf));
  const sorted = [...byId].sort(([a], [b]) => a - b).map(([, token]) => token);
  const toAdd: TokenValue[] = sorted.filter((token) => !known.has(keyOf(token)));
  const texts = new Set([...present, ...toAdd].map(textOf));
  const adding = new Set(toAdd.map(keyOf));
  for (const token of special) {
    if (texts.has(textOf(token)) || adding.has(keyOf(token))) continue;
    adding.add(keyOf(token));
    toAdd.push(token);
  }
  return toAdd.map((token) => {
    if (typeof token === 'string') return specialToken(token);
    return namedTexts.has(token.content) ? { ...token, special: true } : token;
  });
}
