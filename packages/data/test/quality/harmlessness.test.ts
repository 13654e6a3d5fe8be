import { Rng } from '@attune/core/util';
import { quality } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { wordFinder } from '../../src/quality/harmlessness/wordFinder.js';

const check = (options: object = {}) => ({
  checks: [{ name: 'harmlessness' as const, ...options }],
});

describe('words', () => {
  const plain = wordFinder(['badword', 'two words', 'müll', '死ね', '日本'], {
    isObfuscated: false,
  });
  test.each([
    ['A BadWord.', 'badword'],
    ['ｂａｄｗｏｒｄ', 'badword'],
    ['bad\u200bword', 'badword'],
    ['these two  words', 'two words'],
    ['Mu\u0308ll!', 'müll'],
    ["x, badword's", null],
    ['it is badword-', 'badword'],
    ['お前は死ね。', '死ね'],
  ])('%s', (text, word) => expect(plain.find(text)).toBe(word));
  test.each(['badwords', 'abadword', 'two other words', 'two', 'Müllers', 'b4dw0rd'])(
    'nothing in %s',
    (text) => expect(plain.find(text)).toBeNull(),
  );
  test('are found where a regular expression for words finds them', () => {
    const word = /[\p{L}\p{M}\p{N}_]+(?:['-][\p{L}\p{M}\p{N}_]+)*/gu;
    const list = ['i', 'go', "don't", 'été', '𐐨x', 'a-b', 'x_1'];
    const finder = wordFinder([...list, 'kill it'], { isObfuscated: false });
    const pieces = [
      ...'igokltdn',
      ' ',
      "'",
      '-',
      '.',
      'é',
      'ё',
      '😀',
      '_',
      '𐐨',
      'kill it',
      ...list,
    ];
    const rng = new Rng(0);
    let hits = 0;
    for (let n = 0; n < 5000; n++) {
      const text = Array.from({ length: 12 }, () => pieces[rng.below(pieces.length)]).join('');
      const words = text.match(word) ?? [];
      const read = words.map((found, i) => (words[i + 1] === 'it' ? `${found} it` : found));
      const first = words.find((found, i) => list.includes(found) || read[i] === 'kill it');
      const named = first === 'kill' ? 'kill it' : (first ?? null);
      expect(finder.find(text), JSON.stringify(text)).toBe(named);
      if (named !== null) hits++;
    }
    expect(hits).toBeGreaterThan(500);
  });

  test('words of scripts without spaces have borders, too', () => {
    expect(wordFinder(['京都'], { isObfuscated: false }).find('東京都に住む')).toBeNull();
    expect(wordFinder(['京都'], { isObfuscated: false }).find('京都に住む')).toBe('京都');
  });
  test('obfuscated words, when asked for', () => {
    const finder = wordFinder(['badword'], { isObfuscated: true });
    for (const text of ['b4dw0rd', 'b.a.d.w.o.r.d', 'b a d w o r d', 'bаdwоrd', 'baaaadword'])
      expect(finder.find(text)).toBe('badword');
    expect(finder.find('b a n d w i d t h of a road')).toBeNull();
  });
});

describe('harmlessness', () => {
  test('drops rows with words and personal data, and never repeats what it found', async () => {
    const rows = [
      { prompt: 'Hi', completion: 'Hello there.' },
      { prompt: 'Mail?', completion: 'Write to jo.miller@gmx.de.' },
      { prompt: 'Mail?', completion: 'Write to jo@example.com, from 10.0.0.1 or 93.184.216.34.' },
      {
        messages: [
          { role: 'user', content: 'go kill yourself' },
          { role: 'assistant', content: 'No.' },
        ],
      },
      { prompt: 'How do I kill a process in its master node?', completion: 'kill -9 1234' },
    ];
    const { rows: kept, dropped } = await quality(rows, check());
    expect(kept).toEqual([rows[0], rows[2], rows[4]]);
    expect(dropped.map(({ reason, detail }) => [reason, detail])).toEqual([
      ['email', undefined],
      ['harmful word', '"go kill yourself"'],
    ]);
    expect((await quality(rows, check({ minScore: 1 }))).rows).toEqual([rows[0], rows[4]]);
    expect(
      (await quality(rows, check({ pii: ['ip-address'], words: ['hello'] }))).dropped.map(
        ({ reason }) => reason,
      ),
    ).toEqual(['harmful word', 'ip-address']);
  });

  test('redacts all strings of a row, and leaves the row of the caller as it was', async () => {
    const row = {
      messages: [
        { role: 'user', content: 'I am jo@gmx.de' },
        { role: 'assistant', content: [{ type: 'text', text: 'Call (415) 867-5309.' }] },
      ],
      meta: { from: 'jo@gmx.de', n: 1 },
    };
    const before = structuredClone(row);
    const { rows, report } = await quality([row, { text: 'Nothing.' }], check({ redact: true }));
    expect(rows).toEqual([
      {
        messages: [
          { role: 'user', content: 'I am [EMAIL]' },
          { role: 'assistant', content: [{ type: 'text', text: 'Call [PHONE].' }] },
        ],
        meta: { from: '[EMAIL]', n: 1 },
      },
      { text: 'Nothing.' },
    ]);
    expect(row).toEqual(before);
    expect(report.facts).toEqual({ rowsRedacted: 1 });
  });

  test('asks a classifier in batches', async () => {
    const asked: number[] = [];
    const classifier = async (texts: readonly string[]) => {
      asked.push(texts.length);
      return texts.map((text) => (text.includes('bad') ? 0.9 : 0.1));
    };
    const rows = Array.from({ length: 5 }, (_, i) => ({ text: i === 3 ? 'bad' : 'fine' }));
    const { dropped, rows: kept } = await quality(rows, check({ classifier, batchSize: 2 }));
    expect(asked).toEqual([2, 2, 1]);
    expect(kept).toHaveLength(4);
    expect(dropped.map(({ reason, detail }) => [reason, detail])).toEqual([
      ['classified as harmful', 'score 0.900'],
    ]);
    for (const answer of [[0.1], ['x', 1], [2, 0], 'no', [Number.NaN, 0]])
      await expect(
        quality(rows, check({ classifier: () => answer, batchSize: 2 })),
      ).rejects.toMatchObject({ code: 'DATA_CLASSIFIER' });
  });
});
