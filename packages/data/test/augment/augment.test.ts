import {
  backTranslate,
  evolInstruct,
  type LLMRequest,
  makePreferencePairs,
  pipeline,
  selfInstruct,
} from '@attune/data';
import { describe, expect, test } from 'vitest';
import { askOf } from '../../src/augment/askOf.js';
import { choosePair, LengthBalance } from '../../src/augment/choosePair.js';
import { EVOL_OPERATIONS, readEquality } from '../../src/augment/evolPrompts.js';
import { instructionFault, readList } from '../../src/augment/instructionFilter.js';
import { isRefusal, saysNothing, unwrapped } from '../../src/augment/textRules.js';
import { MemoryCache } from '../../src/pipeline/memoryCache.js';
import { lastWords, scripted } from '../providers/scripted.js';

const turn = (role: string, content: string) => ({ role, content });
const between = (words: string, tag: string) =>
  new RegExp(`<(${tag}(?:-\\w{8})?)>\n([\\s\\S]*?)\n</\\1>`).exec(words)?.[2];

describe('what a row asks', () => {
  test.each([
    [
      { instruction: 'Do.', input: '', output: 'x', id: 1 },
      'Do.',
      { instruction: 'New', input: '', output: 'a', id: 1 },
    ],
    [
      { instruction: 'Do.', input: 'this', output: 'x' },
      'Do.\n\nthis',
      { instruction: 'New', input: '', output: 'a' },
    ],
    [{ prompt: 'Do.', completion: 'x' }, 'Do.', { prompt: 'New', completion: 'a' }],
    [
      { prompt: [turn('user', 'Do.')], completion: [turn('assistant', 'x')] },
      'Do.',
      { prompt: [turn('user', 'New')], completion: [turn('assistant', 'a')] },
    ],
    [
      { messages: [turn('system', 's'), turn('user', 'Do.'), turn('assistant', 'x')] },
      'Do.',
      { messages: [turn('system', 's'), turn('user', 'New'), turn('assistant', 'a')] },
    ],
    [
      {
        conversations: [
          { from: 'human', value: 'Do.' },
          { from: 'gpt', value: 'x' },
        ],
      },
      'Do.',
      {
        conversations: [
          { from: 'human', value: 'New' },
          { from: 'gpt', value: 'a' },
        ],
      },
    ],
  ])('%j', (row, instruction, written) => {
    const ask = askOf(row)!;
    expect(ask.instruction).toBe(instruction);
    expect(ask.write('New', 'a')).toEqual(written);
  });

  test.each([
    [{ text: 'only text' }],
    [{ instruction: ' ' }],
    [{ prompt: '' }],
    [{ messages: [] }],
    [{ messages: [turn('user', 'a'), turn('assistant', 'b'), turn('user', 'c')] }],
    [{ messages: [turn('assistant', 'b'), turn('user', 'c')] }],
    [{ messages: [turn('user', 'a'), turn('tool', 'b')] }],
    [{ messages: [null, 3] }],
    [{ messages: [{ role: 'user', content: [{ type: 'image' }] }] }],
  ])('nothing, or more than once: %j', (row) => {
    expect(askOf(row)).toBeNull();
  });
});

test('rules about texts', () => {
  expect(['.', 'the of', '', '…?!'].map(saysNothing)).toEqual([true, true, true, true]);
  expect(['Paris', '42', '猫'].map(saysNothing)).toEqual([false, false, false]);
  expect(isRefusal("I'm sorry, but I can't do that.")).toBe(true);
  expect(isRefusal('As an AI language model, no.')).toBe(true);
  expect(isRefusal(`Sorry is a word. ${'And many more words follow here. '.repeat(14)}`)).toBe(
    false,
  );
  expect(isRefusal('You cannot help it.')).toBe(false);
  expect(unwrapped('```text\n"a" b\n```')).toBe('"a" b');
  expect(unwrapped('"Quoted whole"')).toBe('Quoted whole');
  expect(unwrapped('"a" and "b"')).toBe('"a" and "b"');
  expect(
    ['equal', '**Different.**', 'Yes.\nEqual', 'equal or different?', ''].map(readEquality),
  ).toEqual(['equal', 'different', 'equal', null, null]);
  expect(readList('Sure:\n1. One\nmore\n\n2) Two\n**3.** Three\nTask 4: Four\n5.\n')).toEqual([
    'One\nmore',
    'Two',
    'Three',
    'Four',
  ]);
  const rules = {
    minWords: 3,
    maxWords: 5,
    blockedWords: ['Image', 'go to'],
    blockedStarts: ['write a'],
  };
  const fault = (text: string) => instructionFault(text, rules)?.reason ?? null;
  expect(
    ['a b', 'a b c d e f', '- a b c', 'draw an image now', 'imagine a b', '日本 a b'].map(fault),
  ).toEqual(['too short', 'too long', 'odd first character', 'blocked word', null, null]);
  expect(
    ['"a" b c', '¿a b c?', 'Go  to bed now', 'Let it go today', 'WRITE a b', '日本語'].map(fault),
  ).toEqual(['odd first character', null, 'blocked word', null, 'blocked start', null]);
});

describe('evolInstruct', () => {
  /** Evolves by adding a word, and answers. */
  const author = (
    answers: Partial<Record<'evolve' | 'equal' | 'answer', (text: string) => string>> = {},
  ) =>
    scripted((request) => {
      const words = lastWords(request);
      const exercise = between(words, 'exercise');
      if (exercise !== undefined) return (answers.evolve ?? ((text) => `${text} Twice.`))(exercise);
      const second = between(words, 'second');
      if (second !== undefined) return (answers.equal ?? (() => 'different'))(second);
      return (answers.answer ?? ((text) => `Answer to ${text}`))(words);
    });
  const rows = Array.from({ length: 6 }, (_, i) => ({
    prompt: `Count to number ${i}.`,
    completion: `${i}`,
    document_id: i,
  }));

  test('adds evolutions behind their rows, each of the one before, with origin and columns', async () => {
    const { rows: all, report } = await evolInstruct(rows, { provider: author(), rounds: 2 });
    expect(all.length).toBe(18);
    expect(all[0]).toBe(rows[0]);
    expect(all[2]).toEqual({
      prompt: 'Count to number 0. Twice. Twice.',
      completion: 'Answer to Count to number 0. Twice. Twice.',
      document_id: 0,
      augmentation: {
        method: 'evolInstruct',
        operation: expect.toSatisfy((word) => EVOL_OPERATIONS.includes(word)),
        round: 2,
        model: 'scripted',
        promptVersion: 1,
      },
    });
    expect(report.added).toEqual({ evolved: 12 });
    expect(report.facts.spent).toMatchObject({ requests: 36, cost: 9 });
    const operations = new Set(
      all.flatMap(({ augmentation }) => (augmentation as { operation: string })?.operation ?? []),
    );
    expect(operations.size).toBeGreaterThan(3);
    const items = [];
    for await (const item of pipeline(rows).evolInstruct({ provider: author() }).rows())
      items.push(item);
    expect(items.map(({ origin }) => origin.row)).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
  });

  test('is the same whatever the order of rows, of answers, and how many go at once', async () => {
    const run = async (input: typeof rows, maxConcurrent: number) => {
      const provider = { ...author(), maxConcurrent };
      const { rows: all } = await evolInstruct(input, { provider, rounds: 2 }, { seed: 7 });
      return all.map((row) => JSON.stringify(row)).sort();
    };
    const first = await run(rows, 1);
    expect(await run(rows, 8)).toEqual(first);
    expect(await run([...rows].reverse(), 3)).toEqual(first);
  });

  test.each<[string, Parameters<typeof author>[0], Record<string, number>]>([
    ['unchanged', { evolve: (text) => ` ${text.toUpperCase()}!` }, { 'evolution is unchanged': 1 }],
    ['empty', { evolve: () => ' ... ' }, { 'evolution is empty': 1 }],
    [
      'copied',
      { evolve: (text) => `The harder version: ${text}` },
      { 'evolution copies its prompt': 1 },
    ],
    ['refused', { evolve: () => "I'm sorry, I can't." }, { 'evolution is a refusal': 1 }],
    ['equal', { equal: () => 'Equal.' }, { 'evolution asks the same': 1 }],
    ['answer empty', { answer: () => 'The, and.' }, { 'answer is empty': 1 }],
    ['answer refused', { answer: () => 'Sorry!' }, { 'answer is a refusal': 1 }],
  ])('eliminates: %s', async (_, answers, dropped) => {
    const { rows: all, report } = await evolInstruct([rows[1]!], { provider: author(answers) });
    expect(all).toEqual([rows[1]]);
    expect(report).toMatchObject({ rowsIn: 1, rowsOut: 1, added: { evolved: 1 }, dropped });
  });

  test('what is eliminated is not gone on from; what asks nothing passes; nonsense is counted', async () => {
    let first = true;
    const provider = author({
      evolve: (text) => {
        if (!first) return `${text} Twice.`;
        first = false;
        return text;
      },
      equal: () => 'maybe',
    });
    const { rows: all, report } = await evolInstruct([rows[0]!, { text: 'x' }], {
      provider,
      rounds: 2,
    });
    expect(all.map(({ prompt }) => prompt)).toEqual([
      'Count to number 0.',
      'Count to number 0. Twice.',
      undefined,
    ]);
    expect(report.facts).toMatchObject({
      rowsWithoutRequest: 1,
      unreadableComparisons: 1,
    });
  });

  test('a run that was stopped repeats no request', async () => {
    const cache = new MemoryCache();
    const once = author();
    for await (const _ of evolInstruct(rows, { provider: once }, { cache }))
      if (once.requests.length > 8) break;
    const before = once.requests.length;
    const again = author();
    await evolInstruct(rows, { provider: again }, { cache });
    expect(before + again.requests.length).toBe(18);
  });
});

describe('selfInstruct', () => {
  const seeds = Array.from({ length: 10 }, (_, i) => ({
    instruction: `Explain subject ${'abcdefghij'[i]} to a child`,
    input: '',
    output: 'x',
  }));
  /** A list of made-up tasks, in which some are bad; and answers. */
  const author = () => {
    return scripted((request) => {
      const words = lastWords(request);
      if (!words.includes('further tasks')) return `Answer to ${words}`;
      const shown = [...words.matchAll(/^\d+\. (.*)$/gm)].map((match) => match[1]!);
      const mark = [...shown.join('')].reduce((sum, c) => (sum * 31 + c.charCodeAt(0)) % 99991, 7);
      return `1. ${shown[0]}\n2. Do it\n3. Draw a picture of it now\n4. Compose poem${mark} regarding thing${mark} slowly\n5. * star first here\n6. Sort numbers${mark} upward${mark} tonight`;
    });
  };

  test('filters and adds until there are enough, the same whatever the speed', async () => {
    const run = async (maxConcurrent: number) => {
      const provider = { ...author(), maxConcurrent };
      return selfInstruct(seeds, { provider, count: 6, perRequest: 6 }, { seed: 3 });
    };
    const { rows: all, report, dropped } = await run(1);
    expect(all.slice(0, 10)).toEqual(seeds);
    expect(all.length).toBe(16);
    expect(all[10]).toMatchObject({
      instruction: expect.stringContaining('Compose poem'),
      input: '',
      output: expect.stringContaining('Answer to Compose'),
      augmentation: {
        method: 'selfInstruct',
        request: 0,
        examples: expect.arrayContaining([expect.stringContaining('rows[')]),
      },
    });
    expect(report.added['made up']).toBe(
      6 + Object.values(report.dropped).reduce((a, b) => a + b, 0),
    );
    expect(Object.keys(report.dropped).sort()).toEqual([
      'blocked word',
      'like another',
      'odd first character',
      'too short',
    ]);
    expect(dropped.find(({ reason }) => reason === 'like another')!.detail).toMatch(
      /^ROUGE-L (0.8|1)/,
    );
    const other = await run(16);
    expect(other.rows).toEqual(all);
    expect(other.report.dropped).toEqual(report.dropped);
  });

  test('after a split, examples are of train alone, and what is like the others is filtered', async () => {
    const provider = scripted(() => `1. ${seeds[9]!.instruction}\n2. Name three slow rivers here`);
    const split = seeds.map((row, i) => ({
      row,
      origin: { file: 'a', row: i },
      split: i < 5 ? ('train' as const) : ('test' as const),
    }));
    const options = { provider, count: 1, maxRequests: 1, answer: false };
    const { report } = await selfInstruct(split, options);
    const [{ messages }] = provider.requests as [(typeof provider.requests)[0]];
    for (const letter of 'fghij') expect(messages[0]!.content).not.toContain(`subject ${letter}`);
    expect(messages[0]!.content).toContain('subject e');
    expect(report.dropped).toEqual({ 'like another': 1 });
    expect(report.added).toEqual({ 'made up': 2 });
  });

  test('says when it gives up', async () => {
    const provider = scripted(() => 'I have no ideas.');
    const { rows: all, report } = await selfInstruct(seeds, { provider, count: 3, maxRequests: 2 });
    expect(all.length).toBe(10);
    expect(report.warnings[0]).toMatch(
      /0 of 3 instructions came of 2 requests; 0 were filtered. 2 replies have no list/,
    );
    const none = await selfInstruct([{ text: 'x' }], { provider, count: 3 });
    expect(none.report.warnings[0]).toMatch(/no row of train asks anything/);
  });
});

describe('backTranslate', () => {
  const rows = [{ prompt: 'List 3 large cities, see `x` there.', completion: 'c', id: 1 }];
  const through = (back: (text: string) => string) =>
    scripted((request) => {
      const words = lastWords(request);
      const text = between(words, 'text')!;
      return words.includes('into English') ? back(text.replace('de: ', '')) : `de: ${text}`;
    });

  test('adds a paraphrase with the answer of its row', async () => {
    const provider = through((text) => text.replace('List', 'Name'));
    const { rows: all, report } = await backTranslate(rows, {
      provider,
      through: ['German', 'French'],
    });
    expect(all).toEqual([
      rows[0],
      {
        prompt: 'Name 3 large cities, see `x` there.',
        completion: 'c',
        id: 1,
        augmentation: {
          method: 'backTranslate',
          through: 'German',
          model: 'scripted',
          promptVersion: 1,
        },
      },
    ]);
    expect(report).toMatchObject({
      added: { 'translated there and back': 2 },
      dropped: { unchanged: 1 },
    });
  });

  test('a text keeps tags of its own, and loses those of the prompt', async () => {
    const prompt = 'What does this draw, in 3 words: <svg><text>Hi</text>';
    for (const tags of [false, true]) {
      const provider = scripted((request) => {
        const words = lastWords(request);
        const text = between(words, 'text')!.replace(
          'What does this draw',
          'What is drawn by this',
        );
        const tag = /<(text-\w{8})>/.exec(words)![1];
        return tags ? `<${tag}>\n${text}\n</${tag}>` : text;
      });
      const { rows: all } = await backTranslate([{ prompt }], { provider });
      expect(all[1]!.prompt).toBe('What is drawn by this, in 3 words: <svg><text>Hi</text>');
    }
  });

  test.each([
    ['unchanged', (text: string) => `${text}!`],
    ['numbers or addresses have changed', (text: string) => text.replace('3', 'three')],
    ['length has changed', () => 'Cities: `x` 3'],
    ['refusal', () => "I'm sorry, I cannot help with 3 cities."],
    ['empty', () => '…'],
  ])('leaves out: %s', async (reason, back) => {
    const { rows: all, report } = await backTranslate(rows, { provider: through(back) });
    expect(all).toEqual(rows);
    expect(report.dropped).toEqual({ [reason]: 1 });
  });
});

describe('makePreferencePairs', () => {
  const prompts = Array.from({ length: 8 }, (_, i) => ({
    prompt: `Question ${i}?`,
    completion: 'own',
    id: i,
  }));
  const texts = ['bad', 'good', 'better answer', 'best answer of them all'];
  const provider = () => scripted((_: LLMRequest, sample) => texts[sample]!);
  const scorer = ({ completions }: { completions: readonly string[] }) =>
    completions.map((text) => ['own', ...texts].indexOf(text));

  test('the best and the worst become a pair, with scores and the other columns', async () => {
    const { rows, report } = await makePreferencePairs([prompts[0]!], {
      provider: provider(),
      scorer,
      balanceLengths: false,
    });
    expect(rows).toEqual([
      {
        prompt: 'Question 0?',
        id: 0,
        chosen: 'best answer of them all',
        rejected: 'bad',
        chosen_score: 4,
        rejected_score: 1,
        augmentation: { method: 'makePreferencePairs', model: 'scripted' },
      },
    ]);
    expect(report.facts.lengths).toMatchObject({
      pairs: 1,
      chosenLonger: 1,
      meanLengthRatio: 6,
      meanMargin: 3,
    });
  });

  test('conversations stay conversations, with their system message', async () => {
    const asked = provider();
    const messages = [turn('system', 's'), turn('user', 'q'), turn('assistant', 'own')];
    const { rows } = await makePreferencePairs([{ messages, id: 2 }], {
      provider: asked,
      scorer,
      includeAnswer: true,
    });
    expect(asked.requests[0]).toMatchObject({ messages: messages.slice(0, 2), n: 4, seed: 0 });
    expect(rows[0]).toMatchObject({
      id: 2,
      prompt: messages.slice(0, 2),
      rejected: [turn('assistant', 'own')],
    });
    expect(rows[0]).not.toHaveProperty('messages');
  });

  test('lengths are kept in balance where other pairs do', async () => {
    const lengths = ['xxxxxxxx', 'xx', 'xxxxxxxxx', 'x'];
    const run = (balanceLengths: boolean) =>
      makePreferencePairs(prompts, {
        provider: scripted((_: LLMRequest, sample) => lengths[sample]!),
        // The longest is the best, a short one is nearly as good.
        scorer: ({ completions }) =>
          completions.map((text) => ({ xxxxxxxxx: 9, xx: 8, xxxxxxxx: 2, x: 1 })[text]!),
        margin: 2,
        balanceLengths,
      });
    const without = (await run(false)).report.facts.lengths as { chosenLonger: number };
    const balanced = (await run(true)).report.facts.lengths as {
      chosenLonger: number;
      meanLengthRatio: number;
    };
    expect(without.chosenLonger).toBe(1);
    expect(balanced.chosenLonger).toBeGreaterThan(0.2);
    expect(balanced.chosenLonger).toBeLessThan(0.8);
    expect(balanced.meanLengthRatio).toBeLessThan(1.5);
  });

  test.each<[string, object, (sample: number) => string]>([
    ['answers are all the same', { scorer: () => [1] }, () => 'same'],
    ['answers have no scores', { scorer: () => [null, null, null, 1] }, (i) => texts[i]!],
    ['scores are too close', { scorer, margin: 4 }, (i) => texts[i]!],
    ['scores are too close', { scorer: () => [1, 1, 1, 1] }, (i) => texts[i]!],
    ['lengths are too different', { scorer, margin: 3, maxLengthRatio: 2 }, (i) => texts[i]!],
  ])('drops: %s', async (reason, more, answer) => {
    const { report } = await makePreferencePairs([prompts[0]!], {
      provider: scripted((_: LLMRequest, sample) => answer(sample)),
      ...more,
    });
    expect(report.dropped).toEqual({ [reason]: 1 });
  });

  test('a judge scores; what it says nonsense about has no score', async () => {
    const judge = scripted((request) => {
      const words = request.messages[1]!.content;
      return /<answer-\w+>\nbad\n/.test(words)
        ? 'hm'
        : `{"score": ${words.includes('best') ? 9 : 4}}`;
    });
    const { rows, report } = await makePreferencePairs([prompts[0]!], {
      provider: provider(),
      judge,
    });
    expect(rows[0]).toMatchObject({ chosen: texts[3], chosen_score: 9, rejected_score: 4 });
    expect(report.facts.spentByJudge).toMatchObject({ requests: 3 + 3 });
  });

  test('one of judge, reward model and function, and numbers of it', async () => {
    await expect(makePreferencePairs(prompts, { provider: provider() })).rejects.toThrow(
      /none of judge/,
    );
    await expect(
      makePreferencePairs(prompts, { provider: provider(), scorer, judge: provider() }),
    ).rejects.toThrow(/2 of judge/);
    for (const scores of [[1], [1, 2, 3, Number.NaN], 'no', undefined])
      await expect(
        makePreferencePairs(prompts, { provider: provider(), scorer: () => scores as never }),
      ).rejects.toThrow(/DATA_SCORES/);
  });

  test('equal pairs: the first', () => {
    const scored = ['a', 'b', 'c'].map((text, i) => ({ text, score: i === 2 ? 0 : 1 }));
    const rules = { margin: 0, maxLengthRatio: null, balanceLengths: true };
    expect(choosePair(scored, rules, new LengthBalance())).toEqual({
      chosen: scored[0],
      rejected: scored[2],
    });
  });
});
