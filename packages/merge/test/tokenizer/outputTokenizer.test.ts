import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoTokenizer } from '@attune/core';
import { expect, test } from 'vitest';
import type { TokenizerConfig, TokenSource } from '../../src/config/mergeConfig.js';
import { parseMergeYaml } from '../../src/config/parseMergeYaml.js';
import type { StoredTensor, TensorSource } from '../../src/contract/tensorTask.js';
import { builtinMethods } from '../../src/methods/index.js';
import { MergeProblems } from '../../src/problems.js';
import { outputTokenizer } from '../../src/tokenizer/outputTokenizer.js';
import { configWith, folderOf, letters, reference, tinyTokenizer, written } from './support.js';

const tokenizer = (parts: Partial<TokenizerConfig> = {}): TokenizerConfig => ({
  source: 'union',
  tokens: new Map(),
  padToMultipleOf: null,
  ...parts,
});

const first = tinyTokenizer({ vocab: [...letters, 'ab'], merges: ['a b'], added: ['<s>'] });
const second = tinyTokenizer({
  vocab: [...letters.toReversed(), 'cd'],
  merges: ['c d'],
  added: ['<s>', '<x>'],
});

const table = (path: string, numRows: number): StoredTensor => ({
  path,
  begin: 0,
  dtype: 'F32',
  shape: [numRows, 4],
});

interface Given {
  readonly files: Record<string, unknown>;
  readonly numRows: number;
}

/** A merge of models a, b, ...: the output, what is wrong with it, and sources of one table. */
async function run(config: Parameters<typeof configWith>[0], given: readonly Given[]) {
  const models = await Promise.all(
    given.map(async ({ files, numRows }, i) => ({
      key: String.fromCharCode(97 + i),
      folder: await folderOf(files),
      numRows,
    })),
  );
  const problems = new MergeProblems();
  const output = await outputTokenizer(configWith(config), models, problems);
  const sources =
    output.rows?.sourcesOf(
      models.map(({ key, numRows }) => ({ model: key, tensor: table(key, numRows) })),
      'a',
      problems,
    ) ?? [];
  return { output, sources, models, problems: problems.all };
}

const of = (json: unknown, numRows: number, more: Record<string, unknown> = {}): Given => ({
  files: { 'tokenizer.json': json, ...more },
  numRows,
});

const rowsOf = (source: TensorSource) => (source.kind === 'rows' ? [...source.rows] : source.kind);

test('a vocabulary that stays the first one: its files as they are, its rows and padding in place', async () => {
  const json = `${JSON.stringify(first)}\n\n`;
  const { output, sources, problems, models } = await run(
    { tokenizer: tokenizer({ source: 'base' }) },
    [
      of(json, 16, { 'tokenizer_config.json': { x: 1.0 } }),
      of(first, 16),
      of(first, 12),
      of(second, 11),
    ],
  );
  expect(problems).toEqual([]);
  expect(output.files).toEqual(
    ['tokenizer.json', 'tokenizer_config.json'].map((name) => ({
      name,
      contents: { copyOf: join(models[0]!.folder, name) },
    })),
  );
  expect(output.rows!.numRows).toBe(16);
  expect(sources.slice(0, 2).map(({ kind }) => kind)).toEqual(['file', 'file']);
  // The third has rows 0 to 11; the last four are those of the first.
  expect((rowsOf(sources[2]!) as number[]).map((row) => Math.max(row, -1))).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, -1, -1, -1, -1,
  ]);
  // The letters of the fourth stand the other way round; its row 10 is <x>, and is no padding.
  const fourth = rowsOf(sources[3]!) as number[];
  expect(fourth.slice(0, 8)).toEqual([7, 6, 5, 4, 3, 2, 1, 0]);
  expect(fourth.slice(8, 10)).toEqual([expect.any(Number), 9]);
  expect(fourth[8]).toBeLessThan(0);
  expect(fourth.slice(10).every((row) => row < 0)).toBe(true);
  const { fills } = sources[3] as Extract<TensorSource, { kind: 'rows' }>;
  expect(fills[-1 - fourth[10]!]).toEqual({ from: [{ source: table('a', 16), row: 10 }] });
  expect(output.changes).toEqual([
    'd lacks 1 token of the vocabulary ("ab"), and has rows of others for them.',
    '2 tokens of d not in the vocabulary ("cd", "<x>"): their rows are left out.',
    '6 rows without a token kept behind the vocabulary of 10, as a has them.',
  ]);
});

test('tokens are added to the files and nothing else of them changes', async () => {
  const config = {
    chat_template: 'x',
    model_max_length: 1e30,
    added_tokens_decoder: { '9': { content: '<s>', special: true } },
    clean_up_tokenization_spaces: false,
  };
  const { output, problems } = await run({ tokenizer: tokenizer() }, [
    of(JSON.stringify({ ...first, note: 1.5 }).replace('1.5', '1.50'), 16, {
      'tokenizer_config.json': JSON.stringify(config).replace(
        '1e+30',
        '1000000000000000019884624838656',
      ),
      'added_tokens.json': { '<s>': 9 },
      'special_tokens_map.json': { bos_token: '<s>' },
      'merges.txt': 'a b',
    }),
    of(second, 11),
  ]);
  expect(problems).toEqual([]);
  const folder = await written(output.files);
  const text = (name: string) => readFileSync(join(folder, name), 'utf8');
  expect(text('tokenizer.json')).toContain('"note": 1.50');
  const edited = JSON.parse(text('tokenizer.json'));
  expect(edited).toEqual({
    ...first,
    note: 1.5,
    added_tokens: [
      ...first.added_tokens,
      { ...first.added_tokens[0], id: 10, content: 'cd', special: false, normalized: true },
      { ...first.added_tokens[0], id: 11, content: '<x>' },
    ],
  });
  expect(text('tokenizer_config.json')).toContain('1000000000000000019884624838656');
  expect(Object.keys(JSON.parse(text('tokenizer_config.json')).added_tokens_decoder)).toEqual([
    '9',
    '10',
    '11',
  ]);
  expect(JSON.parse(text('added_tokens.json'))).toEqual({ '<s>': 9, cd: 10, '<x>': 11 });
  expect(text('special_tokens_map.json')).toContain('<s>');
  expect(output.rows!.numRows).toBe(12);
  expect(output.warnings).toContain(
    '2 tokens added to the tokenizer of a ("cd", "<x>"), as added tokens: each is taken out of a text before the tokenizer splits the rest.',
  );
  const read = await AutoTokenizer.fromPretrained(folder);
  expect(read.encode('ab cd<x>')).toEqual([8, 10, 11]);
});

test('tokens without a row are left out, with their merges and their names', async () => {
  const padded = {
    ...first,
    added_tokens: [...first.added_tokens, { ...first.added_tokens[0], id: 10, content: '[PAD]' }],
  };
  const files = {
    'tokenizer_config.json': {
      pad_token: '[PAD]',
      bos_token: '<s>',
      additional_special_tokens: ['[PAD]', '<s>'],
    },
    'generation_config.json': { pad_token_id: 10, bos_token_id: 9 },
    'vocab.json': {},
  };
  const { output, problems } = await run({ tokenizer: tokenizer({ source: 'base' }) }, [
    of(padded, 10, files),
    of(first, 10),
  ]);
  expect(problems).toEqual([]);
  const folder = await written(output.files);
  const read = await AutoTokenizer.fromPretrained(folder);
  expect([read.vocabSize, read.padToken, read.bosToken]).toEqual([10, null, '<s>']);
  const json = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'));
  expect(json('tokenizer_config.json')).toEqual({
    bos_token: '<s>',
    additional_special_tokens: ['<s>'],
  });
  expect(json('generation_config.json')).toEqual({ bos_token_id: 9 });
  expect(output.files.map(({ name }) => name)).not.toContain('vocab.json');
  expect(output.warnings.join('\n')).toContain('pad_token_id was 10 and is left out');

  const merged = tinyTokenizer({ vocab: [...letters, 'ab', 'abc'], merges: ['a b', 'ab c'] });
  const short = await run({ tokenizer: tokenizer({ source: 'base' }) }, [
    of(merged, 9),
    of(merged, 9),
  ]);
  const again = await AutoTokenizer.fromPretrained(await written(short.output.files));
  expect(again.encode('abc')).toEqual([8, 2]);
  expect(short.output.rows!.numRows).toBe(9);
});

test('added tokens without a row are left out of every kind, words of a BPE alone', async () => {
  const unigram = {
    ...first,
    added_tokens: [{ ...first.added_tokens[0], id: 8 }],
    model: { type: 'Unigram', unk_id: 0, vocab: letters.map((token) => [token, -1.5]) },
  };
  const base = { tokenizer: tokenizer({ source: 'base' }) };
  const { output, problems } = await run(base, [of(unigram, 8)]);
  expect(problems).toEqual([]);
  const read = await AutoTokenizer.fromPretrained(await written(output.files));
  expect(read.vocabSize).toBe(8);
  const short = await run(base, [of(unigram, 7)]);
  expect(short.problems.map(({ message }) => message)).toEqual([
    'a: "h", "<s>" of its tokenizer have no row in its embedding of 7 rows, and they cannot be taken out of a Unigram.',
  ]);
});

test('ids of special tokens follow their tokens, at any depth', async () => {
  const other = tinyTokenizer({ vocab: letters, added: ['<pad>', '</s>', '<s>'] });
  const base = tinyTokenizer({ vocab: letters, added: ['<s>', '</s>', '<gone>'] });
  const { output } = await run({ tokenizer: tokenizer({ source: reference('b') }) }, [
    of(base, 12, {
      'generation_config.json':
        '{ "eos_token_id": [9, 10], "temperature": 0.60, "suppress_tokens": [10] }',
    }),
    of(other, 12, { 'tokenizer_config.json': { pad_token: '<pad>', eos_token: '</s>' } }),
  ]);
  const config = {
    bos_token_id: 8,
    eos_token_id: [9],
    pad_token_id: 10,
    image_token_id: 900,
    sep_token_id: 10,
    text_config: { bos_token_id: 8, vocab_size: 12 },
  };
  expect(output.withTokenIds(config)).toEqual({
    bos_token_id: 10,
    eos_token_id: [9],
    pad_token_id: 8,
    image_token_id: 900,
    text_config: { bos_token_id: 10, vocab_size: 12 },
  });
  const generation = output.files.find(({ name }) => name === 'generation_config.json')!;
  expect(generation.contents).toBe(
    '{\n  "eos_token_id": [\n    9\n  ],\n  "temperature": 0.60\n}\n',
  );
  expect(output.warnings).toContain(
    'config.json: bos_token_id was 8 and is 10, by the vocabulary of the output.',
  );
  const same = { bos_token_id: null, eos_token_id: 9 };
  expect(output.withTokenIds(same)).toBe(same);
});

test('rows of padding are the mean of all others, and make the table a multiple', async () => {
  const { output, sources } = await run({ tokenizer: tokenizer({ padToMultipleOf: 8 }) }, [
    of(first, 16),
    of(second, 11),
  ]);
  expect(output.rows!.numRows).toBe(16);
  expect(sources.map((source) => source.kind === 'rows' && source.padding)).toEqual([4, 4]);
  const exact = await run({ tokenizer: tokenizer({ source: 'base', padToMultipleOf: 5 }) }, [
    of(first, 10),
    of(first, 10),
  ]);
  expect(exact.sources.map(({ kind }) => kind)).toEqual(['file', 'file']);
});

test('a token that the config names and nobody has', async () => {
  const tokens = new Map<string, TokenSource>([
    ['<new>', { source: { kind: 'zero' }, force: false }],
    ['<none>', { source: null, force: false }],
  ]);
  const { output, sources, problems } = await run(
    { tokenizer: tokenizer({ source: 'base', tokens }) },
    [of(first, 16), of(first, 16)],
  );
  expect(problems).toEqual([]);
  expect(output.rows!.numRows).toBe(12);
  const { rows, fills } = sources[0] as Extract<TensorSource, { kind: 'rows' }>;
  expect([...rows].slice(9)).toEqual([9, -1, -2]);
  expect(fills).toEqual([{ from: [] }, { from: [] }]);
  expect(output.warnings).toContain('The token "<none>" is in no model: zeros.');
});

test('what is wrong is said, with its place', async () => {
  const from = (source: TokenSource['source'], force = false): TokenSource => ({ source, force });
  const model = (key: string) => from({ kind: 'model', model: reference(key) });
  const modelToken = (token: string | null, tokenId: number | null) =>
    from({ kind: 'modelToken', model: reference('b'), token, tokenId });
  const tokens = new Map([
    ['abb', model('b')],
    ['<y>', modelToken('cdd', null)],
    ['<z>', modelToken(null, 11)],
    ['<w>', model('elsewhere')],
    ['fine', modelToken(null, 10)],
  ]);
  const { problems } = await run({ tokenizer: tokenizer({ tokens }) }, [
    of(first, 16),
    of(second, 11),
  ]);
  expect(problems.map(({ message, path }) => [path?.at(-1), message])).toEqual([
    ['abb', 'token "abb": b does not have it. Nearest: "b".'],
    ['<y>', 'token "<y>": b has no token "cdd". Nearest: "cd".'],
    ['<z>', 'token "<z>": token_id is 11, and b has rows 0 to 10.'],
    [
      '<w>',
      'token "<w>": its row is to be one of elsewhere, which is not among the models that are merged (a, b).',
    ],
  ]);

  const forced = await run(
    { tokenizer: tokenizer({ tokens: new Map([['a', { source: null, force: true }]]) }) },
    [of(first, 16)],
  );
  expect(forced.problems.map(({ message }) => message)).toEqual([
    `token "a" has force and no source: no row is to stand in the place of the models' own.`,
  ]);

  const said = async (config: Partial<TokenizerConfig>, ...others: Given[]) =>
    (await run({ tokenizer: tokenizer(config) }, [of(first, 16), ...others])).problems.map(
      ({ message }) => message,
    );
  expect(await said({ source: reference('c') }, of(second, 11))).toEqual([
    'the tokenizer is to be that of c, which is not among the models that are merged.',
  ]);
  const none = await said({}, { files: { 'tokenizer.model': 'x' }, numRows: 9 });
  expect(none).toEqual([
    expect.stringMatching(/^b: .* has tokenizer\.model and no tokenizer\.json/),
  ]);
  expect(await said({}, of('{ "version": ', 9))).toEqual([expect.stringContaining('is not JSON')]);
  const unigram = {
    ...first,
    added_tokens: [],
    model: { type: 'Unigram', unk_id: 0, vocab: letters.map((token) => [token, -1.5]) },
  };
  expect(await said({}, of(unigram, 8))).toEqual([
    'a union of a BPE (a) with a Unigram (b): their tokens spell words in other ways, and those of the second would never be made of a text.',
  ]);
  expect(await said({ source: 'base' }, of(unigram, 8))).toEqual([]);
});

test('without a tokenizer in the config the first files are copied, and tables are left alone', async () => {
  const { output, models } = await run({}, [
    of(first, 16, { 'generation_config.json': {}, 'chat_template.jinja': 'x' }),
    of(second, 11),
  ]);
  expect(output.rows).toBeNull();
  expect(output.files.map(({ name }) => name)).toEqual([
    'chat_template.jinja',
    'generation_config.json',
    'tokenizer.json',
  ]);
  expect(output.files[0]!.contents).toEqual({
    copyOf: join(models[0]!.folder, 'chat_template.jinja'),
  });
});

test('chat templates: the most frequent, a name, a text; written in one place', async () => {
  const withTemplate = (template: string | null, more: Record<string, unknown> = {}) =>
    of(first, 16, {
      'tokenizer_config.json': { bos_token: '<s>', chat_template: template },
      ...more,
    });
  const template = async (chatTemplate: string, ...given: Given[]) => {
    const { output, problems } = await run({ chatTemplate }, given);
    expect(problems).toEqual([]);
    const folder = await written(output.files);
    const file = output.files.find(({ name }) => name === 'chat_template.jinja');
    return { text: file?.contents, folder, output };
  };
  const b = ' {{ "b" }}\n';
  const auto = await template(
    'auto',
    withTemplate('{{ "a" }}'),
    withTemplate(b),
    of(first, 16, { 'chat_template.jinja': b }),
  );
  expect(auto.text).toBe('{{ "b" }}');
  expect(JSON.parse(readFileSync(join(auto.folder, 'tokenizer_config.json'), 'utf8'))).toEqual({
    bos_token: '<s>',
  });
  const tie = await template('auto', withTemplate('{{ "a" }}'), withTemplate(b));
  expect(tie.text).toBe('{{ "a" }}');
  const none = await template('auto', of(first, 16));
  expect(none.text).toBeUndefined();
  expect(none.output.warnings).toEqual([
    'chat_template is auto, and no model has a chat template: none is written.',
  ]);

  const named = await template(
    'chatml',
    withTemplate('x', {
      'additional_chat_templates/tool_use.jinja': 'y',
      'chat_template.json': {},
    }),
  );
  expect(named.output.files.map(({ name }) => name)).toEqual([
    'tokenizer.json',
    'tokenizer_config.json',
    'chat_template.jinja',
  ]);
  const read = await AutoTokenizer.fromPretrained(named.folder);
  expect(
    read.applyChatTemplate([{ role: 'user', content: 'Hi' }], {
      tokenize: false,
      addGenerationPrompt: true,
    }),
  ).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n');
  expect(named.output.warnings.join()).toContain(
    'additional_chat_templates/tool_use.jinja is left out',
  );
  const text = '{% for message in messages %}{{ message.content }}{% endfor %}';
  expect((await template(text, of(first, 16))).text).toBe(text);
});

test('with the tokenizer of another model, how it generates and sees is still that of the first', async () => {
  const { output, models } = await run({ tokenizer: tokenizer({ source: reference('b') }) }, [
    of(first, 16, { 'generation_config.json': {}, 'processor_config.json': {} }),
    of(second, 11, { 'generation_config.json': {}, 'chat_template.jinja': 'x' }),
  ]);
  const copied = output.files.map(({ name, contents }) => [
    name,
    models.findIndex(
      ({ folder }) => typeof contents !== 'string' && contents.copyOf === join(folder, name),
    ),
  ]);
  expect(copied).toEqual([
    ['chat_template.jinja', 1],
    ['tokenizer.json', 1],
    ['processor_config.json', 0],
    ['generation_config.json', 0],
  ]);
});

test('a broken file is one of the problems', async () => {
  const broken = of(first, 16, { 'tokenizer_config.json': '{ "x": ' });
  for (const config of [{ chatTemplate: 'auto' }, { tokenizer: tokenizer() }]) {
    const { problems } = await run(config, [broken, of(second, 11)]);
    expect(problems).toHaveLength(1);
    expect(problems[0]!.message).toContain('tokenizer_config.json');
  }
  const generation = await run({ tokenizer: tokenizer() }, [
    of(first, 16, { 'generation_config.json': '[' }),
    of(second, 11),
  ]);
  expect(generation.problems[0]!.message).toContain('generation_config.json');
});

test('a chat template that is none is refused', async () => {
  const said = async (chatTemplate: string) =>
    (await run({ chatTemplate }, [of(first, 16)])).problems.map(({ message, path }) => [
      path,
      message,
    ]);
  expect(await said('chatmll')).toEqual([
    [
      ['chat_template'],
      'chat_template is "chatmll", which is no name of one, and no Jinja. Did you mean "chatml"?',
    ],
  ]);
  expect((await said('exaone'))[0]![1]).toContain('no name of one');
  expect((await said('{% for m in messages %}\n{{ m.content }'))[0]![1]).toMatch(
    /^chat_template: line 2 of the chat template: TemplateSyntaxError/,
  );
});

test('a problem stands where the file says it, under either of the two keys', async () => {
  const said = async (yaml: string) => {
    const text = `merge_method: linear\nmodels: [{ model: a, parameters: { weight: 1 } }]\n${yaml}\n`;
    const config = parseMergeYaml(text, { methods: builtinMethods });
    const { problems } = await run({ ...config }, [of(first, 16)]);
    const [found] = problems;
    return [config.placeOf(found!.path!)?.line, found!.message];
  };
  const message =
    'the tokenizer is to be that of c, which is not among the models that are merged.';
  expect(await said('tokenizer_source: c')).toEqual([3, message]);
  expect(await said('tokenizer:\n  pad_to_multiple_of: 8\n  source: c')).toEqual([5, message]);
});

test.each(['bpe-bytefallback', 'bpe-llama3', 'bpe-qwen2', 'unigram-bytefallback'])(
  '%s takes further tokens, also where its class builds it anew',
  async (name) => {
    const path = new URL(`../../../../parity/fixtures/tokenizers/${name}/`, import.meta.url);
    const json = JSON.parse(readFileSync(new URL('tokenizer.json', path), 'utf8'));
    const tokens = new Map<string, TokenSource>([
      ['<new>', { source: { kind: 'zero' }, force: false }],
    ]);
    const classes =
      name === 'bpe-bytefallback'
        ? ['LlamaTokenizer', 'GemmaTokenizer']
        : ['Qwen2Tokenizer', 'GPT2Tokenizer'];
    const configs: Record<string, unknown>[] = [
      {},
      ...(name.startsWith('bpe') ? classes : []).map((c) => ({ tokenizer_class: c })),
    ];
    for (const config of configs)
      for (const listed of [false, true]) {
        const decoder = Object.fromEntries(
          (json.added_tokens as { id: number }[]).map(({ id, ...token }) => [id, token]),
        );
        const settings = { ...config, ...(listed && { added_tokens_decoder: decoder }) };
        const before = await AutoTokenizer.fromPretrained(
          await folderOf({ 'tokenizer.json': json, 'tokenizer_config.json': settings }),
        );
        const { output, problems } = await run(
          { tokenizer: tokenizer({ source: 'base', tokens }) },
          [of(json, before.vocabSize, { 'tokenizer_config.json': settings })],
        );
        expect(problems).toEqual([]);
        const after = await AutoTokenizer.fromPretrained(await written(output.files));
        expect(after.tokenToId('<new>')).toBe(before.vocabSize);
        expect(after.vocabSize).toBe(before.vocabSize + 1);
        const text = 'Ein Text, and 42 more: naïve 🙂';
        expect(after.encode('<new>', { addSpecialTokens: false })).toEqual([before.vocabSize]);
        expect(after.encode(text)).toEqual(before.encode(text));
      }
  },
);
