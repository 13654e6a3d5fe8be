import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import type { AddedToken } from '../engine/addedTokens.js';

type Json = Readonly<Record<string, unknown>>;

/** Where a token is written: as text, or with its properties. */
export type TokenValue = string | AddedToken;

export const textOf = (token: TokenValue): string =>
  typeof token === 'string' ? token : token.content;

/** The special tokens that have names of their own, in transformers' order. */
export const tokenNames = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

/** A token of a file: a text, or an object with `content`. Undefined for what is neither. */
export function tokenValue(value: unknown, special?: boolean): TokenValue | undefined {
  if (typeof value === 'string') return value;
  if (!isPlainObject(value) || typeof value.content !== 'string') return undefined;
  const flag = (key: string, fallback: boolean) =>
    typeof value[key] === 'boolean' ? value[key] : fallback;
  const isSpecial = special ?? flag('special', false);
  return {
    content: value.content,
    singleWord: flag('single_word', false),
    lstrip: flag('lstrip', false),
    rstrip: flag('rstrip', false),
    normalized: flag('normalized', !isSpecial),
    special: isSpecial,
  };
}

export const specialToken = (content: string): AddedToken => ({
  content,
  singleWord: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
});

/** What the files of a folder say about tokens beside the vocabulary. */
export interface DeclaredTokens {
  /** By name; null where a file says that there is none. Names of a model's own come last. */
  readonly named: Map<string, TokenValue | null>;
  readonly extra: readonly TokenValue[];
  /** Added tokens with the ids that files give them, which decide their order. */
  readonly byId: ReadonlyMap<number, AddedToken>;
}

/** The files that name tokens, as they stand. */
export interface TokenFiles {
  /** For messages. */
  readonly folder: string;
  readonly tokenizer: Json;
  readonly config: Json;
  readonly specialTokensMap: Json | null;
  readonly addedTokens: Json | null;
}

/**
 * Collects the tokens that tokenizer_config.json, special_tokens_map.json, added_tokens.json and
 * tokenizer.json name, as transformers 5.23 does: with `added_tokens_decoder` in
 * tokenizer_config.json the other files are not asked; without, special_tokens_map.json comes
 * before tokenizer_config.json.
 *
 * @throws TOKENIZER_INVALID naming the file and the key
 */
export function declaredTokens(files: TokenFiles): DeclaredTokens {
  const reader = new Reader(files);
  const { config } = files;
  for (const name of tokenNames)
    if (name in config) reader.name('tokenizer_config.json', config, name);
  // Objects come before texts, and before those of extra_special_tokens, which may name them anew.
  const own = Object.keys(config).filter((key) => key.endsWith('_token') && !isNamed(key));
  for (const asText of [false, true])
    for (const key of own) {
      const value = tokenValue(config[key]);
      if (value !== undefined && (typeof value === 'string') === asText) reader.own(key, value);
    }
  reader.extras(
    'tokenizer_config.json',
    config.extra_special_tokens,
    config.additional_special_tokens,
  );
  if (isPlainObject(config.added_tokens_decoder)) reader.decoder(config.added_tokens_decoder);
  else reader.legacy();
  return reader.done();
}

const isNamed = (key: string): boolean => (tokenNames as readonly string[]).includes(key);

class Reader {
  readonly #named = new Map<string, TokenValue | null>();
  readonly #own = new Map<string, TokenValue>();
  readonly #byId = new Map<number, AddedToken>();
  /**
   * The text of each name that counts as special for added_tokens.json, and null: an object of
   * tokenizer_config.json does not count.
   */
  readonly #countedNames = new Map<string, string | null>();
  /** Extra tokens that special_tokens_map.json gave as objects. */
  readonly #joined = new Set<TokenValue>();
  #extra: TokenValue[] | null = null;

  constructor(private readonly files: TokenFiles) {}

  name(file: string, json: Json, name: string, special?: boolean): void {
    const value = json[name] === null ? null : this.#token(file, name, json[name], special);
    this.#named.set(name, value);
    const counts = value !== null && (typeof value === 'string' || special === true);
    this.#countedNames.set(name, counts ? textOf(value) : null);
  }

  own(key: string, value: TokenValue): void {
    this.#own.set(key, value);
  }

  /** extra_special_tokens, or where it names none, additional_special_tokens. */
  extras(file: string, extra: unknown, additional: unknown): void {
    const tokens = (list: readonly unknown[]) =>
      list.map((token, i) => this.#token(file, `extra_special_tokens[${i}]`, token));
    if (isPlainObject(extra)) {
      for (const [key, token] of Object.entries(extra))
        this.own(key, this.#token(file, `extra_special_tokens.${key}`, token));
      if (Array.isArray(additional)) this.#extra = tokens(additional);
      return;
    }
    const value = Array.isArray(extra) && extra.length > 0 ? extra : (additional ?? extra);
    if (value === undefined || value === null) return;
    if (!Array.isArray(value))
      throw this.#wrong(file, 'extra_special_tokens', value, 'a list or an object of tokens');
    this.#extra = tokens(value);
  }

  /** added_tokens_decoder: tokens by id. */
  decoder(tokens: Json): void {
    for (const [key, value] of Object.entries(tokens)) {
      const id = Number(key);
      const token = this.#token('tokenizer_config.json', `added_tokens_decoder.${key}`, value);
      if (!Number.isInteger(id) || id < 0 || key.trim() === '' || typeof token === 'string')
        throw this.#wrong(
          'tokenizer_config.json',
          `added_tokens_decoder.${key}`,
          value,
          'an id, and an object with "content"',
        );
      this.#byId.set(id, token);
    }
  }

  /** What older files say. */
  legacy(): void {
    const { specialTokensMap: map, addedTokens, tokenizer } = this.files;
    const file = 'special_tokens_map.json';
    for (const [key, value] of Object.entries(map ?? {})) {
      if (isNamed(key)) this.name(file, map!, key, isPlainObject(value) ? true : undefined);
      else if (key === 'extra_special_tokens' && Array.isArray(value)) this.#join(file, value);
      else if (key === 'extra_special_tokens') this.extras(file, value, undefined);
      else if (key.endsWith('_token')) {
        const token = tokenValue(value, isPlainObject(value) ? true : undefined);
        if (token !== undefined) this.own(key, token);
      }
    }
    const special = new Set<string | null>(this.#countedNames.values());
    const { extra_special_tokens: extra } = this.files.config;
    const mapped = map?.additional_special_tokens;
    // Beside an object of extra tokens, the list of additional ones is this file's, unless it has
    // both.
    const replaces = isPlainObject(extra) && !Array.isArray(map?.extra_special_tokens);
    if (mapped && (replaces || (this.#extra === null && extra !== null)))
      this.extras(file, undefined, mapped);
    else
      for (const token of this.#extra ?? [])
        if (typeof token === 'string' || this.#joined.has(token)) special.add(textOf(token));
    for (const [content, id] of Object.entries(addedTokens ?? {})) {
      if (typeof id !== 'number' || !Number.isInteger(id) || id < 0)
        throw this.#wrong('added_tokens.json', content, id, 'an integer from 0');
      const isSpecial = special.has(content);
      this.#byId.set(id, { ...specialToken(content), normalized: !isSpecial, special: isSpecial });
    }
    const inFile = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : [];
    for (const [i, value] of (inFile as unknown[]).entries()) {
      const token = this.#token('tokenizer.json', `added_tokens[${i}]`, value);
      const id = isPlainObject(value) ? value.id : undefined;
      if (typeof token === 'string' || typeof id !== 'number' || !Number.isInteger(id) || id < 0)
        throw this.#wrong(
          'tokenizer.json',
          `added_tokens[${i}]`,
          value,
          'an object with an id and "content"',
        );
      this.#byId.set(id, token);
    }
  }

  /** Named tokens take the properties that an added token of their text has. */
  done(): DeclaredTokens {
    const known = new Map([...this.#byId.values()].map((token) => [token.content, token]));
    for (const [name, value] of this.#named)
      if (value !== null) this.#named.set(name, known.get(textOf(value)) ?? value);
    const named = new Map<string, TokenValue | null>();
    for (const name of tokenNames)
      if (this.#named.has(name)) named.set(name, this.#named.get(name)!);
    for (const [name, value] of this.#own) named.set(name, value);
    return { named, extra: this.#extra ?? [], byId: this.#byId };
  }

  #join(file: string, values: readonly unknown[]): void {
    const joined = [...(this.#extra ?? [])];
    for (const [i, value] of values.entries()) {
      const token = this.#token(
        file,
        `extra_special_tokens[${i}]`,
        value,
        isPlainObject(value) ? true : undefined,
      );
      if (joined.some((other) => keyOf(other) === keyOf(token))) continue;
      this.#joined.add(token);
      joined.push(token);
    }
    this.#extra = joined;
  }

  #token(file: string, key: string, value: unknown, special?: boolean): TokenValue {
    const token = tokenValue(value, special);
    if (token !== undefined) return token;
    throw this.#wrong(file, key, value, 'a token: a text, or an object with "content"');
  }

  #wrong(file: string, key: string, value: unknown, expected: string): AttuneError {
    return new AttuneError(
      'TOKENIZER_INVALID',
      `${this.files.folder}: ${file}: ${key} is ${(JSON.stringify(value) ?? 'missing').slice(0, 60)}: expected ${expected}.`,
      { remedy: 'Save it again with tokenizer.save_pretrained in a recent transformers.' },
    );
  }
}

/** What tells tokens apart: the text, and the properties where it has some. */
export const keyOf = (token: TokenValue): string =>
  JSON.stringify(
    typeof token === 'string'
      ? token
      : [
          token.content,
          token.singleWord,
          token.lstrip,
          token.rstrip,
          token.normalized,
          token.special,
        ],
  );
