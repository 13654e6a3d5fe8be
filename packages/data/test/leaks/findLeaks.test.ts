import { findLeaks, leakReport } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { edited, words } from '../dedup/texts.js';

const rowsOf = (...texts: string[]) => texts.map((text) => ({ text }));
const many = (count: number, length: number, seed: number) =>
  Array.from({ length: count }, (_, i) => words(length, seed + i));
const pairs = async (...call: Parameters<typeof findLeaks>) =>
  (await findLeaks(...call)).map(({ evalIndex, trainIndex, overlap }) => [
    evalIndex,
    trainIndex,
    Number(overlap.toFixed(2)),
  ]);

describe('leaks', () => {
  test('every copy is found, whatever was done to it, and no clean row', async () => {
    const evaluation = many(200, 25, 10_000);
    const train = many(3000, 40, 20_000);
    const planted = new Map<number, number>();
    for (let i = 0; i < 200; i += 4) {
      const at = 13 * i + 5;
      const copy = evaluation[i]!;
      const changed = [
        copy,
        copy.toUpperCase().replaceAll(' ', ' ,\n'),
        `${train[at]} ${copy} ${train[at]}`,
        edited(copy, 1, i),
        copy.split(' ').slice(0, 15).join(' '),
      ];
      train[at] = changed[(i / 4) % 5]!;
      planted.set(i, at);
    }
    const leaks = await findLeaks(rowsOf(...train), rowsOf(...evaluation));
    expect(new Map(leaks.map(({ evalIndex, trainIndex }) => [evalIndex, trainIndex]))).toEqual(
      planted,
    );
    expect(leaks).toHaveLength(50);
    expect(leaks[0]).toEqual({
      evalIndex: 0,
      trainIndex: 5,
      overlap: 1,
      trainRows: 1,
      evalOrigin: { file: 'eval', row: 0 },
      trainOrigin: { file: 'train', row: 5 },
    });
  });

  test('overlap is the share of the evaluation row’s n-grams', async () => {
    const text = words(20, 1); // 13 8-grams
    const train = rowsOf(text.split(' ').slice(0, 14).join(' '), `other ${text}`);
    expect(await pairs(train, rowsOf(text))).toEqual([
      [0, 1, 1],
      [0, 0, 0.54],
    ]);
    expect(await pairs(train, rowsOf(text), { minOverlap: 0.6 })).toEqual([[0, 1, 1]]);
    expect(await pairs(train, rowsOf(text), { n: 15, minOverlap: 0 })).toEqual([[0, 1, 1]]);
  });

  test('rows of fewer words are compared whole', async () => {
    const train = rowsOf('Yes, it is.', 'yes it is so', 'no', '...', '');
    expect(await pairs(train, rowsOf('Yes - it is!', 'NO', 'it is', '', '!'))).toEqual([
      [0, 0, 1],
      [1, 2, 1],
    ]);
  });

  test('text without spaces has n-grams of characters', async () => {
    const evaluation = rowsOf('今日は天気がとても良いので散歩に行きましょう');
    const train = rowsOf(
      '彼は言った。「今日は天気が、とても良いので散歩に行きましょう」と。',
      '今日は雨',
    );
    expect(await pairs(train, evaluation)).toEqual([[0, 0, 1]]);
  });

  test('formats differ, text says what is compared, files are named', async () => {
    const [question, answer] = [words(12, 1), words(12, 2)];
    const train = [
      {
        messages: [
          { role: 'user', content: question },
          { role: 'assistant', content: answer },
        ],
      },
      { problem: 'not JSON', origin: { file: 'a.jsonl', row: 1, line: 2 } },
      {
        row: { prompt: question, completion: words(12, 3) },
        origin: { file: 'a.jsonl', row: 2, line: 3 },
      },
    ];
    const evaluation = [{ instruction: question, output: answer }];
    expect(await pairs(train, evaluation)).toEqual([
      [0, 0, 1],
      [0, 2, 0.29],
    ]);
    const leaks = await findLeaks(train.slice(1), evaluation, {
      text: (row) => String(row.prompt ?? row.instruction),
    });
    expect(leaks[0]).toMatchObject({
      trainIndex: 1,
      overlap: 1,
      trainOrigin: { file: 'a.jsonl', row: 2, line: 3 },
    });
  });
});

describe('boilerplate', () => {
  const prompt = 'You are a helpful assistant that answers every question in one short sentence:';
  const under = (text: string) => `${prompt} ${text}`;
  const evaluation = many(40, 12, 500).map(under);
  const train = many(400, 12, 5000).map(under);

  test('is told apart, and hides no leak', async () => {
    const leaking = [...train, evaluation[7]!, evaluation[7]!.toUpperCase()];
    const report = await leakReport(rowsOf(...leaking), rowsOf(...evaluation, prompt));
    expect(
      report.leaks.map(({ evalIndex, trainIndex, overlap }) => [evalIndex, trainIndex, overlap]),
    ).toEqual([
      [7, 400, 1],
      [7, 401, 1],
    ]);
    expect(report.boilerplate[0]).toEqual({
      text: 'you are a helpful assistant that answers every question in one short sentence',
      evalRows: 41,
      trainRows: 402,
    });
    expect(report.onlyBoilerplate).toEqual([40]);
    expect(report).toMatchObject({ evalRows: 41, trainRows: 402 });
    expect(await pairs(rowsOf(...leaking, prompt), rowsOf(...evaluation, prompt))).toContainEqual([
      40, 402, 1,
    ]);
  });

  test('is known with one evaluation row, too', async () => {
    expect(await pairs(rowsOf(...train), rowsOf(evaluation[0]!))).toEqual([]);
  });

  test('a leak that is in training many times is none, nor a passage of several questions', async () => {
    const passage = words(30, 77);
    const questions = many(4, 10, 900).map((question) => `${passage} ${question}`);
    const copies = Array.from({ length: 30 }, () => evaluation[3]!);
    const leaks = await pairs(
      rowsOf(...train, ...copies, questions[0]!),
      rowsOf(...evaluation, ...questions),
    );
    expect(leaks.filter(([row]) => row === 3)).toHaveLength(30);
    expect(leaks.filter(([row]) => row! >= 40)).toEqual([
      [40, 430, 1],
      [41, 430, 0.7],
      [42, 430, 0.7],
      [43, 430, 0.7],
    ]);
  });

  test('an answer that is everywhere names a thousand rows, no million, and says how many', async () => {
    const yes = rowsOf(...Array.from({ length: 5000 }, () => 'yes'));
    const leaks = await findLeaks(yes, yes.slice(0, 3));
    expect(leaks).toHaveLength(3000);
    expect(leaks.every(({ trainRows }) => trainRows === 5000)).toBe(true);
  });

  test('of more than a thousand rows those with the most are named, wherever they stand', async () => {
    const text = words(30, 1);
    const half = `${text.split(' ').slice(0, 15).join(' ')} ${words(15, 2)}`;
    // Beside many others, or what 1500 rows have would be a template.
    const others = many(14_000, 8, 100);
    const train = [...Array.from({ length: 1500 }, () => half), ...others];
    train.splice(700, 0, text);
    train.push(text);
    const leaks = await findLeaks(rowsOf(...train), rowsOf(text));
    expect(leaks).toHaveLength(1000);
    const [first, second, third] = leaks.map(({ trainIndex, overlap }) => [trainIndex, overlap]);
    expect([first, second]).toEqual([
      [700, 1],
      [15_501, 1],
    ]);
    expect(third).toEqual([0, 8 / 23]);
    expect(leaks[999]).toMatchObject({ trainIndex: 998, trainRows: 1502 });
  });
});

test('options that are wrong are named; a text that is none as well', async () => {
  await expect(findLeaks([], [], { n: 0 })).rejects.toThrow(/findLeaks: n is 0/);
  await expect(findLeaks([], [], { ngram: 5 } as never)).rejects.toThrow(/n\b/);
  await expect(findLeaks([{ a: 1 }], [], { text: (row) => row.a as string })).rejects.toThrow(
    'findLeaks: text gave number 1 for train[0]',
  );
});
