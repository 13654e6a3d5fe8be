import { collatePairs, type PairRowOptions, pairRows } from '@attune/align';
import { describe, expect, test } from 'vitest';
import { encode, letters, shown } from './rows.support.js';

const rules = (more: Partial<PairRowOptions> = {}) => pairRows({ maxLength: 100, ...more });

/** A pair as text, with the notes of its row. */
function pair(row: unknown, more: Partial<PairRowOptions> = {}) {
  const { example, notes } = encode(rules(more), row);
  return [example && shown(example.chosen), example && shown(example.rejected), notes];
}

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

describe('plain pairs', () => {
  test('the answers with their end token are scored, the prompt is not', () => {
    expect(pair({ prompt: 'ab', chosen: 'cd', rejected: 'e$' })).toEqual(['...cd$', '...e$', []]);
  });

  test('a prompt that merges with one answer ends earlier in both', () => {
    const [chosen, rejected, notes] = pair({ prompt: 'ab~', chosen: 'cd', rejected: 'e' });
    expect([chosen, rejected]).toEqual(['...~cd$', '...~e$']);
    expect(notes).toEqual([expect.stringContaining('scored with the answer')]);
  });

  test('a margin stays', () => {
    const { example } = encode(rules(), { prompt: 'a', chosen: 'b', rejected: 'c', margin: -0.5 });
    expect(example).toMatchObject({ margin: -0.5, promptLength: 2 });
    expect(
      encode(rules(), { prompt: 'a', chosen: 'b', rejected: 'c', margin: null }).example,
    ).not.toHaveProperty('margin');
  });
});

describe('implicit prompts', () => {
  test.each([
    ['ab cd', 'ab ef', '...' + ' cd$', '... ef$'],
    [
      'one is the beginning: ab',
      'one is the beginning: abc',
      `${'.'.repeat(25)}$`,
      `${'.'.repeat(25)}c$`,
    ],
    ['abc', 'ab', '...c$', '...$'],
    ['equal', 'equal', '......$', '......$'],
    // A space at the end is not one before the first difference.
    ['xb ', 'yb ', '.xb $', '.yb $'],
    ['😀', '😁', '.😀$', '.😁$'],
  ])('%j and %j', (chosen, rejected, first, second) => {
    expect(pair({ chosen, rejected }).slice(0, 2)).toEqual([first, second]);
  });

  test('conversations: the messages that they share, and never an answer without one', () => {
    const row = { chosen: [user('a'), assistant('b')], rejected: [user('a'), assistant('c')] };
    const dots = '.'.repeat(8);
    expect(pair(row)).toEqual([`${dots}b$`, `${dots}c$`, []]);
    const longer = { ...row, chosen: [...row.rejected, user('d'), assistant('e')] };
    expect(pair(longer).slice(0, 2)).toEqual([`${dots}c$<u>d$<a>e$`, `${dots}c$`]);
  });
});

describe('spellings', () => {
  const dots = '.'.repeat(8);
  const plain = [`${dots}b$`, `${dots}c$`, []];
  const chosen = [assistant('b')];
  const rejected = [assistant('c')];

  test.each<[title: string, row: object]>([
    ['messages', { prompt: [user('a')], chosen, rejected }],
    [
      'ShareGPT',
      {
        conversations: [{ from: 'human', value: 'a' }],
        chosen: { from: 'gpt', value: 'b' },
        rejected: { from: 'gpt', value: 'c' },
      },
    ],
    ['messages as the prompt', { messages: [user('a')], chosen: chosen[0], rejected: rejected[0] }],
    ['a text as the question', { prompt: 'a', chosen, rejected }],
    [
      'a text beside whole conversations',
      { prompt: 'a', chosen: [user('a'), ...chosen], rejected: [user('a'), ...rejected] },
    ],
    ['columns that are null', { prompt: [user('a')], chosen, rejected, tools: null, margin: null }],
  ])('%s', (_, row) => {
    expect(pair(row)).toEqual(plain);
  });

  test('a system prompt in a column of its own', () => {
    const row = { system: 'z', prompt: [user('a')], chosen, rejected };
    expect(letters.decode!(encode(rules(), row).example!.chosen.inputIds)).toBe('<s>z$<u>a$<a>b$');
  });

  test.each<[title: string, row: object, prompt: number]>([
    ['of TRL', { prompt_ids: [1, 2], chosen_ids: [3, 4], rejected_ids: [5] }, 2],
    ['in camel case', { promptIds: [1, 2], chosenIds: [3, 4], rejectedIds: [5] }, 2],
    [
      'of CPO, with the prompt in them',
      { prompt_input_ids: [1, 2], chosen_input_ids: [1, 2, 3, 4], rejected_input_ids: [1, 2, 5] },
      2,
    ],
    [
      'of older releases, without it',
      { prompt_input_ids: [1, 2], chosen_input_ids: [3, 4], rejected_input_ids: [5] },
      2,
    ],
    ['what they share is the prompt', { chosen_ids: [1, 2, 3, 4], rejected_ids: [1, 2, 5] }, 2],
  ])('ids %s', (_, row, promptLength) => {
    const { example } = encode(rules(), row, null);
    expect(example).toEqual({
      chosen: { inputIds: Int32Array.of(1, 2, 3, 4), labels: Int32Array.of(-100, -100, 3, 4) },
      rejected: { inputIds: Int32Array.of(1, 2, 5), labels: Int32Array.of(-100, -100, 5) },
      promptLength,
    });
  });

  test('whole texts for reward models: conversations need share nothing', () => {
    const row = { chosen: [user('a'), ...chosen], rejected: [user('x'), ...rejected] };
    const { example } = encode(rules({ scored: 'texts' }), row);
    expect(example).toMatchObject({ promptLength: 0 });
    expect(shown(example!.chosen)).toBe('<u>a$<a>b$');
    expect(shown(example!.rejected)).toBe('<u>x$<a>c$');
  });
});

test('[chosen; rejected] in one batch, with counts of labels and margins', () => {
  const examples = [
    encode(rules(), { prompt: 'a', chosen: 'bcd', rejected: 'e', margin: 2 }).example!,
    encode(rules(), { prompt: 'abc', chosen: 'f', rejected: 'gh' }).example!,
  ];
  const { inputIds, labels, labelCounts, margin } = collatePairs(examples, 8);
  expect(inputIds!.shape).toEqual([4, 8]);
  const rows = [0, 1, 2, 3].map((b) =>
    letters.decode!(Array.from(inputIds!.data.subarray(8 * b, 8 * b + 8)).filter((id) => id > 0)),
  );
  expect(rows).toEqual(['^abcd$', '^abcf$', '^ae$', '^abcgh$']);
  expect(Array.from(labelCounts!.data)).toEqual([4, 2, 2, 3]);
  expect(Array.from(margin!.data)).toEqual([2, 0]);
  expect(Array.from(labels!.data.subarray(0, 8))).toEqual([
    -100, 98, 99, 100, 36, -100, -100, -100,
  ]);
});
