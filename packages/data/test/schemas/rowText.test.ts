import { answerOf, promptOf, rowText } from '@attune/data';
import { describe, expect, test } from 'vitest';

const chat = (...turns: [string, string][]) => turns.map(([role, content]) => ({ role, content }));

const cases: [string, Record<string, unknown>, string, string | null, string | null][] = [
  ['text', { text: 'a' }, 'a', null, null],
  ['alpaca', { instruction: 'a', input: '', output: 'b' }, 'a\nb', 'a', 'b'],
  [
    'alpaca with all',
    { system: 's', history: [['x', 'y']], instruction: 'a', input: 'i', output: 'b' },
    's\nx\ny\na\ni\nb',
    's\nx\ny\na\ni',
    'b',
  ],
  ['prompt and completion', { prompt: 'a', completion: 'b', label: true }, 'a\nb', 'a', 'b'],
  [
    'the same as messages',
    { prompt: chat(['user', 'a']), completion: chat(['assistant', 'b']) },
    'a\nb',
    'a',
    'b',
  ],
  ['a prompt alone', { prompt: 'a' }, 'a', 'a', null],
  ['a pair', { prompt: 'a', chosen: 'b', rejected: 'c' }, 'a\nb\nc', 'a', 'b'],
  ['a pair of texts', { chosen: 'a? b', rejected: 'a? c' }, 'a?\n b\n c', 'a?', ' b'],
  [
    'a pair of conversations',
    {
      chosen: chat(['user', 'a'], ['assistant', 'b']),
      rejected: chat(['user', 'a'], ['assistant', 'c']),
    },
    'a\nb\nc',
    'a',
    'b',
  ],
  [
    'messages',
    { messages: chat(['user', 'a'], ['assistant', 'b'], ['user', 'c'], ['assistant', 'd']) },
    'a\nb\nc\nd',
    'a\nb\nc',
    'd',
  ],
  [
    'ShareGPT',
    {
      system: 's',
      conversations: [
        { from: 'human', value: 'a' },
        { from: 'gpt', value: 'b' },
      ],
    },
    's\na\nb',
    's\na',
    'b',
  ],
  [
    'parts and calls',
    {
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image' }] },
        {
          role: 'assistant',
          content: null,
          tool_calls: [{ type: 'function', function: { name: 'f', arguments: '{"x":1}' } }],
        },
      ],
    },
    'a\nfunction\nf\n{"x":1}',
    'a',
    'function\nf\n{"x":1}',
  ],
];

describe('text of a row', () => {
  test.each(cases)('%s', (_name, row, text, prompt, answer) => {
    expect([rowText(row), promptOf(row), answerOf(row)]).toEqual([text, prompt, answer]);
  });

  test('rows of no known format have all of their strings; odd ones throw nothing', () => {
    expect(rowText({ q: 'a', n: 1, list: ['b', { deep: 'c' }], last: null })).toBe('a\nb\nc');
    const odd = [1, null, 'x', [1], { from: 1 }, [{ role: 'user' }, null]];
    for (const key of ['messages', 'conversations', 'prompt', 'completion', 'chosen', 'text'])
      for (const value of odd)
        for (const row of [{ [key]: value }, { [key]: value, rejected: value, output: value }])
          expect([typeof rowText(row), promptOf(row), answerOf(row)]).toBeDefined();
  });
});
