import { readSftRow } from '@attune/core/text';
import {
  convertRow,
  detectSchema,
  SCHEMA_NAMES,
  schemaOf,
  unpairRow,
  validate,
} from '@attune/data';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const user = { role: 'user', content: 'Hi' };
const assistant = { role: 'assistant', content: 'Hello' };
const call = { type: 'function', function: { name: 'f', arguments: { x: 1 } } };

const right: Record<string, Record<string, unknown>[]> = {
  messages: [
    { messages: [user, assistant] },
    {
      messages: [
        { role: 'system', content: 'S', name: null },
        { role: 'user', content: [{ type: 'text', text: 'a' }] },
        { role: 'assistant', content: null, tool_calls: [call] },
        { role: 'tool', content: { result: 1 } },
        { role: 'assistant', tool_calls: [{ name: 'g' }] },
      ],
      tools: '[{"type":"function"}]',
    },
  ],
  sharegpt: [
    {
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'Gpt', value: 'b' },
      ],
      system: 's',
    },
    { messages: [{ from: 'human', value: 'a' }] },
  ],
  alpaca: [{ instruction: 'a', input: null, output: 'b', history: [['c', 'd']] }],
  'prompt-completion': [
    { prompt: 'a', completion: 'b' },
    { prompt: [user], completion: [assistant], label: 'maths' },
  ],
  preference: [
    { prompt: 'a', chosen: 'b', rejected: 'c' },
    { chosen: [user, assistant], rejected: [user, { role: 'assistant', content: 'No' }] },
  ],
  unpaired: [
    { prompt: 'a', completion: 'b', label: true },
    { prompt: [user], completion: [assistant], label: 0 },
  ],
  prompt: [{ prompt: 'a', answer: '42' }, { prompt: [user] }],
  text: [{ text: 'a', label: 3 }],
  tokens: [{ input_ids: [1, 2], labels: [-100, 2] }],
};

test.each(SCHEMA_NAMES)('%s is recognised and valid, and the Trainer takes it', async (name) => {
  for (const row of right[name]!) {
    expect(schemaOf(row)).toBe(name);
    const { quarantined, rows } = await validate([row]);
    expect(quarantined).toEqual([]);
    expect(rows[0]).toBe(row);
    if (!['preference', 'prompt'].includes(name)) readSftRow(row, 'row');
  }
  expect(detectSchema(right[name]!)).toBe(name);
});

const wrong: [Record<string, unknown>, string, string][] = [
  [{ messages: [] }, 'invalid messages', 'messages is []; expected a list of messages'],
  [{ messages: [7] }, 'invalid messages', 'messages[0] is 7; expected { role, content }'],
  [
    { messages: [user, { role: 'narrator', content: 'x' }] },
    'unknown role "narrator"',
    'messages[1].role is "narrator", no role that is in use',
  ],
  [
    { messages: [{ role: 'human', content: 'x' }] },
    'invalid messages',
    'messages[0].role is "human", another name of "user"; convertTo: \'messages\' maps it',
  ],
  [
    { conversations: [{ from: 'alien', value: 'x' }] },
    'unknown role "alien"',
    'conversations[0].from is "alien"',
  ],
  [{ messages: [{ role: 'user' }] }, 'invalid messages', 'messages[0].content is not given'],
  [
    { messages: [{ role: 'user', content: 7 }, { role: 3 }] },
    'invalid messages',
    'messages[0].content is 7; expected text, or a list of parts; messages[1].role is 3',
  ],
  [
    { messages: [{ role: 'assistant', tool_calls: [{ function: {} }] }] },
    'invalid messages',
    'messages[0].tool_calls[0] is',
  ],
  [
    { messages: [user], tools: '{' },
    'invalid messages',
    'tools is "{"; expected a list of functions',
  ],
  [
    { messages: '[{"role":"user","content":"a"}]' },
    'invalid messages',
    "it is JSON as text, which convertTo: 'messages' reads",
  ],
  [{ instruction: 1, output: 'b' }, 'invalid alpaca', 'instruction is 1; expected text'],
  [
    { prompt: 'a', completion: [assistant] },
    'invalid prompt-completion',
    'completion is a list of messages, and prompt is text; expected both of one kind',
  ],
  [
    { prompt: 'a', completion: 'b', label: 'True' },
    'invalid unpaired',
    'label is "True"; expected true or false',
  ],
  [{ chosen: 'a', rejected: 3 }, 'invalid preference', 'rejected is 3; expected text or a list'],
  [{ text: ['a'] }, 'invalid text', 'text is ["a"]; expected text'],
  [{ text: 'a', image: 'x.png' }, 'not only text', 'the column "image" is no text'],
  [{ question: 'a' }, 'unknown schema', 'it has the columns "question"'],
  [{}, 'unknown schema', 'it has no columns'],
  [{ input_ids: ['a'] }, 'invalid tokens', 'input_ids is ["a"]; expected a list of token ids'],
];

describe('rows that are wrong', () => {
  test.each(wrong)('%j: %s', async (row, reason, detail) => {
    const { rows, quarantined, report } = await validate([row]);
    expect(rows).toEqual([]);
    expect(quarantined[0]!.reason).toBe(reason);
    expect(quarantined[0]!.detail).toContain(detail);
    expect(quarantined[0]!.row).toMatchObject({ row });
    expect(report.quarantined).toEqual({ [reason]: 1 });
    expect(report.warnings[0]).toContain('none of 1 rows is valid; the first: rows[0]: ');
  });

  test('one odd row refuses itself alone; they are dropped, or an error with its place', async () => {
    const rows = [{ messages: [user] }, { messages: [{ role: 'x', content: '' }] }];
    const { rows: kept, dropped } = await validate(rows, { onInvalid: 'drop' });
    expect([kept.length, dropped[0]!.reason]).toEqual([1, 'unknown role "x"']);
    await expect(validate(rows, { onInvalid: 'error' })).rejects.toThrow(
      /rows\[1\]: unknown role "x": messages\[0\]\.role is "x"/,
    );
  });

  test('odd roles are counted one by one up to twenty', async () => {
    const rows = Array.from({ length: 30 }, (_, i) => ({
      messages: [{ role: `r${i}`, content: 'a' }],
    }));
    const { report } = await validate(rows);
    expect(report.quarantined).toMatchObject({ 'unknown role "r19"': 1, 'unknown role': 10 });
  });

  test('columns are not taken for those of another format', async () => {
    const { quarantined } = await validate([{ text: 'a' }], { schema: 'messages' });
    expect(quarantined[0]!.detail).toBe('messages is not given; expected a list of messages');
    const mixed = await validate([{ text: 'a' }, { prompt: 'a', completion: 'b' }]);
    expect(mixed.report.facts.schemas).toEqual({ text: 1, 'prompt-completion': 1 });
    expect(mixed.report.warnings[0]).toMatch(/rows are of 2 formats/);
  });
});

test('columns with names that objects have stay where a format changes', async () => {
  const row = { instruction: 'a', output: 'b', constructor: 1, toString: 2 };
  const { rows } = await validate([row as never], { convertTo: 'messages' });
  expect(rows[0]).toMatchObject({ constructor: 1, toString: 2 });
});

describe('rows with the columns of two formats', () => {
  const [first, second] = [
    { text: 'a', instruction: 'b', output: 'c' },
    { text: 'a', input_ids: [1] },
  ];
  const warningsOf = async (...call: Parameters<typeof validate>) =>
    (await validate(...call)).report.warnings;

  test('are named where a Trainer takes them as the other one', async () => {
    const rows = [{ text: 'a' }, first, second, first];
    expect(await warningsOf(rows, { schema: 'text' })).toEqual([
      '2 rows are valid text, with the columns of alpaca beside, as which SFTTrainer takes such a row; the first: rows[1]. Leave these columns out with a map stage.',
      '1 row is valid text, with the columns of tokens beside, as which SFTTrainer takes such a row; the first: rows[2]. Leave these columns out with a map stage.',
    ]);
  });

  test('are none of anybody’s business where it takes them as is asked', async () => {
    const pair = { prompt: 'a', completion: 'b', label: true };
    expect(await warningsOf([first], { schema: 'alpaca' })).toEqual([]);
    expect(await warningsOf([pair], { schema: 'prompt-completion' })).toEqual([]);
    expect(await warningsOf([pair], { schema: 'prompt' })).toEqual([]);
    const chat = { messages: [{ from: 'human', value: 'a' }], chosen: 'b', rejected: 'c' };
    expect(await warningsOf([chat], { schema: 'messages' })).toEqual([]);
  });
});

test('a schema of zod: its output takes the place of the row, its paths are named', async () => {
  const schema = z.looseObject({ q: z.string(), n: z.coerce.number(), tags: z.array(z.string()) });
  const { rows, quarantined } = await validate(
    [
      { q: 'a', n: '3', tags: [], id: 7 },
      { q: 1, n: 2, tags: ['x', 4] },
    ],
    { schema },
  );
  expect(rows).toEqual([{ q: 'a', n: 3, tags: [], id: 7 }]);
  expect(quarantined[0]!.reason).toBe('invalid');
  expect(quarantined[0]!.detail).toMatch(/q: .*; tags\[1\]: /);
  const awaited = z.looseObject({ q: z.string().refine(async (q) => q !== 'no') });
  expect((await validate([{ q: 'yes' }, { q: 'no' }], { schema: awaited })).rows).toHaveLength(1);
  expect(() => validate([], { schema: 'mesages' as never })).toThrow(/schema/);
});

describe('conversion', () => {
  const chat = [user, assistant];

  test('ShareGPT: roles are mapped, calls become calls, other columns stay', () => {
    const row = {
      id: 4,
      system: 'S',
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'function_call', value: '{"name":"f","arguments":{"x":1}}' },
        { from: 'observation', value: '2' },
        { from: 'gpt', value: 'b', weight: 0 },
      ],
      tools: '[]',
    };
    const messages = convertRow(row, 'messages');
    expect(messages).toEqual({
      messages: [
        { role: 'system', content: 'S' },
        { role: 'user', content: 'a' },
        { role: 'assistant', content: '', tool_calls: [call] },
        { role: 'tool', content: '2' },
        { role: 'assistant', content: 'b', weight: 0 },
      ],
      id: 4,
      tools: '[]',
    });
    const { system: _system, ...rest } = row;
    expect(convertRow(messages, 'sharegpt')).toEqual({
      ...rest,
      conversations: [{ from: 'system', value: 'S' }, ...row.conversations],
    });
  });

  test('to messages and back', () => {
    const alpaca = { instruction: 'Hi', input: '', output: 'Hello' };
    expect(convertRow(alpaca, 'messages')).toEqual({ messages: chat });
    expect(convertRow({ messages: chat }, 'alpaca')).toEqual(alpaca);
    const pair = { prompt: [user], completion: [assistant] };
    expect(convertRow({ messages: chat }, 'prompt-completion')).toEqual(pair);
    expect(convertRow(pair, 'messages')).toEqual({ messages: chat });
    expect(convertRow({ prompt: 'Hi', completion: 'Hello' }, 'messages')).toEqual({
      messages: chat,
    });
    const long = { messages: [{ role: 'system', content: 'S' }, ...chat, ...chat] };
    const back = convertRow(long, 'alpaca');
    expect(back).toEqual({ system: 'S', history: [['Hi', 'Hello']], ...alpaca });
    expect(convertRow(back, 'messages')).toEqual(long);
    expect(convertRow({ messages: JSON.stringify(chat) }, 'messages')).toEqual({ messages: chat });
    const same = { messages: chat };
    expect(convertRow(same, 'messages')).toBe(same);
  });

  test('pairs: the prompt is what both share; unpaired they are two rows', async () => {
    const no = { role: 'assistant', content: 'No' };
    const row = { chosen: [user, assistant], rejected: [user, no], id: 1 };
    const explicit = { prompt: [user], chosen: [assistant], rejected: [no], id: 1 };
    expect(convertRow(row, 'preference')).toEqual(explicit);
    expect(unpairRow(row)).toEqual([
      { prompt: [user], completion: [assistant], label: true, id: 1 },
      { prompt: [user], completion: [no], label: false, id: 1 },
    ]);
    expect(convertRow({ chosen: 'Q: a', rejected: 'Q: b' }, 'preference')).toEqual({
      prompt: 'Q:',
      chosen: ' a',
      rejected: ' b',
    });
    const { rows, report } = await validate([row], { convertTo: 'unpaired' });
    expect(rows).toEqual(unpairRow(row));
    expect(report).toMatchObject({
      rowsIn: 1,
      rowsOut: 2,
      added: { 'second answer of a pair': 1 },
    });
  });

  test('what would be lost is refused; in a stage it is put aside', async () => {
    const refused = [
      [right.preference![0], 'messages', 'the rejected answer has no place'],
      [right.unpaired![0], 'alpaca', 'the label has no place'],
      [{ text: 'a' }, 'messages', 'who says what is not in it'],
      [{ messages: chat }, 'text', 'a chat template is needed'],
      [right.messages![1], 'alpaca', 'no text of user and assistant in turn'],
      [{ messages: [user] }, 'prompt-completion', 'the last message is not an answer'],
      [{ a: 1 }, 'messages', 'no known format'],
    ] as const;
    for (const [row, to, message] of refused) {
      expect(() => convertRow(row!, to)).toThrow(message);
      const { quarantined } = await validate([row!], { convertTo: to });
      expect(quarantined[0]!.detail).toMatch(/./);
    }
    const { quarantined } = await validate([{ text: 'a' }], { convertTo: 'messages' });
    expect(quarantined[0]).toMatchObject({
      reason: 'not convertible to messages',
      detail: 'text cannot become messages: who says what is not in it',
    });
  });

  test('every row that passes after a conversion is valid there, and rows of odd shape are put aside', async () => {
    const values = [null, 7, 'x', [], [7], {}, [user], [{ from: 'human', value: 3 }], true, [[]]];
    const columns = [...new Set(Object.values(right).flat().flatMap(Object.keys))];
    let next = 1;
    const draw = (n: number) => {
      next = (next * 48271) % 2147483647;
      return next % n;
    };
    const drawn = Array.from({ length: 2000 }, () => {
      const row: Record<string, unknown> = { ...Object.values(right).flat()[draw(14)] };
      for (let k = draw(3); k > 0; k--) row[columns[draw(columns.length)]!] = values[draw(10)];
      return row;
    });
    const isSft = (row: object) => !['preference', 'prompt'].includes(schemaOf(row as never)!);
    const plain = await validate(drawn);
    expect(plain.rows.length).toBeGreaterThan(400);
    for (const row of plain.rows) if (isSft(row)) readSftRow(row, 'row');
    for (const to of SCHEMA_NAMES) {
      const { rows } = await validate(drawn, { convertTo: to });
      for (const row of rows) {
        expect(schemaOf(row)).toBe(to);
        if (isSft(row)) readSftRow(row, 'row');
      }
    }
  });
});
