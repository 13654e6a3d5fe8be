import {
  collateUnpaired,
  type PairRowOptions,
  pairRows,
  promptRows,
  rankings,
  unpairedRows,
  unpairPreferences,
} from '@attune/align';
import { AttuneError, IterableDataset } from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { describe, expect, test } from 'vitest';
import { encode, letters, loadTokenizer } from './rows.support.js';

const NOTHING = { maxLength: 100 };
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

function thrown(run: () => unknown): AttuneError {
  try {
    run();
  } catch (error) {
    if (AttuneError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const pair = (
  row: unknown,
  options: Partial<PairRowOptions> = {},
  tokenizer: TextTokenizer | null = letters,
) => encode(pairRows({ ...NOTHING, ...options }), row, tokenizer);

describe('pairs: the row and the value are named', () => {
  test.each<[title: string, row: unknown, message: RegExp]>([
    ['no object', 'text', /f\.jsonl:3: a row is an object with named fields; this is "text"/],
    ['null', null, /this is null/],
    [
      'a misspelt column',
      { prompt: 'a', choosen: 'b', rejected: 'c' },
      /needs "chosen", and the row has .*"choosen".* Is "choosen" meant\?/,
    ],
    [
      'a column that is missing',
      { prompt: 'a', chosen: 'b' },
      /needs "rejected", and the row has the columns "prompt", "chosen"/,
    ],
    ['no columns', {}, /needs "chosen", and the row has no columns/],
    [
      'a null answer',
      { prompt: 'a', chosen: null, rejected: 'c' },
      /"chosen" is null; a preference pair needs it/,
    ],
    [
      'a number',
      { prompt: 'a', chosen: 1, rejected: 'c' },
      /all texts.*"chosen" is 1, "rejected" is "c"|all are to be texts/,
    ],
    ['a prompt that is a number', { prompt: 7, chosen: 'b', rejected: 'c' }, /"prompt" is 7/],
    [
      'a text and a list',
      { prompt: 'a', chosen: 'b', rejected: [assistant('c')] },
      /all are to be texts, or all lists of messages: .*"chosen" is "b"/,
    ],
    [
      'a list as the prompt of texts',
      { prompt: [user('a')], chosen: 'b', rejected: 'c' },
      /all are to be texts, or all lists/,
    ],
    [
      'a message without a role',
      { prompt: [user('a')], chosen: [{ content: 'b' }], rejected: [assistant('c')] },
      /"chosen"\[0\] is to be \{ role, content \}/,
    ],
    [
      'an empty conversation',
      { prompt: [user('a')], chosen: [], rejected: [assistant('c')] },
      /"chosen" is to be a list of messages; it is \[\]/,
    ],
    [
      'no message of the assistant',
      { prompt: [user('a')], chosen: [user('b')], rejected: [assistant('c')] },
      /"chosen" has no message of the assistant to score \(roles: user\)/,
    ],
    [
      'roles reversed',
      { prompt: [assistant('a')], chosen: [user('b')], rejected: [user('c')] },
      /"chosen" has no message of the assistant/,
    ],
    [
      'nothing shared',
      { chosen: [user('a'), assistant('b')], rejected: [user('c'), assistant('d')] },
      /no "prompt", and "chosen" and "rejected" share no message/,
    ],
    [
      'an image',
      {
        prompt: [{ role: 'user', content: [{ type: 'image', image: 'x' }] }],
        chosen: [assistant('b')],
        rejected: [assistant('c')],
      },
      /no text \("prompt"\[0\]\.content\[0\], of type "image"\)/,
    ],
    [
      'an image in an answer',
      {
        prompt: [user('a')],
        chosen: [{ role: 'assistant', content: [{ type: 'image_url' }] }],
        rejected: [assistant('c')],
      },
      /no text \("chosen"/,
    ],
    [
      'tools that are none',
      { prompt: [user('a')], chosen: [assistant('b')], rejected: [assistant('c')], tools: 'x' },
      /"tools" is to be a list of functions; it is "x"/,
    ],
    [
      'a margin that is NaN',
      { prompt: 'a', chosen: 'b', rejected: 'c', margin: Number.NaN },
      /"margin" is to be a finite number; it is NaN/,
    ],
    [
      'a margin that is text',
      { prompt: 'a', chosen: 'b', rejected: 'c', margin: '2' },
      /"margin" is to be a finite number; it is "2"/,
    ],
    [
      'ids that are none',
      { prompt_ids: [1], chosen_ids: [1.5], rejected_ids: [2] },
      /"chosen_ids" is to be a list of token ids; it is \[1\.5\]/,
    ],
    ['ids of one answer', { prompt_ids: [1], chosen_ids: [1] }, /needs "rejected_ids"/],
  ])('%s', (_, row, message) => {
    const error = thrown(() => pair(row));
    expect(error).toMatchObject({ code: 'ROW_FORMAT', details: { origin: 'f.jsonl:3' } });
    expect(error.description).toMatch(message);
    expect(error.remedy).toContain('{ prompt, chosen, rejected }');
  });

  test('ids out of the vocabulary, of a row and of a tokenizer', () => {
    const ids = { prompt_ids: [1], chosen_ids: [300], rejected_ids: [2] };
    expect(thrown(() => encode(pairRows(NOTHING), ids, null, 256))).toMatchObject({
      code: 'VOCAB_MISMATCH',
      description: expect.stringContaining('f.jsonl:3: token id 300 is outside of the model'),
    });
    expect(
      thrown(() =>
        encode(pairRows(NOTHING), { prompt: 'a', chosen: 'é', rejected: 'b' }, letters, 200),
      ).message,
    ).toContain('vocabulary has at least 234 entries');
  });

  test('no tokenizer', () => {
    const error = thrown(() => pair({ prompt: 'a', chosen: 'b', rejected: 'c' }, {}, null));
    expect(error.code).toBe('TOKENIZER_MISSING');
    expect(error.remedy).toContain('chosen_ids');
  });

  test('a template that fails', async () => {
    const tokenizer = await loadTokenizer('bpe-llama3');
    tokenizer.chatTemplate = "{{ raise_exception('no systems here') }}";
    const row = { prompt: [user('a')], chosen: [assistant('b')], rejected: [assistant('c')] };
    expect(thrown(() => pair(row, {}, tokenizer))).toMatchObject({
      code: 'CHAT_TEMPLATE',
      description: expect.stringContaining('no systems here'),
    });
  });

  test.each([
    [{ maxlength: 3 }, 'UNKNOWN_OPTION', 'maxLength'],
    [{ maxLength: 0 }, 'INVALID_OPTION', 'a number of tokens'],
    [{ truncationMode: 'keep_middle' }, 'INVALID_OPTION', 'keep_start'],
    [{ scored: 'prompts' }, 'INVALID_OPTION', 'answers'],
    [{ preflight: { allow: ['equal'] } }, 'INVALID_OPTION', 'equal-pairs'],
  ])('options: %j', (options, code, words) => {
    const error = thrown(() => pairRows({ ...NOTHING, ...options } as PairRowOptions));
    expect(error.code).toBe(code);
    expect(error.message).toContain(words);
  });
});

describe('pairs that teach nothing, or little: named, counted, and left out where nothing is left', () => {
  const notes = (row: unknown, options: Partial<PairRowOptions> = {}) => {
    const made = pair(row, options);
    return [made.example === null, ...made.notes!];
  };
  test.each<
    [
      title: string,
      row: unknown,
      options: Partial<PairRowOptions>,
      isLeftOut: boolean,
      note: string,
    ]
  >([
    [
      'chosen equal to rejected',
      { prompt: 'a', chosen: 'b', rejected: 'b' },
      {},
      false,
      'chosen and rejected are equal',
    ],
    [
      'equal conversations',
      { prompt: [user('a')], chosen: [assistant('b')], rejected: [assistant('b')] },
      {},
      false,
      'chosen and rejected are equal',
    ],
    [
      'an empty answer',
      { prompt: 'a', chosen: 'b', rejected: '' },
      {},
      false,
      'an answer is empty but for its end token',
    ],
    [
      'no tokens in an answer',
      { prompt_ids: [1], chosen_ids: [], rejected_ids: [2] },
      {},
      true,
      'an answer has no tokens',
    ],
    [
      'a prompt that fills maxLength',
      { prompt: 'abc', chosen: 'd', rejected: 'e' },
      { maxLength: 4 },
      true,
      'the prompt alone fills the 4 tokens of maxLength',
    ],
    [
      'the same, as CPO',
      { prompt: 'abc', chosen: 'd', rejected: 'e' },
      { maxLength: 4, tokenization: 'cpo' },
      true,
      'the prompt alone fills the 4 tokens of maxLength',
    ],
    [
      'an answer that is too long',
      { prompt: 'a', chosen: 'bcd', rejected: 'e' },
      { maxLength: 3 },
      false,
      'an answer is cut off after 3 tokens',
    ],
    [
      'one token and nothing before it',
      { prompt_ids: [], chosen_ids: [5], rejected_ids: [6] },
      {},
      true,
      'an answer is one token with nothing before it',
    ],
    [
      'a text for a reward model that is too long',
      { prompt: 'abc', chosen: 'd', rejected: 'efg' },
      { maxLength: 7, scored: 'texts' },
      true,
      'a text is longer than the 7 tokens of maxLength',
    ],
    [
      'nothing shared',
      { chosen: 'yes', rejected: 'no' },
      {},
      false,
      'the answers share no beginning, so that the prompt is empty',
    ],
  ])('%s', (_, row, options, isLeftOut, note) => {
    expect(notes(row, options)).toEqual([isLeftOut, note]);
  });

  test('a prompt that the answers repeat', () => {
    expect(notes({ prompt: 'ab', chosen: 'abc', rejected: 'abd' })[1]).toContain(
      'begin with the whole prompt',
    );
    const row = {
      prompt: [user('a')],
      chosen: [user('a'), assistant('b')],
      rejected: [user('a'), assistant('c')],
    };
    expect(notes(row)).toEqual([false, expect.stringContaining('it is taken once')]);
    expect(letters.decode!(pair(row).example!.chosen.inputIds)).toBe('<u>a$<a>b$');
  });

  test('an answer that begins with the user', () => {
    const row = {
      prompt: [user('a'), assistant('b')],
      chosen: [user('c'), assistant('d')],
      rejected: [assistant('e')],
    };
    expect(notes(row)).toContainEqual(expect.stringContaining('not of the assistant'));
  });
});

describe('labels', () => {
  const rules = unpairedRows(NOTHING);
  const label = (value: unknown) => encode(rules, { prompt: 'a', completion: 'b', label: value });

  test.each([
    ['true', /"label" is to be true or false; it is "true"\. It is text/],
    ['False', /it is "False"/],
    [2, /it is 2\./],
    [-1, /it is -1\. Write -1 as false/],
    [[true], /it is \[true\]/],
    [Number.NaN, /it is NaN/],
  ])('%j', (value, message) => {
    expect(thrown(() => label(value)).description).toMatch(message);
  });

  test('0 and 1 are what Python takes for booleans', () => {
    expect(label(1).example!.isDesirable).toBe(true);
    expect(label(0).example!.isDesirable).toBe(false);
  });

  test('missing, null, misspelt, and a pair', () => {
    expect(thrown(() => encode(rules, { prompt: 'a', completion: 'b' })).description).toContain(
      'needs "label"',
    );
    expect(thrown(() => label(null)).description).toContain('"label" is null');
    expect(
      thrown(() => encode(rules, { prompt: 'a', completion: 'b', labels: true })).description,
    ).toContain('Is "labels" meant?');
    expect(
      thrown(() => encode(rules, { prompt: 'a', completions: 'b', label: true })).description,
    ).toContain('Is "completions" meant?');
    expect(thrown(() => encode(rules, { completion: 'b', label: true })).description).toContain(
      'needs "prompt"',
    );
    const row = { prompt: 'a', chosen: 'b', rejected: 'c' };
    const error = thrown(() => encode(rules, row));
    expect(error.description).toContain('preference pair');
    expect(error.remedy).toContain('unpairPreferences');
  });

  test('options of the batch', () => {
    expect(thrown(() => collateUnpaired([], { maxLength: 4, klBlock: 0 })).code).toBe(
      'INVALID_OPTION',
    );
  });
});

describe('unpairing', () => {
  test('a bad pair is named with its place, also in a stream', async () => {
    const rows = [
      { prompt: 'a', chosen: 'b', rejected: 'c' },
      { prompt: 'a', chosen: 'b', rejected: 3 },
    ];
    expect(thrown(() => unpairPreferences(rows)).description).toMatch(
      /^rows\[1\]: .*"rejected" is 3/,
    );
    const stream = unpairPreferences(IterableDataset.from(() => rows, 'live')) as IterableDataset;
    await expect(stream.rows()[Symbol.asyncIterator]().next()).rejects.toThrow(/live\[1\]/);
  });

  test('options', () => {
    expect(thrown(() => unpairPreferences([], { batchSize: 0 })).code).toBe('INVALID_OPTION');
  });
});

describe('rankings', () => {
  const row = { prompt: 'p', completions: ['a', 'b'], scores: [1, 2] };
  test.each<[row: object, message: RegExp]>([
    [
      { ...row, completions: ['a'], scores: [1] },
      /"completions" is to be a list of two answers or more; it is \["a"\]/,
    ],
    [
      { ...row, scores: [1] },
      /"scores" is to be a list of 2 numbers, one for each completion; it is \[1\]/,
    ],
    [{ ...row, scores: [1, Number.NaN] }, /"scores"\[1\] is to be a finite number; it is NaN/],
    [{ ...row, scores: [1, '2'] }, /"scores"\[1\] is to be a finite number; it is "2"/],
    [{ prompt: 'p', completions: ['a', 'b'] }, /needs "ranks"/],
    [{ prompt: 'p', completions: ['a', 'b'], rank: [1, 2] }, /Is "rank" meant\?/],
    [{ prompt: 'p', scores: [1, 2] }, /needs "completions"/],
  ])('%j', (given, message) => {
    expect(thrown(() => rankings([given])).description).toMatch(message);
  });
});

describe('prompts', () => {
  test.each<[row: unknown, message: RegExp]>([
    [{ question: 'a' }, /needs "prompt", and the row has the columns "question"/],
    [{ prompts: 'a' }, /Is "prompts" meant\?/],
    [{ prompt: null }, /"prompt" is null/],
    [{ prompt: 3 }, /"prompt" is to be a text or a list of messages; it is 3/],
    [{ prompt: [] }, /"prompt" is to be a list of messages; it is \[\]/],
    [{ input_ids: ['a'] }, /"input_ids" is to be a list of token ids; it is \["a"\]/],
  ])('%j', (row, message) => {
    expect(thrown(() => encode(promptRows(), row)).description).toMatch(message);
  });

  test('nothing to go on from', () => {
    expect(encode(promptRows(), { input_ids: [] }, null)).toMatchObject({
      example: null,
      notes: ['the prompt has no tokens to go on from'],
    });
  });
});
