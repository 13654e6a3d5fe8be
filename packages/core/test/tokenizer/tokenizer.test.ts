import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { AutoTokenizer, type Tokenizer } from '@attune/core';
import { DecodeStream } from '@attune/core/text';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fixtureJson, fixtures, hasStories, stories, storiesNote } from '../models/support.js';

const demo = resolve(fixtures, '../../examples/demo/base');
let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-tokenizer-'));
});
afterAll(() => rm(scratch, { recursive: true }));

/** The pieces of a stream, joined. */
function streamed(tokenizer: Tokenizer, ids: readonly number[]): string {
  const stream = tokenizer.createDecodeStream();
  return ids.map((id) => stream.push(id)).join('') + stream.end();
}

describe.skipIf(!hasStories)(`the tokenizer of stories260k${storiesNote}`, () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await AutoTokenizer.fromPretrained(stories);
  });

  it('gives the ids and the text of Python tokenizers', () => {
    for (const { text, ids, decoded } of fixtureJson('stories260k/texts.json').texts) {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids.slice(1));
      expect(tokenizer.decode(ids)).toBe(decoded);
      expect(streamed(tokenizer, ids)).toBe(decoded);
    }
  });

  it('knows its special tokens', () => {
    expect(tokenizer).toMatchObject({
      bosTokenId: 1,
      eosTokenId: 2,
      padTokenId: null,
      unkTokenId: 0,
      vocabSize: 512,
      modelMaxLength: 512,
    });
    expect(tokenizer.decode([1, 2], { skipSpecialTokens: false })).toBe('<s></s>');
    expect(tokenizer.encode('')).toEqual([1]);
  });

  it('never emits a broken character while it streams', () => {
    const text = 'a 日本 🙂 é';
    const pieces = tokenizer.encode(text).map((id) => tokenizer.decodeStream(id));
    tokenizer.decodeStream(null);
    expect(pieces.join('')).toBe(text);
    for (const piece of pieces) expect(piece).not.toContain('\ufffd');
  });

  it('holds back the bytes of an unfinished character, and gives them up at the end', () => {
    const ids = tokenizer.encode('🙂', { addSpecialTokens: false });
    const stream = tokenizer.createDecodeStream();
    expect(
      ids
        .slice(0, -1)
        .map((id) => stream.push(id))
        .join(''),
    ).toBe('');
    expect(stream.end()).toContain('\ufffd');
    expect(ids.map((id) => tokenizer.decodeStream(id)).join('')).toBe('🙂');
    expect(tokenizer.decodeStream(tokenizer.eosTokenId)).toBe('');
  });

  it('streams what decode gives, for any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 30 }), (text) => {
        const ids = tokenizer.encode(text);
        expect(streamed(tokenizer, ids)).toBe(tokenizer.decode(ids));
      }),
      { numRuns: 50 },
    );
  });

  it('renders the chat template of tokenizer_config.json', () => {
    const messages = [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hi' },
    ];
    const text = tokenizer.applyChatTemplate(messages, {
      tokenize: false,
      addGenerationPrompt: true,
    });
    expect(text).toBe('user: Hello\nassistant: Hi\nassistant: ');
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })).toEqual(
      tokenizer.encode(text, { addSpecialTokens: false }),
    );
  });

  it('saves its files, and a changed template', async () => {
    const folder = join(scratch, 'saved');
    const own = await AutoTokenizer.fromPretrained(stories);
    await own.savePretrained(folder);
    // Its template stands in tokenizer_config.json; transformers saves templates as files.
    const names = ['chat_template.jinja', 'tokenizer.json', 'tokenizer_config.json'];
    expect((await readdir(folder)).sort()).toEqual(names);
    own.chatTemplate = '{{ bos_token }}{{ messages[0].content }}';
    await own.savePretrained(folder);
    const again = await AutoTokenizer.fromPretrained(folder);
    const messages = [{ role: 'user', content: 'x' }];
    expect(again.applyChatTemplate(messages, { tokenize: false })).toBe('<s>x');
    // The template wrote bos itself: it is not added again.
    expect(again.applyChatTemplate(messages)[0]).toBe(1);
    expect(again.applyChatTemplate(messages)[1]).not.toBe(1);
    expect(await readFile(join(folder, 'tokenizer.json'))).toEqual(
      await readFile(join(stories, 'tokenizer.json')),
    );
  });
});

describe('a tokenizer.json of another kind', () => {
  const vocab = ['a', 'b', '.', '\u2581', ' '].map((piece): [string, number] => [piece, -1]);
  const bytes = Array.from({ length: 256 }, (_, i): [string, number] => [
    `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
    -20,
  ]);
  const metaspace = { type: 'Metaspace', replacement: '\u2581', prepend_scheme: 'always' };
  const unigram = {
    model: { type: 'Unigram', unk_id: 0, vocab: [['<unk>', 0], ...vocab], byte_fallback: false },
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: metaspace,
    post_processor: null,
    decoder: metaspace,
  };
  const open = async (tokenizer: object, config: object = {}) => {
    const folder = await mkdtemp(join(scratch, 'kind-'));
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
    await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(config));
    return AutoTokenizer.fromPretrained(folder);
  };

  it('Unigram: gives what it does not know as bytes where the file asks for it', async () => {
    const plain = await open(unigram);
    expect(plain.encode('aé🙂b')).toEqual([4, 1, 0, 2]);
    const fallback = await open({
      ...unigram,
      model: { ...unigram.model, vocab: [...unigram.model.vocab, ...bytes], byte_fallback: true },
    });
    const utf8 = [...new TextEncoder().encode('é🙂')].map((byte) => 6 + byte);
    expect(fallback.encode('aé🙂b')).toEqual([4, 1, ...utf8, 2]);
  });

  it('keeps the spaces before punctuation unless the files ask for less, and never in a stream', async () => {
    const text = 'a . b';
    for (const config of [{}, { clean_up_tokenization_spaces: false }]) {
      const tokenizer = await open(unigram, config);
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      expect(streamed(tokenizer, tokenizer.encode(text))).toBe(text);
    }
    const cleaning = await open(unigram, { clean_up_tokenization_spaces: true });
    expect(cleaning.decode(cleaning.encode(text))).toBe('a. b');
    expect(streamed(cleaning, cleaning.encode(text))).toBe(text);
  });

  it('says which part is not there yet', async () => {
    await expect(open({ ...unigram, normalizer: { type: 'Transliterate' } })).rejects.toMatchObject(
      {
        code: 'TOKENIZER_INVALID',
        message: expect.stringMatching(/normalizer\.type is "Transliterate"[\s\S]*input_ids/),
      },
    );
  });
});

describe('AutoTokenizer.fromPretrained', () => {
  it.each([
    ['HUB_NOT_CACHED', 'meta-llama/Llama-3.2-1B'],
    ['MODEL_FOLDER_MISSING', './no/such/folder'],
  ])('says %s for %s', async (code, folder) => {
    const options = { localFilesOnly: true, cacheDir: join(scratch, 'no-cache') };
    await expect(AutoTokenizer.fromPretrained(folder, options)).rejects.toMatchObject({ code });
  });

  it('says which file is missing or broken', async () => {
    await expect(AutoTokenizer.fromPretrained(scratch)).rejects.toMatchObject({
      code: 'TOKENIZER_MISSING',
      message: expect.stringContaining('tokenizer.json'),
    });
    const folder = await mkdtemp(join(scratch, 'broken-'));
    await writeFile(join(folder, 'tokenizer.json'), '{');
    await expect(AutoTokenizer.fromPretrained(folder)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
    await writeFile(join(folder, 'tokenizer.json'), '{"model":{"type":"Strange"}}');
    await expect(AutoTokenizer.fromPretrained(folder)).rejects.toMatchObject({
      code: 'TOKENIZER_INVALID',
    });
  });

  it('reads several templates, template files and special tokens written as objects', async () => {
    const folder = await mkdtemp(join(scratch, 'many-'));
    await (await AutoTokenizer.fromPretrained(demo)).savePretrained(folder);
    const path = join(folder, 'tokenizer_config.json');
    const config = JSON.parse(await readFile(path, 'utf8'));
    config.eos_token = { content: config.eos_token, special: true };
    config.chat_template = [
      { name: 'default', template: 'D{{ eos_token }}' },
      { name: 'tool_use', template: 'T{{ tools[0].name }}' },
    ];
    await writeFile(path, JSON.stringify(config));
    await rm(join(folder, 'chat_template.jinja'));
    const tokenizer = await AutoTokenizer.fromPretrained(folder);
    expect(tokenizer.eosTokenId).not.toBeNull();
    const text = (tools?: readonly unknown[]) =>
      tokenizer.applyChatTemplate([{ role: 'user', content: 'x' }], {
        tokenize: false,
        ...(tools ? { tools } : {}),
      });
    expect(text()).toBe(`D${tokenizer.eosToken}`);
    expect(text([{ name: 'f' }])).toBe('Tf');
    await writeFile(join(folder, 'chat_template.jinja'), 'F');
    expect((await AutoTokenizer.fromPretrained(folder)).chatTemplate).toBe('F');
  });

  it('has a byte-level tokenizer decode what it encoded', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(demo);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        expect(tokenizer.decode(ids)).toBe(text);
        expect(streamed(tokenizer, ids)).toBe(text);
      }),
      { numRuns: 50 },
    );
  });

  it('explains a missing template and one that refuses', async () => {
    const tokenizer = await AutoTokenizer.fromPretrained(demo);
    tokenizer.chatTemplate = null;
    expect(() => tokenizer.applyChatTemplate([])).toThrowError(/CHAT_TEMPLATE_MISSING/);
    tokenizer.chatTemplate = "{{ raise_exception('roles must alternate') }}";
    expect(() => tokenizer.applyChatTemplate([{ role: 'system', content: '' }])).toThrowError(
      /CHAT_TEMPLATE: line 1 of the chat template: roles must alternate\.\n {2}Fix: The template says so/,
    );
  });
});

describe('DecodeStream', () => {
  /**
   * A decoder whose tokens carry a leading space that the first of a text loses, as SentencePiece's
   * do.
   */
  const words = ['▁one', '▁two', '<skip>'];
  const tokenizer = {
    decode: (ids: readonly number[]) =>
      ids
        .map((id) => words[id]!.replace('<skip>', ''))
        .join('')
        .replaceAll('▁', ' ')
        .replace(/^ /, ''),
  };

  it('keeps the space of a word after a token without text', () => {
    const stream = new DecodeStream(tokenizer, { skipSpecialTokens: true });
    expect([0, 2, 1].map((id) => stream.push(id))).toEqual(['one', '', ' two']);
  });
});
