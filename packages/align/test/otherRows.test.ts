import { promptRows, rankings } from '@attune/align';
import type { Dataset } from '@attune/core';
import { describe, expect, test, vi } from 'vitest';
import { encode, letters, loadTokenizer, template } from './rows.support.js';

describe('rankings', () => {
  const row = { prompt: 'p', completions: ['a', 'b', 'c'], scores: [1, 3, 1], by: 'x' };

  test('each answer with each worse one, the best first; ties are counted', () => {
    const logger = { info: vi.fn() };
    const made = rankings([row, row], { logger }) as Dataset;
    expect(made.toArray().slice(0, 2)).toEqual([
      { prompt: 'p', by: 'x', chosen: 'b', rejected: 'a' },
      { prompt: 'p', by: 'x', chosen: 'b', rejected: 'c' },
    ]);
    expect(made).toHaveLength(4);
    expect(made.origin(1)).toBe('rows[0] 1 over 2');
    expect(logger.info.mock.calls).toEqual([
      ['rankings: 2 pairs of answers are equally good and left out (first: rows[0])'],
    ]);
  });

  test('ranks have 1 for the best; the best alone; margins of scores', () => {
    const ranks = { prompt: 'p', completions: ['a', 'b', 'c'], ranks: [2, 3, 1] };
    const said = (rows: object[], options: object) =>
      (rankings(rows, options) as Dataset)
        .toArray()
        .map(({ chosen, rejected, margin }) => `${chosen}${rejected}${margin ?? ''}`);
    expect(said([ranks], {})).toEqual(['ca', 'cb', 'ab']);
    expect(said([ranks], { pairs: 'best', margin: true })).toEqual(['ca', 'cb']);
    const scores = { ...row, scores: [0.5, 3, 1] };
    expect(said([scores], { margin: true })).toEqual(['bc2', 'ba2.5', 'ca0.5']);
  });
});

describe('prompts', () => {
  test('ids to go on from, the prompt as given, and the other columns', () => {
    const { example } = encode(promptRows(), { prompt: 'ab', answer: 42, tools: null });
    expect(letters.decode!(example!.promptIds)).toBe('^ab');
    expect(example).toMatchObject({ prompt: 'ab', columns: { answer: 42, tools: null } });
  });

  test('conversations open the turn of the assistant', () => {
    const prompt = [{ role: 'user', content: 'hi' }];
    const { example } = encode(promptRows(), { prompt, answer: 'x' });
    expect(letters.decode!(example!.promptIds)).toBe('<u>hi$<a>');
    expect(example!.prompt).toEqual(prompt);
  });

  test('ids, without the padding of their batch', () => {
    const row = { input_ids: [0, 0, 5, 6], attention_mask: [0, 0, 1, 1], answer: 1 };
    const { example } = encode(promptRows(), row, null);
    expect(example).toEqual({
      promptIds: Int32Array.of(5, 6),
      prompt: null,
      columns: { answer: 1 },
    });
  });

  test('ids beside the prompt that they are of', () => {
    const row = { prompt: 'ab', prompt_ids: [5, 6], answer: 1 };
    expect(encode(promptRows(), row, null).example).toEqual({
      promptIds: Int32Array.of(5, 6),
      prompt: 'ab',
      columns: { answer: 1 },
    });
  });

  test('variables for the template, of a row before those of all', async () => {
    const tokenizer = await loadTokenizer('bpe-qwen2');
    tokenizer.chatTemplate = template('qwen3');
    const prompt = [{ role: 'user', content: 'hi' }];
    const made = (row: object, options = {}) =>
      tokenizer.decode(encode(promptRows(options), row, tokenizer).example!.promptIds, {
        skipSpecialTokens: false,
      });
    const off = { enable_thinking: false };
    expect(made({ prompt })).not.toContain('<think>');
    expect(made({ prompt }, { chatTemplateKwargs: off })).toContain('<think>\n\n</think>');
    const row = { prompt, chat_template_kwargs: { enable_thinking: true } };
    expect(made(row, { chatTemplateKwargs: off })).not.toContain('<think>');
  });

  test('too long: left out and named', () => {
    const { example, notes } = encode(promptRows({ maxLength: 2 }), { prompt: 'ab' });
    expect(example).toBeNull();
    expect(notes).toEqual([expect.stringContaining('longer than 2 tokens')]);
  });
});
