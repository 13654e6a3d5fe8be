import { execFileSync } from 'node:child_process';
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareTokenizers } from '../../src/tokenizer/compareTokenizers.js';
import { tokenizerFiles } from '../../src/tokenizer/tokenizerFiles.js';
import { folderOf, letters, tinyTokenizer } from './support.js';

const vocab = [...letters, 'ab', 'cd'];
const merges = ['a b', 'c d'];
const added = ['<s>', '</s>'];

test('files of a tokenizer, chat templates and generation_config.json are carried over, weights are not', async () => {
  const folder = await folderOf({
    'tokenizer.json': {},
    'tokenizer_config.json': {},
    'tokenizer.model': 'x',
    'merges.txt': '',
    'vocab.json': {},
    'config.json': {},
    'chat_template.jinja': 'x',
    'additional_chat_templates/tool_use.jinja': 'x',
    'additional_chat_templates/notes.txt': 'x',
    'generation_config.json': {},
    'preprocessor_config.json': {},
    'model.safetensors': 'x',
    'README.md': 'x',
    'tokenizer.json.bak': 'x',
  });
  await symlink(join(folder, 'vocab.json'), join(folder, 'added_tokens.json'));
  const files = await tokenizerFiles(folder);
  expect(files.map(({ name }) => name)).toEqual([
    'added_tokens.json',
    'additional_chat_templates/tool_use.jinja',
    'chat_template.jinja',
    'generation_config.json',
    'merges.txt',
    'preprocessor_config.json',
    'tokenizer.json',
    'tokenizer.model',
    'tokenizer_config.json',
    'vocab.json',
  ]);
  expect(files[0]!.contents).toEqual({ copyOf: join(folder, 'added_tokens.json') });
});

test.skipIf(process.platform === 'win32')(
  'what is no file is refused, and not waited for',
  async () => {
    const folder = await folderOf({ 'tokenizer_config.json': {} });
    const other = await folderOf({ 'tokenizer_config.json': {} });
    const pipe = join(folder, 'tokenizer.json');
    execFileSync('mkfifo', [pipe]);
    const [difference] = await compareTokenizers([other, folder]);
    expect(difference!.unreadable).toMatch('has no tokenizer');
    await expect(tokenizerFiles(folder)).rejects.toThrow(`${pipe} is a pipe or a device`);
    await rm(pipe);
    await symlink('blob-that-is-gone', pipe);
    await expect(tokenizerFiles(folder)).rejects.toThrow(
      'is a link to something that does not exist',
    );
    await rm(pipe);
    await mkdir(pipe);
    await expect(tokenizerFiles(folder)).rejects.toThrow('is a folder, expected a file');
  },
);

const same = { vocabulary: null, splitting: null, unreadable: null };

test('the same tokenizer in files of other bytes is the same', async () => {
  const tokenizer = tinyTokenizer({ vocab, merges, added });
  const first = await folderOf({ 'tokenizer.json': tokenizer });
  const { model, ...rest } = tokenizer;
  const reordered = {
    model: { ...model, merges: merges.map((merge) => merge.split(' ')) },
    ...rest,
  };
  const folders = [
    await folderOf({ 'tokenizer.json': tokenizer }),
    await folderOf({ 'tokenizer.json': JSON.stringify(reordered) }),
    // One that names its added tokens outside of tokenizer.json.
    await folderOf({
      'tokenizer.json': { ...tokenizer, added_tokens: [] },
      'tokenizer_config.json': {
        added_tokens_decoder: Object.fromEntries(
          tokenizer.added_tokens.map(({ id, ...token }) => [id, token]),
        ),
      },
    }),
    first,
  ];
  expect(await compareTokenizers([first, ...folders])).toEqual(
    folders.map((folder) => ({ folder, ...same })),
  );
});

test('differences are told in a few words', async () => {
  const first = await folderOf({ 'tokenizer.json': tinyTokenizer({ vocab, merges, added }) });
  const others = {
    token: tinyTokenizer({ vocab: [...letters, 'ab', 'ef'], merges: ['a b', 'e f'], added }),
    swapped: tinyTokenizer({ vocab: [...letters, 'cd', 'ab'], merges, added }),
    merges: tinyTokenizer({ vocab, merges: ['c d'], added }),
    order: tinyTokenizer({ vocab, merges: ['c d', 'a b'], added }),
    flags: tinyTokenizer({ vocab, merges, added: ['<s>', { content: '</s>', rstrip: true }] }),
    normalizer: tinyTokenizer({ vocab, merges, added, json: { normalizer: { type: 'NFC' } } }),
    splitter: tinyTokenizer({
      vocab,
      merges,
      added,
      json: { pre_tokenizer: { type: 'Whitespace' } },
    }),
  };
  const folders = await Promise.all(
    Object.values(others).map((tokenizer) => folderOf({ 'tokenizer.json': tokenizer })),
  );
  const found = await compareTokenizers([first, ...folders]);
  const told = Object.fromEntries(
    Object.keys(others).map((name, i) => [name, [found[i]!.vocabulary, found[i]!.splitting]]),
  );
  expect(told).toEqual({
    token: ['1 token not there ("cd"), 1 token only there ("ef")', 'other merges'],
    swapped: ['2 tokens with another id ("ab" is 8, there 9; "cd" is 9, there 8)', null],
    merges: [null, '2 merges, there 1'],
    order: [null, 'other merges'],
    flags: [null, 'how 1 token ("</s>") is added'],
    normalizer: [null, 'the normalizer'],
    splitter: [null, 'the pre_tokenizer'],
  });
});

test('a folder without tokenizer.json, and one that is broken, are said to be unreadable', async () => {
  const first = await folderOf({ 'tokenizer.json': tinyTokenizer({ vocab, merges, added }) });
  const none = await folderOf({ 'config.json': {} });
  const slow = await folderOf({ 'tokenizer.model': 'x' });
  const broken = await folderOf({ 'tokenizer.json': '{ "model": ' });
  const found = await compareTokenizers([first, none, slow, broken]);
  expect(found.map(({ unreadable }) => unreadable)).toEqual([
    `${none} has no tokenizer`,
    `${slow} has tokenizer.model and no tokenizer.json, which names all tokens with their ids`,
    expect.stringContaining('tokenizer.json is not JSON'),
  ]);
});
