import { describe, expect, test } from 'vitest';
import { Preflight } from '../../src/text/preflight/preflight.js';
import { type TextTokenizer, tokenizeSft } from '../../src/text/tokenizeRow.js';
import type { RenderOptions } from '../../src/tokenizer/chatTemplate.js';

const code = (text: string) => Array.from(text, (c) => c.charCodeAt(0));

/** One id a letter; turns are <role>words$, tools stand first. */
const tokenizer = {
  eosToken: '$',
  eosTokenId: 36,
  bosTokenId: null,
  chatTemplate: 'of this test',
  encode: code,
  decode: (ids: ArrayLike<number>) => String.fromCharCode(...Array.from(ids)),
  applyChatTemplate: (
    messages: readonly { role: string; content?: unknown }[],
    { tools, addGenerationPrompt }: RenderOptions,
  ) =>
    (tools ? `[${tools.length} tools]` : '') +
    messages.map(({ role, content }) => `<${role[0]}>${content}$`).join('') +
    (addGenerationPrompt ? '<a>' : ''),
} as unknown as TextTokenizer;

const options = {
  tokenizer,
  maxLength: 1000,
  vocabSize: 256,
  completionOnlyLoss: null,
  assistantOnlyLoss: false,
};

const tokenize = (row: object, more: object = {}) =>
  tokenizeSft(row, 'rows.jsonl:1', { ...options, ...more });
const textOf = (ids: ArrayLike<number>) => String.fromCharCode(...Array.from(ids));
const whole = (row: object) => textOf(tokenize(row).tokens.inputIds);
/** The row with a dot for what is not learned. */
const learned = (row: object, more?: object) => {
  const { inputIds, labels } = tokenize(row, more).tokens;
  return Array.from(inputIds, (id, i) => (labels[i] === -100 ? '.' : String.fromCharCode(id))).join(
    '',
  );
};
const unused = (row: object) => tokenize(row).unusedColumns;

describe('Alpaca', () => {
  test("the answer follows the prompt's last colon at once, as Stanford trains it", () => {
    expect(whole({ instruction: 'Add', input: '1+1', output: '2' })).toBe(
      'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Input:\n1+1\n\n### Response:2$',
    );
    expect(whole({ instruction: 'Hi', input: '', output: 'yo' })).toBe(
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nHi\n\n### Response:yo$',
    );
  });

  test.each(['system', 'system_prompt', 'systemPrompt'])(
    '%s makes a conversation of a row',
    (column) => {
      const row = { instruction: 'Add', input: '1+1', output: '2', [column]: 'Be brief' };
      expect(whole(row)).toBe('<s>Be brief$<u>Add\n1+1$<a>2$');
      expect(learned(row)).toMatch(/^\.+2\$$/);
      expect(unused(row)).toEqual([]);
    },
  );

  test('history and tools do too', () => {
    const history = [
      ['hi', 'yo'],
      ['so', 'no'],
    ];
    const row = {
      instruction: 'Go',
      output: 'ok',
      history,
      tools: '[{ "name": "f" }]',
      source: 'x',
    };
    expect(whole(row)).toBe('[1 tools]<u>hi$<a>yo$<u>so$<a>no$<u>Go$<a>ok$');
    expect(learned(row)).toMatch(/^\.+ok\$$/);
    expect(unused(row)).toEqual(['source']);
    const messages = [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: 'yo' },
    ];
    expect(whole({ instruction: 'Go', output: 'ok', history: messages })).toBe(
      '<u>hi$<a>yo$<u>Go$<a>ok$',
    );
  });

  test('empty columns say nothing', () => {
    const row = { instruction: 'Hi', output: 'yo', system: '', history: [], tools: null };
    expect(whole(row)).toMatch(/^Below/);
    expect(unused(row)).toEqual([]);
  });

  test.each([[['hi']], [[['hi', 'yo', 'so']]], ['hi'], [[['hi', 3]]]])(
    'a history of %j is refused',
    (history) => {
      expect(() => tokenize({ instruction: 'a', output: 'b', history })).toThrow(
        /ROW_FORMAT: rows.jsonl:1: "history" is to be a list of \[what the user said/,
      );
    },
  );
});

describe('conversations', () => {
  const conversations = [
    { from: 'human', value: 'hi' },
    { from: 'gpt', value: 'yo' },
  ];

  test("a row's system prompt stands before messages that have none", () => {
    const row = { conversations, system: 'Be brief', id: 7 };
    expect(whole(row)).toBe('<s>Be brief$<u>hi$<a>yo$');
    expect(unused(row)).toEqual(['id']);
  });

  test('and is named where they have one of their own', () => {
    const own = [{ role: 'system', content: 'Mine' }, ...conversations];
    expect(whole({ conversations: own, system: 'Be brief' })).toBe('<s>Mine$<u>hi$<a>yo$');
    expect(unused({ conversations: own, system: 'Be brief' })).toEqual(['system']);
    expect(unused({ conversations: own, system: 'Mine' })).toEqual([]);
  });

  test('a prompt and a completion of messages get it too', () => {
    const prompt = [{ role: 'user', content: 'hi' }];
    const completion = [{ role: 'assistant', content: 'yo' }];
    expect(whole({ prompt, completion, system_prompt: 'Be' })).toBe('<s>Be$<u>hi$<a>yo$');
  });

  test('other names of who speaks', () => {
    const says = (from: string) => whole({ conversations: [{ from, value: 'x' }] });
    expect(says('prompter')).toBe('<u>x$');
    for (const name of ['bot', 'model', 'ai']) expect(says(name)).toBe('<a>x$');
    for (const name of ['function_response', 'tool_response']) expect(says(name)).toBe('<t>x$');
  });
});

describe('weights of messages', () => {
  const messages = (...weights: (number | null | undefined)[]) => [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'yo', ...(weights[0] !== undefined && { weight: weights[0] }) },
    { role: 'user', content: 'so' },
    { role: 'assistant', content: 'no', ...(weights[1] !== undefined && { weight: weights[1] }) },
  ];

  test.each<[number | null | undefined, number | null | undefined, string]>([
    [0, 1, '.....................no$'],
    [1, 0, '.........yo$............'],
    [0, undefined, '.....................no$'],
    [undefined, 0, '.........yo$............'],
    [1, 1, '.........yo$.........no$'],
    [null, null, '<u>hi$<a>yo$<u>so$<a>no$'],
  ])('%s and %s: %s', (first, second, expected) => {
    expect(learned({ messages: messages(first, second) })).toBe(expected);
  });

  test('with assistantOnlyLoss, and behind a prompt', () => {
    expect(learned({ messages: messages(0, 1) }, { assistantOnlyLoss: true })).toBe(
      '.....................no$',
    );
    const [user, ...rest] = messages(0, 1);
    expect(learned({ prompt: [user], completion: rest })).toBe('.....................no$');
  });

  test('with {% generation %} in the template', () => {
    const marked = {
      ...tokenizer,
      generationSpans: () => [
        [9, 12],
        [21, 24],
      ],
    };
    expect(learned({ messages: messages(0, 1) }, { tokenizer: marked })).toBe(
      '.....................no$',
    );
  });

  test('all 0 is nothing to learn; others than 0 and 1 are refused', () => {
    expect(() => tokenize({ messages: messages(0, 0) })).toThrow(
      /every message of the assistant has weight 0/,
    );
    expect(() => tokenize({ messages: messages(0.5, 1) })).toThrow(
      /ROW_FORMAT: rows.jsonl:1: the weight of message 1 \(assistant\) is 0.5/,
    );
  });

  test('of others than the assistant they are named', () => {
    const [user, ...rest] = messages(1, 1);
    expect(unused({ messages: [{ ...user, weight: 1 }, ...rest] })).toEqual([
      'messages[].weight (not of the assistant)',
    ]);
    expect(unused({ messages: [{ ...user, weight: 0 }, ...rest] })).toEqual([]);
  });
});

describe('the preview names columns that have no place', () => {
  const report = (...rows: object[]) => {
    const preflight = new Preflight({ tokenizer, eosTokenIds: [36], maxLength: 1000 });
    for (const [i, row] of rows.entries()) preflight.add(`rows.jsonl:${i + 1}`, tokenize(row));
    return preflight.report();
  };

  test('all of them in a line, and a warning where they change what a row means', () => {
    const found = report(
      { prompt: 'a', completion: 'b', source: 'x', system: 'Be brief' },
      { prompt: 'a', completion: 'b', source: 'x', history: [['a', 'b']] },
    );
    const text = found.format({ color: false });
    expect(text).toMatch(/not used +the columns source, system \(1 row\), history \(1 row\)/);
    expect(found.problems).toHaveLength(1);
    expect(found.problems[0]).toMatchObject({ check: 'unused-columns', refused: false });
    expect(found.problems[0]!.message).toBe(
      'not trained on: "system" of 1 row, "history" of 1 row (first: rows.jsonl:1).',
    );
    expect(found.toJSON().unusedColumns).toEqual({ source: 2, system: 1, history: 1 });
  });

  test('nothing where every column is used, or says nothing', () => {
    const found = report(
      { prompt: 'a', completion: 'b', system: '', tools: [] },
      { input_ids: [65, 66, 36], attention_mask: [1, 1, 1], length: 3 },
    );
    expect(found.format({ color: false })).not.toMatch(/not used/);
    expect(found.problems).toEqual([]);
  });

  test.each([
    [{ text: 'abc$', tools: [{ name: 'f' }] }, ['tools']],
    [{ text: 'abc$', messages: [], chat_template_kwargs: { a: 1 } }, ['chat_template_kwargs']],
    [{ prompt: 'a', completion: 'b', input: 'c' }, ['input']],
    [{ messages: [{ role: 'user', content: 'hi' }], functions: [{ name: 'f' }] }, ['functions']],
  ])('%j', (row, columns) => {
    const { messages, ...rest } = row as { messages?: unknown[] };
    const given = messages?.length === 0 ? rest : row;
    expect(unused(given)).toEqual(columns);
    expect(report(given).problems.some(({ check }) => check === 'unused-columns')).toBe(true);
  });
});
