import { AttuneError } from '@attune/core';
import { describe, expect, it } from 'vitest';
import { createEngine } from '../../src/tokenizer/engine/engine.js';

const vocab = { '<unk>': 0, a: 1, b: 2, ab: 3 };
const bpe = { type: 'BPE', vocab, merges: [['a', 'b']], unk_token: '<unk>' };
const plain = { version: '1.0', added_tokens: [], model: bpe };
const added = (more: object) => ({
  id: 4,
  content: '<x>',
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: true,
  ...more,
});
const withModel = (more: object) => ({ ...plain, model: { ...bpe, ...more } });
const splitBy = (Regex: string) => ({
  ...plain,
  pre_tokenizer: { type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false },
});
const sequence = (depth: number): object => {
  let part: object = { type: 'NFC' };
  for (let i = 0; i < depth; i++) part = { type: 'Sequence', normalizers: [part] };
  return part;
};

const refused: readonly (readonly [string, object, RegExp])[] = [
  ['nothing', {}, /model is missing/],
  ['a model that is a text', { model: 'BPE' }, /model is "BPE": expected an object/],
  ['another version', { ...plain, version: '2.0' }, /version is "2\.0"/],
  ['a model of another kind', { model: { type: 'Strange' } }, /model\.type is "Strange"/],
  ['no vocabulary', { model: { type: 'BPE', merges: [] } }, /model\.vocab is missing/],
  ['a vocabulary that is a list', withModel({ vocab: ['a'] }), /model\.vocab is a list of 1/],
  ['an id that is a text', withModel({ vocab: { a: '1' } }), /"a" the id "1"/],
  ['an id that is no integer', withModel({ vocab: { a: 1.5 } }), /"a" the id 1\.5/],
  ['an id below 0', withModel({ vocab: { a: -1 } }), /"a" the id -1/],
  ['an id above 2^32', withModel({ vocab: { a: 2 ** 32 } }), /"a" the id 4294967296/],
  ['an id that is nothing', withModel({ vocab: { a: null } }), /"a" the id null/],
  ['one id twice', withModel({ vocab: { a: 1, b: 1 } }), /"a" and "b" the same id, 1/],
  ['no merges', { model: { type: 'BPE', vocab } }, /model\.merges is missing/],
  ['a merge of one part', withModel({ merges: ['ab'] }), /merges\[0\] is "ab"/],
  ['a merge of three parts', withModel({ merges: ['a b c'] }), /merges\[0\] is "a b c"/],
  ['a merge of numbers', withModel({ merges: [[1, 2]] }), /merges\[0\] is a list of 2/],
  ['a merge of what is not there', withModel({ merges: [['b', 'a']] }), /"ba" is not in/],
  ['dropout', withModel({ dropout: 0.1 }), /dropout is 0\.1[\s\S]*random/],
  ['a flag that is a text', withModel({ byte_fallback: 'yes' }), /byte_fallback is "yes"/],
  [
    'a token to add without content',
    { ...plain, added_tokens: [added({ content: 7 })] },
    /content is 7/,
  ],
  [
    'a token to add that is a text',
    { ...plain, added_tokens: ['<x>'] },
    /added_tokens\[0\] is "<x>"/,
  ],
  ['an added id below 0', { ...plain, added_tokens: [added({ id: -1 })] }, /id is -1/],
  ['added tokens that are no list', { ...plain, added_tokens: {} }, /added_tokens is an object/],
  [
    'an added token that normalising empties',
    {
      ...plain,
      normalizer: { type: 'Strip', strip_left: true, strip_right: true },
      added_tokens: [added({ content: ' ', normalized: true })],
    },
    /nothing is left of the added token " "/,
  ],
  ['a part without a kind', { ...plain, normalizer: {} }, /normalizer\.type is missing/],
  ['a part that is a list', { ...plain, decoder: [] }, /decoder is a list/],
  [
    'a part of a kind that is inherited',
    { ...plain, normalizer: { type: 'constructor' } },
    /"constructor"/,
  ],
  ['parts within parts', { ...plain, normalizer: sequence(5000) }, /nested deeper than 100/],
  [
    'a template that names no token',
    {
      ...plain,
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }],
        pair: [],
        special_tokens: {},
      },
    },
    /single\[0\] names "<s>"/,
  ],
  [
    'a charsmap that is cut off',
    { ...plain, normalizer: { type: 'Precompiled', precompiled_charsmap: 'AAEAAA==' } },
    /trie has 256 bytes/,
  ],
  [
    'a charsmap that is no base64',
    { ...plain, normalizer: { type: 'Precompiled', precompiled_charsmap: '***' } },
    /not base64/,
  ],
  ['unigram without scores', { model: { type: 'Unigram', vocab: ['a'] } }, /vocab\[0\] is "a"/],
  [
    'an unknown token beyond',
    { model: { type: 'Unigram', vocab: [['a', 0]], unk_id: 1 } },
    /unk_id is 1/,
  ],
  [
    'a fixed length of 0',
    { ...plain, pre_tokenizer: { type: 'FixedLength', length: 0 } },
    /length is 0/,
  ],
  ...(
    [
      ['(', /ends in the middle|"\)" is missing/],
      ['a)', /closes a group/],
      ['[', /ends in the middle/],
      ['*', /repeats nothing/],
      ['(a)\\1', /back references/],
      ['\\K', /\\K is not supported/],
      ['\\p{Nonsense}', /no character property "Nonsense"/],
      ['(?~a)', /not supported/],
      ['(?<a', /ends in the middle/],
      ['a{1000000}', /repeats more than/],
      ['((a{300}){300}){300}', /repetitions are too many/],
      ['('.repeat(5000), /nested deeper than/],
      ['['.repeat(5000), /nested deeper than/],
    ] as const
  ).map(
    ([pattern, message]) =>
      [`the pattern ${pattern.slice(0, 20)}`, splitBy(pattern), message] as const,
  ),
];

describe('a tokenizer.json that is wrong is an error that says where', () => {
  it.each(refused)('%s', (_, json, message) => {
    let error: unknown;
    try {
      createEngine('tokenizer.json', json as Record<string, unknown>);
    } catch (caught) {
      error = caught;
    }
    expect(error).toSatisfy(AttuneError.isInstance);
    expect(error).toMatchObject({
      code: 'TOKENIZER_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

describe('what looks odd and is right', () => {
  it('names that objects have already are tokens', () => {
    const odd = JSON.parse('{"<unk>":0,"__proto__":1,"constructor":2,"toString":3}');
    const engine = createEngine('tokenizer.json', {
      ...plain,
      pre_tokenizer: { type: 'WhitespaceSplit' },
      model: { type: 'WordLevel', vocab: odd, unk_token: '<unk>' },
    });
    expect(engine.encode('__proto__ constructor toString valueOf', true)).toEqual([1, 2, 3, 0]);
    expect(engine.tokenToId('valueOf')).toBeNull();
  });

  it('ids may be far apart, and an added token gets the number of tokens whatever id it claims', () => {
    const engine = createEngine('tokenizer.json', {
      ...plain,
      added_tokens: [added({ id: 1_000_000_000 })],
      model: { ...bpe, vocab: { ...vocab, c: 4_000_000_000 } },
    });
    expect(engine.encode('abc<x>', true)).toEqual([3, 4_000_000_000, 5]);
    expect(engine.decode([4_000_000_000, 5, 77], false)).toBe('c <x>');
  });

  it('halves of surrogate pairs are replacement characters', () => {
    const engine = createEngine('tokenizer.json', withModel({ vocab: { ...vocab, '\ufffd': 4 } }));
    expect(engine.encode('a\ud83d', true)).toEqual([1, 4]);
    expect(engine.encode('\ude42b', true)).toEqual([4, 2]);
  });
});

describe('size and patterns that explode', () => {
  it.each(['(a+)+$', '(a|a)*$', '(a*)*b', '(?:a?){60}a{60}$', '(?=(a+)+$)b'])(
    '%s is an error on the text, not a hang',
    (pattern) => {
      const engine = createEngine('tokenizer.json', splitBy(pattern));
      const outcome = () => engine.encode(`${'a'.repeat(3000)}c`, true);
      try {
        expect(outcome().length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toMatchObject({ code: 'TOKENIZER_INPUT' });
      }
    },
    5000,
  );

  it('a word of a million letters is merged', () => {
    const engine = createEngine('tokenizer.json', plain);
    expect(engine.encode('ab'.repeat(500_000), true)).toHaveLength(500_000);
  });

  it('a million letters that no token spells are one unknown word', () => {
    const model = {
      type: 'WordPiece',
      vocab: { ...vocab, '##a': 4 },
      unk_token: '<unk>',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 4294967295,
    };
    const engine = createEngine('tokenizer.json', { ...plain, model });
    expect(engine.encode(`${'a'.repeat(1_000_000)}c`, true)).toEqual([0]);
  });
});
