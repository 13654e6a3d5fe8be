import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import type { TokenizerClass } from './tokenizerClass.js';

type Json = Readonly<Record<string, unknown>>;

const QWEN2 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const byteLevel = (addPrefixSpace: boolean, useRegex: boolean): Json => ({
  type: 'ByteLevel',
  add_prefix_space: addPrefixSpace,
  trim_offsets: true,
  use_regex: useRegex,
});

const replaceMark: Json = { type: 'Replace', pattern: { String: '▁' }, content: ' ' };

/**
 * tokenizer.json as a class of transformers builds it: the vocabulary, the merges and the
 * post-processor of the file, and the normaliser, pre-tokeniser, decoder and flags of the class.
 * Added tokens are left to the caller.
 *
 * @param named unk_token and the like, by name
 * @throws TOKENIZER_INVALID when the file has no model
 */
export function rebuild(
  kind: Exclude<TokenizerClass, 'TokenizersBackend'>,
  file: string,
  json: Json,
  config: Json,
  named: ReadonlyMap<string, string>,
): Json {
  const { model } = json;
  if (!isPlainObject(model))
    throw new AttuneError('TOKENIZER_INVALID', `${file} has no model: expected an object.`, {
      remedy: 'Save it again with tokenizer.save_pretrained in a recent transformers.',
    });
  const base = {
    version: '1.0',
    added_tokens: [],
    post_processor: json.post_processor ?? null,
  };
  const bpe = {
    type: 'BPE',
    vocab: vocabularyOf(model.vocab),
    merges: model.merges ?? [],
  };
  const prefixSpace = config.add_prefix_space;
  switch (kind) {
    case 'LlamaTokenizer': {
      const prefixes = prefixSpace === undefined || prefixSpace === null || prefixSpace === true;
      const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
      return {
        ...base,
        model: { ...bpe, fuse_unk: true, byte_fallback: true },
        normalizer: null,
        pre_tokenizer: {
          type: 'Metaspace',
          replacement: '▁',
          prepend_scheme: !prefixes ? 'never' : config.legacy === true ? 'always' : 'first',
          split: false,
        },
        decoder: {
          type: 'Sequence',
          decoders: [
            replaceMark,
            { type: 'ByteFallback' },
            { type: 'Fuse' },
            ...(prefixes ? [strip] : []),
          ],
        },
      };
    }
    case 'GemmaTokenizer':
      return {
        ...base,
        model: { ...bpe, fuse_unk: true, byte_fallback: true, unk_token: named.get('unk_token') },
        normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
        pre_tokenizer: {
          type: 'Split',
          pattern: { String: ' ' },
          behavior: 'MergedWithPrevious',
          invert: false,
        },
        decoder: {
          type: 'Sequence',
          decoders: [replaceMark, { type: 'ByteFallback' }, { type: 'Fuse' }],
        },
      };
    case 'Qwen2Tokenizer':
      return {
        ...base,
        model: bpe,
        normalizer: { type: 'NFC' },
        pre_tokenizer: {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: QWEN2 }, behavior: 'Isolated', invert: false },
            byteLevel(prefixSpace === true, false),
          ],
        },
        decoder: byteLevel(true, true),
      };
    case 'GPT2Tokenizer':
      return {
        ...base,
        model: bpe,
        normalizer: null,
        pre_tokenizer: byteLevel(prefixSpace === true, true),
        decoder: byteLevel(true, true),
      };
  }
}

/** What a class says where the files do not name a token. */
export const classTokens: Readonly<Record<TokenizerClass, Readonly<Record<string, string>>>> = {
  TokenizersBackend: {},
  LlamaTokenizer: { unk_token: '<unk>', bos_token: '<s>', eos_token: '</s>' },
  GemmaTokenizer: {
    unk_token: '<unk>',
    bos_token: '<bos>',
    eos_token: '<eos>',
    pad_token: '<pad>',
    mask_token: '<mask>',
  },
  Qwen2Tokenizer: {
    unk_token: '<|endoftext|>',
    eos_token: '<|endoftext|>',
    pad_token: '<|endoftext|>',
  },
  GPT2Tokenizer: {
    unk_token: '<|endoftext|>',
    bos_token: '<|endoftext|>',
    eos_token: '<|endoftext|>',
  },
};

/** A list, of tokens or of tokens with scores, is a vocabulary by position. */
function vocabularyOf(vocab: unknown): unknown {
  if (!Array.isArray(vocab)) return vocab;
  const entries = vocab.map((item: unknown, id) => [Array.isArray(item) ? item[0] : item, id]);
  return Object.fromEntries(entries);
}
