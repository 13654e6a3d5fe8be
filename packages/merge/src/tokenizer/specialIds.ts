import type { RawConfig } from '@attune/core/io';
import { isPlainObject } from '@attune/core/util';
import type { TokenizerFolder } from './tokenizerFolder.js';

/** From the ids of one vocabulary to those of another. */
export interface IdTranslation {
  /** The tokenizer that the ids of the config are of. */
  readonly from: TokenizerFolder;
  /** Ids of the output. */
  readonly ids: ReadonlyMap<string, number>;
  /** The tokenizer of the output, before tokens were added: for its own bos, eos and pad. */
  readonly owner: TokenizerFolder;
}

/** Ids under these names are of tokens; so are those in lists of them, however deep. */
const TOKEN_IDS = /_token_ids?$|_token_index$|^(begin_)?suppress_tokens$|^bad_words_ids$/;

/**
 * config.json or generation_config.json with the ids of another vocabulary: bos_token_id,
 * eos_token_id and the like follow their tokens, also in parts like text_config. An id whose token
 * is not there any more becomes that of the same name in the output's tokenizer, or is left out.
 *
 * @param file for the warnings
 * @returns the same object where nothing changes
 */
export function translateIds(
  config: RawConfig,
  translation: IdTranslation,
  file: string,
  warnings: string[],
): RawConfig {
  let changed = false;
  const entries = Object.entries(config).flatMap(([key, value]): [string, unknown][] => {
    const next = TOKEN_IDS.test(key)
      ? translated(value, key, translation)
      : isPlainObject(value)
        ? translateIds(value, translation, file, warnings)
        : value;
    if (next === value) return [[key, value]];
    changed = true;
    if (TOKEN_IDS.test(key))
      warnings.push(
        `${file}: ${key} was ${JSON.stringify(value)} and is ${next === undefined ? 'left out: the vocabulary of the output does not have its token' : JSON.stringify(next)}${next === undefined ? '' : ', by the vocabulary of the output'}.`,
      );
    return next === undefined ? [] : [[key, next]];
  });
  return changed ? Object.fromEntries(entries) : config;
}

/** The same value where no id in it changes; undefined where no id is left. */
function translated(value: unknown, key: string, translation: IdTranslation): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item: unknown) => translated(item, key, translation));
    if (items.every((item, i) => item === value[i])) return value;
    const left = items.filter((item) => item !== undefined);
    return left.length > 0 ? [...new Set(left)] : undefined;
  }
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) return value;
  const token = translation.from.tokenizer.idToToken(value);
  // An id without a token (of the padding, or of pictures) has no other place to go.
  if (token === null) return value;
  return translation.ids.get(token) ?? ownId(key, translation);
}

function ownId(key: string, { owner, ids }: IdTranslation): number | undefined {
  const { bosToken, eosToken, padToken, unkToken } = owner.tokenizer;
  const named: Readonly<Record<string, string | null>> = {
    bos_token_id: bosToken,
    eos_token_id: eosToken,
    pad_token_id: padToken,
    unk_token_id: unkToken,
  };
  const token = Object.hasOwn(named, key) ? named[key] : null;
  return token == null ? undefined : ids.get(token);
}
