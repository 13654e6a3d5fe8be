import { detectLanguage, quality } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { countVector, hashesOf } from '../../src/quality/clusters/textVectors.js';
import { NgramCounts } from '../../src/quality/diversity/ngramCounts.js';

const THINGS = 'apple bread chair door engine flower garden house island jacket'.split(' ');
const sum = (i: number) => ({
  prompt: `Add the numbers ${i} and ${i + 1}, and say what their sum is.`,
  completion: `${i} + ${i + 1} = ${2 * i + 1}\n#### ${2 * i + 1}`,
});
const describe_ = (i: number) => ({
  prompt: `Describe the ${THINGS[i % 10]} of your neighbour as JSON with its colour and size.`,
  completion: JSON.stringify({ colour: 'red', size: i }),
});
const rows = Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? sum(i) : describe_(i)));

describe('consistency', () => {
  const checks = [{ name: 'consistency' as const, clusters: 2 }];

  test('an answer that is written otherwise than those to its kind of question is odd', async () => {
    const given = rows.map((row, i) =>
      i === 100
        ? { ...row, completion: 'It is 201.' }
        : i === 201
          ? { ...row, completion: 'It is red and small.' }
          : row,
    );
    const { dropped, rows: kept, report } = await quality(given, { checks });
    expect(dropped.map(({ reason, row }) => [row.origin.row, reason])).toEqual([
      [100, 'odd answer tag'],
      [201, 'odd format'],
    ]);
    expect(dropped[1]!.detail).toMatch(
      /^text, where 199 of 200 are JSON, in the cluster ".*colour/,
    );
    expect(kept).toHaveLength(398);
    expect(report.facts.answerStyles).toHaveLength(2);
  });

  test('what the question asks for is not odd', async () => {
    const asking = (thing: string, how: string) =>
      `Tell me about the ${thing} number 7 of your neighbour${how}.`;
    // Each has a word of its own, as questions have.
    const tell = (i: number) => ({
      prompt: asking(
        THINGS[i % 10]!,
        ` called x${'abcdefghij'[i % 10]}${'klmnopqrstuvwxyzabcd'[Math.floor(i / 10)]}`,
      ),
      completion: `The ${THINGS[i % 10]} is red. It has the size ${i}.`,
    });
    const asked = [
      { prompt: asking('chair', ' as JSON'), completion: '{"a": 1}' },
      { prompt: asking('chair', ' in how many words'), completion: '42' },
      { prompt: asking('door', ' in Russian'), completion: 'Она красная.' },
      {
        prompt: asking(
          'door',
          ': как она выглядит сегодня и какого она цвета, скажи мне сейчас же пожалуйста, дорогой друг',
        ),
        completion: 'Она красная.',
      },
    ];
    const odd = [
      { prompt: asking('chair', ''), completion: '{"a": 1}' },
      { prompt: asking('door', ''), completion: 'Она красная.' },
    ];
    const given = [...Array.from({ length: 200 }, (_, i) => tell(i)), ...asked, ...odd];
    const { dropped } = await quality(given, { checks: [{ name: 'consistency', clusters: 1 }] });
    expect(dropped.map(({ row, reason }) => [row.origin.row, reason])).toEqual([
      [204, 'odd format'],
      [205, 'odd script'],
    ]);
  });

  test('nothing is odd in small clusters, in mixed ones, and in clean data', async () => {
    const odd = { ...rows[0]!, completion: 'It is 201.' };
    expect((await quality(rows, { checks })).dropped).toEqual([]);
    expect((await quality([...rows.slice(0, 40), odd], { checks })).dropped).toEqual([]);
    const mixed = rows.map((row, i) => (i % 10 === 0 ? { ...row, completion: `${i}` } : row));
    expect((await quality(mixed, { checks })).dropped).toEqual([]);
    expect((await quality([], { checks })).rows).toEqual([]);
    expect((await quality([{ text: 'a' }, { prompt: 'b' }], { checks })).dropped).toEqual([]);
  });
});

describe('diversity', () => {
  test('reports clusters, n-grams and lengths, and drops nothing', async () => {
    const { dropped, report } = await quality(rows, {
      checks: [{ name: 'diversity', clusters: 2 }],
    });
    expect(dropped).toEqual([]);
    const clusters = report.facts.clusters as { name: string; rows: number; kept: number }[];
    expect(clusters.map((cluster) => [cluster.rows, cluster.kept])).toEqual([
      [200, 200],
      [200, 200],
    ]);
    expect(clusters.map(({ name }) => name).join(' ')).toMatch(/colour/);
    const ngrams = report.facts.ngrams as { n: number; distinct: number; entropyBits: number }[];
    expect(ngrams.map(({ n }) => n)).toEqual([1, 2, 3]);
    expect(ngrams[0]!.distinct).toBeLessThan(ngrams[2]!.distinct);
    expect(report.facts.lengths).toMatchObject({
      words: { min: expect.any(Number), max: expect.any(Number) },
    });
  });

  test('a cap keeps the first rows of each cluster; the seed alone decides', async () => {
    const check = { name: 'diversity' as const, clusters: 2, maxPerCluster: 10 };
    const first = await quality(rows, { checks: [check] }, { seed: 7 });
    expect(first.rows).toEqual(rows.slice(0, 20));
    expect(first.report.dropped).toEqual({ 'crowded cluster': 380 });
    const again = await quality(rows, { checks: [check] }, { seed: 7 });
    expect(again.report.facts).toEqual(first.report.facts);
    expect((await quality([], { checks: [check] })).rows).toEqual([]);
  });

  test('distinct-n and entropy are those of their definitions', () => {
    const counts = new NgramCounts(2);
    // ab, bc, ca, ab, bc: three different of five.
    counts.add(Uint32Array.of(1, 2, 3, 1, 2, 3));
    const { distinct, entropy } = counts.summary()!;
    expect(distinct).toBeCloseTo(3 / 5, 5);
    expect(entropy).toBeCloseTo(-(2 * 0.4 * Math.log2(0.4) + 0.2 * Math.log2(0.2)), 10);
    expect(new NgramCounts(3).summary()).toBeNull();
  });
});

test('words of a text in ASCII have the hashes that they have in any text', () => {
  const text = "It's 12 o'clock_ab12, e-mail: A.B (x9y)  ";
  expect(hashesOf(text)).toHaveLength(14);
  expect(hashesOf(`${text} é`).slice(0, -1)).toEqual(hashesOf(text));
  expect(hashesOf('')).toHaveLength(0);
  const { buckets, values } = countVector('a b a a');
  expect([...values].sort()).toEqual([1, Math.fround(1 + Math.log(3))]);
  expect(buckets[0]!).toBeLessThan(buckets[1]!);
});

describe('language', () => {
  test.each([
    ['en', 'Hello, how are you?'],
    ['en', 'Use `ls -la` to list all files in the directory.'],
    ['en', 'Translate to French: I am hungry.'],
    ['de', 'Guten Morgen, wie geht es dir?'],
    [
      'de',
      'Die Funktion `print(x)` gibt den Wert aus:\n```python\nprint("hello there my friend")\n```',
    ],
    ['fr', 'Bonjour tout le monde, comment allez-vous ?'],
    ['es', 'Hola, ¿cómo estás?'],
    ['it', 'Ciao, come stai oggi?'],
    ['pt', 'Ela gosta de ler livros à noite e não dorme.'],
    ['nl', 'Het regent vandaag en de hond wil niet naar buiten.'],
    ['sv', 'Det regnar idag och hunden vill inte gå ut.'],
    ['pl', 'Dzisiaj pada deszcz i pies nie chce wyjść na dwór.'],
    ['tr', 'Bugün yağmur yağıyor ve köpek dışarı çıkmak istemiyor.'],
    ['ru', 'Привет, как дела? Сегодня идёт дождь.'],
    ['zh', '你好'],
    ['ja', 'こんにちは'],
    ['ja', '今日は雨です。'],
    ['ko', '안녕하세요'],
    ['el', 'Καλημέρα'],
    ['und', 'View line 500 in gzipped file "bigfile.z"'],
    ['und', "Search /var for files matching '.*/tmp/.*[0-9]*.file'"],
    ['und', 'b'.repeat(300)],
    ['und', 'ok'],
    ['und', '42'],
    ['und', ''],
    ['und', 'find . -name "*.txt" -print | xargs grep foo'],
    ['und', 'https://example.com/der/die/das'],
  ])('%s: %s', (language, text) => {
    const found = detectLanguage(text);
    expect(found.language).toBe(language);
    expect(found.confidence).toBeGreaterThanOrEqual(0);
    expect(found.confidence).toBeLessThanOrEqual(1);
    if (language === 'und') expect(found.confidence).toBe(0);
  });

  test('rows of other languages go, unknown ones as it is said', async () => {
    const given = [
      { prompt: 'x', completion: 'This is the answer to your question.' },
      { prompt: 'x', completion: 'Das ist die Antwort auf deine Frage und nicht mehr.' },
      { prompt: 'x', completion: 'ls -la' },
    ];
    const check = { name: 'language' as const, languages: ['en'] };
    expect((await quality(given, { checks: [check] })).rows).toEqual([given[0], given[2]]);
    const strict = await quality(given, { checks: [{ ...check, unknown: 'drop' }] });
    expect(strict.report.dropped).toEqual({ 'other language': 1, 'unknown language': 1 });
    const prompts = given.map(({ prompt, completion }) => ({
      prompt: completion,
      completion: prompt,
    }));
    expect(
      (await quality(prompts, { checks: [{ ...check, of: 'prompt' }] })).report.dropped,
    ).toEqual({ 'other language': 1 });
  });
});
