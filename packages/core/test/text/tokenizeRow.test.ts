import { resolve } from 'node:path';
import { AutoTokenizer, loadDataset } from '@attune/core';
import { type TextTokenizer, tokenizeSft } from '@attune/core/text';
import { describe, expect, test } from 'vitest';
import { fixtureJson, hasStories, stories, storiesNote } from '../models/support.js';

/**
 * One token for each character, 1 (BOS) in front; "$" is the EOS; chats are <role>content$ per
 * turn.
 */
const letters: TextTokenizer = {
  eosToken: '$',
  encode: (text, { addSpecialTokens = true } = {}) => [
    ...(addSpecialTokens ? [1] : []),
    ...[...text].map((c) => c.charCodeAt(0)),
  ],
  applyChatTemplate: (messages, { addGenerationPrompt }) =>
    messages.map((m) => `<${m.role[0]}>${m.content}$`).join('') +
    (addGenerationPrompt ? '<a>' : ''),
};

const options = {
  tokenizer: letters,
  maxLength: 100,
  vocabSize: 256,
  completionOnlyLoss: null,
  assistantOnlyLoss: false,
};

/** What a row becomes, as text: learned characters as they are, the others as dots. */
function shown(row: unknown, more: object = {}): string | null {
  const { example } = tokenizeSft(row, 'f.jsonl:3', { ...options, ...more });
  if (!example) return null;
  return Array.from(example.inputIds, (id, i) => {
    if (example.labels[i] === -100) return '.';
    expect(example.labels[i]).toBe(id);
    return id === 1 ? '^' : String.fromCharCode(id);
  }).join('');
}

const chat = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'yo' },
  { role: 'user', content: 'so' },
  { role: 'assistant', content: 'no' },
];

describe('formats', () => {
  test('text: everything is learned, with an EOS that is not doubled', () => {
    expect(shown({ text: 'abc' })).toBe('^abc$');
    expect(shown({ text: 'abc$' })).toBe('^abc$');
  });

  test('prompt + completion: the completion and its EOS', () => {
    expect(shown({ prompt: 'ab', completion: 'cd' })).toBe('...cd$');
    expect(shown({ prompt: 'ab', completion: 'cd' }, { completionOnlyLoss: false })).toBe('^abcd$');
  });

  test('Alpaca: its prompt, with and without an input', () => {
    const more = { maxLength: 1000 };
    expect(shown({ instruction: 'Add', input: '1+1', output: '2' }, more)).toMatch(/^\.+2\$$/);
    expect(shown({ instruction: 'Hi', output: 'yo' }, more)).toMatch(/^\.+yo\$$/);
  });

  test('messages: all of it, or the assistant alone', () => {
    expect(shown({ messages: chat })).toBe('<u>hi$<a>yo$<u>so$<a>no$');
    const only = '.........yo$.........no$';
    expect(shown({ messages: chat }, { assistantOnlyLoss: true })).toBe(only);
    expect(shown({ messages: chat }, { completionOnlyLoss: true })).toBe(only);
  });

  test('ShareGPT is messages under other names', () => {
    const conversations = [
      { from: 'human', value: 'hi' },
      { from: 'gpt', value: 'yo' },
    ];
    expect(shown({ conversations })).toBe('<u>hi$<a>yo$');
  });

  test('a prompt and a completion of messages', () => {
    const row = { prompt: chat.slice(0, 3), completion: chat.slice(3) };
    expect(shown(row)).toBe('.....................no$');
  });

  test('token ids, with labels, with a mask, without either', () => {
    expect(shown({ input_ids: [65, 66, 67] })).toBe('ABC');
    expect(shown({ inputIds: [65, 66, 67], labels: [-100, -100, 67] })).toBe('..C');
    expect(shown({ input_ids: [65, 66, 67], completion_mask: [0, 1, 1] })).toBe('.BC');
  });

  test('formattingFunc makes the text', () => {
    expect(
      shown({ q: 'a', a: 'b' }, { formattingFunc: (r: { q: string; a: string }) => r.q + r.a }),
    ).toBe('^ab$');
  });
});

describe('truncation keeps the start', () => {
  test('and leaves a row out when nothing is left to learn', () => {
    expect(shown({ prompt: 'abc', completion: 'de' }, { maxLength: 5 })).toBe('....d');
    expect(shown({ prompt: 'abc', completion: 'de' }, { maxLength: 4 })).toBeNull();
    expect(tokenizeSft({ text: 'abcdef' }, 'r', { ...options, maxLength: 3 })).toMatchObject({
      truncated: true,
    });
  });

  test('a label at the first token alone is nothing to learn: it is never predicted', () => {
    expect(shown({ input_ids: [65, 66], labels: [65, -100] })).toBeNull();
  });
});

describe('rows that are refused, by file and line', () => {
  const cases: [string, unknown, RegExp, object?][] = [
    [
      'no format',
      { question: 'a', answer: 'b' },
      /ROW_FORMAT: f\.jsonl:3: .*"question", "answer".*\n.*prompt, completion/,
    ],
    ['preference pairs', { prompt: 'a', chosen: 'b', rejected: 'c' }, /"chosen".*DPOTrainer/],
    ['a number as text', { text: 5 }, /"text" is to be a string; it is 5/],
    [
      'a prompt of text and a completion of messages',
      { prompt: 'a', completion: chat },
      /two strings or two message lists/,
    ],
    ['null completion', { prompt: 'a', completion: null }, /completion \(null\)/],
    ['no messages', { messages: [] }, /"messages" is to be a list/],
    [
      'a message without content',
      { messages: [{ role: 'user' }] },
      /"messages"\[0\] is to be \{ role, content \}/,
    ],
    [
      'labels of another length',
      { input_ids: [1, 2], labels: [1] },
      /"labels" is to be a list of 2 numbers/,
    ],
    ['ids that are text', { input_ids: 'abc' }, /"input_ids" is to be a list of token ids/],
    ['a broken output', { instruction: 'a', output: 3 }, /"output" is to be a string/],
    ['not an object', 'text', /a row is an object/],
    [
      'an id beyond the embedding',
      { input_ids: [1, 256] },
      /VOCAB_MISMATCH: f\.jsonl:3: token id 256 .* 256 rows/,
    ],
    ['a negative id', { input_ids: [1, -1] }, /token id -1/],
    ['a label beyond the embedding', { input_ids: [1, 2], labels: [1, 300] }, /label 300/],
    [
      'a tokenizer larger than the model',
      { text: 'é' },
      /embedding of 200 rows; the tokenizer's vocabulary has at least 234/,
      { vocabSize: 200 },
    ],
    ['text without a tokenizer', { text: 'a' }, /TOKENIZER_MISSING/, { tokenizer: null }],
    [
      'completionOnlyLoss on plain text',
      { text: 'a' },
      /NO_COMPLETION/,
      { completionOnlyLoss: true },
    ],
    [
      'assistantOnlyLoss without an assistant',
      { messages: chat.slice(0, 1) },
      /NO_COMPLETION.*roles: user/,
      { assistantOnlyLoss: true },
    ],
    [
      'chat_template_kwargs that are no object',
      { messages: chat, chat_template_kwargs: 'think' },
      /"chat_template_kwargs" is to be an object/,
    ],
    ['tools that are no list', { messages: chat, tools: '{' }, /"tools" is to be a list/],
  ];
  for (const [name, row, message, more] of cases)
    test(name, () => {
      expect(() => shown(row, more)).toThrow(message);
    });
});

/** 480 rows of nl2bash, prepared as trl.SFTTrainer 1.16 does it. */
test.skipIf(!hasStories)(`rows as TRL prepares them${storiesNote}`, async () => {
  const { data, firstRows } = fixtureJson('lora-run-stories260k/run.json');
  const tokenizer = await AutoTokenizer.fromPretrained(stories);
  const rows = await loadDataset('json', {
    dataFiles: resolve(stories, '../../datasets/nl2bash/train.jsonl'),
    split: `train[:${data.rowsRead}]`,
  });
  const results = rows
    .map((row, i) =>
      tokenizeSft(row, rows.origin(i), { ...options, tokenizer, maxLength: 160, vocabSize: 512 }),
    )
    .toArray();
  const examples = results.flatMap(({ example }) => (example ? [example] : []));
  expect(examples).toHaveLength(data.rowsKept);
  const where = (test: (r: (typeof results)[number]) => boolean) =>
    results.flatMap((r, i) => (test(r) ? [i] : []));
  expect(where((r) => r.example === null)).toEqual(data.droppedRows);
  expect(where((r) => r.truncated)).toEqual(data.truncatedRows);
  expect(where((r) => r.boundaryMerged)).toEqual(
    data.divergingRows.map((d: { row: number }) => d.row),
  );
  const total = (count: (e: (typeof examples)[number]) => number) =>
    examples.reduce((n, e) => n + count(e), 0);
  expect(total((e) => e.inputIds.length)).toBe(data.tokens);
  expect(total((e) => Array.from(e.labels).filter((l) => l !== -100).length)).toBe(
    data.completionTokens,
  );
  for (const [i, { input_ids, completionMask }] of firstRows.entries()) {
    expect(Array.from(examples[i]!.inputIds)).toEqual(input_ids);
    expect(Array.from(examples[i]!.labels, (l) => Number(l !== -100))).toEqual(completionMask);
  }
});
