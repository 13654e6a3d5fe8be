import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MixOptions, type MixSource, mix, pipeline } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { temperatureShares } from '../../src/mix/shares.js';

const rowsOf = (name: string, size: number) =>
  Array.from({ length: size }, (_, i) => ({ id: `${name}${i}` }));
const source = (name: string, size: number, rest: Partial<MixSource> = {}): MixSource => ({
  name,
  rows: rowsOf(name, size),
  ...rest,
});
const idsOf = async (run: AsyncIterable<{ id?: unknown }>) => {
  const ids: string[] = [];
  for await (const { id } of run) ids.push(id as string);
  return ids;
};
const countsOf = (ids: readonly string[]) => {
  const counts: Record<string, number> = {};
  for (const id of ids) counts[id[0]!] = (counts[id[0]!] ?? 0) + 1;
  return counts;
};

interface Case {
  readonly sizes: readonly number[];
  readonly ids: readonly string[];
}
const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/mix.json', import.meta.url), 'utf8'),
) as {
  interleaved: (Case & { stopping: 'first_exhausted' })[];
  fractions: (Case & { weights: readonly number[] })[];
};

test('sources whose rows have several formats are told', async () => {
  const sft = [{ prompt: 'a', completion: 'b' }];
  const chats = [{ messages: [{ role: 'user', content: 'a' }] }];
  const { report } = await mix([
    { name: 'task', rows: sft },
    { name: 'general', rows: chats },
    { name: 'other', rows: [{ id: 1 }] },
  ]);
  expect(report.warnings).toEqual([
    expect.stringMatching(
      /several formats: "task" prompt-completion, "general" messages\. .*convertTo/,
    ),
  ]);
  const alike = await mix([
    { name: 'task', rows: sft },
    { name: 'general', rows: sft },
  ]);
  expect(alike.report.warnings).toEqual([]);
});

test.each(fixture.interleaved)(
  'interleaved as by datasets: $sizes, $stopping',
  async ({ sizes, stopping, ids }) => {
    const sources = sizes.map((size, i) => source('abcdef'[i]!, size));
    expect(await idsOf(mix(sources, { strategy: 'interleave', stopping }))).toEqual(ids);
    // The same from rows that can be read once.
    const once = sources.map(({ name, rows }) => ({
      name,
      rows: (async function* () {
        yield* rows as { id: string }[];
      })(),
    }));
    expect(await idsOf(mix(once, { strategy: 'interleave', stopping }))).toEqual(ids);
  },
);

test.each(fixture.fractions)('fractions as by TRL: $sizes, $weights', async (wanted) => {
  const sources = wanted.sizes.map((size, i) =>
    source('abcdef'[i]!, size, { weight: wanted.weights[i]! }),
  );
  expect(await idsOf(mix(sources, { strategy: 'concatenate' }))).toEqual(wanted.ids);
});

test('a ratio is a share of the result; sources without one give every row once', async () => {
  for (const ratio of [0.05, 0.08, 0.1]) {
    const ids = await idsOf(mix([source('a', 920), source('g', 5000, { ratio })]));
    const { a, g } = countsOf(ids);
    expect(a).toBe(920);
    // The row nearest to the share: off by half a row at most.
    expect(Math.abs(g! - ratio * ids.length)).toBeLessThanOrEqual(0.5);
    expect(new Set(ids).size).toBe(ids.length);
    // Every part has the shares of the whole, within one row.
    ids.forEach((_, i) => {
      const here = countsOf(ids.slice(0, i + 1)).g ?? 0;
      expect(Math.abs(here - (g! / ids.length) * (i + 1))).toBeLessThanOrEqual(1);
    });
  }
  // The rows that are drawn are in their order, and not the first ones.
  const { rows } = await mix([source('a', 92), source('g', 1000, { ratio: 0.08 })]);
  const drawn = rows.map(({ id }) => id as string).filter((id) => id[0] === 'g');
  const places = drawn.map((id) => Number(id.slice(1)));
  expect(places).toEqual([...places].sort((a, b) => a - b));
  expect(places.at(-1)).toBeGreaterThan(100);
});

test('a source that is too small is repeated in whole passes, or gives less, or is an error', async () => {
  const sources = [source('a', 90), source('g', 4, { ratio: 0.1 })];
  const { rows, report } = await mix(sources);
  const times = countsOf(
    rows.filter(({ id }) => (id as string)[0] === 'g').map(({ id }) => (id as string).slice(1)),
  );
  // 10 of 4 rows: each twice, two of them once more.
  expect(Object.values(times).sort()).toEqual([2, 2, 3, 3]);
  expect(report.warnings).toEqual([
    '"g" has 4 rows, and its share is 10: its rows come 2.5 times.',
  ]);
  expect(report.added).toEqual({ a: 90, g: 10 });
  const weighted = await mix([source('a', 90, { weight: 1 }), source('g', 30, { weight: 1 })]);
  expect(weighted.report.warnings).toEqual([
    '"g" has 30 rows, and its share is 60: its rows come 2.0 times.',
  ]);
  expect(countsOf(await idsOf(mix(sources, { onShortage: 'fewer' })))).toEqual({ a: 90, g: 4 });
  await expect(mix(sources, { onShortage: 'error' })).rejects.toThrow(
    'DATA_MIX_SHORT: "g" has 4 rows, and its share is 10.',
  );
});

test('ratios of all sources: the largest result without repeated rows', async () => {
  const ids = await idsOf(
    mix([source('a', 50, { ratio: 0.75 }), source('b', 10, { ratio: 0.25 })]),
  );
  expect(countsOf(ids)).toEqual({ a: 30, b: 10 });
});

test('uniform, weighted and temperature: counts are exact, passes whole', async () => {
  const plain = [source('a', 80), source('b', 20)];
  const uniform = await idsOf(mix(plain));
  expect(countsOf(uniform)).toEqual({ a: 50, b: 50 });
  // 50 of 20: each twice, ten a third time.
  const times = [...new Set(uniform)]
    .filter((id) => id[0] === 'b')
    .map((id) => uniform.filter((other) => other === id).length);
  expect(times.filter((n) => n === 2).length).toBe(10);
  expect(times.filter((n) => n === 3).length).toBe(10);
  const weighted = [source('a', 80, { weight: 2 }), source('b', 20, { weight: 1 })];
  expect(countsOf(await idsOf(mix(weighted, { total: 30 })))).toEqual({ a: 20, b: 10 });
  // sqrt(80) : sqrt(20) = 2 : 1.
  const tempered = mix(plain, { strategy: 'temperature', temperature: 2, total: 30 });
  expect(countsOf(await idsOf(tempered))).toEqual({ a: 20, b: 10 });
  const [p, q] = temperatureShares([1e9, 1], 0.01);
  expect([p, q]).toEqual([1, 0]);
});

test('drawn in turn by weights: proportions within the bound, determined by the seed', async () => {
  const n = 4000;
  const sources = [2, 1, 1].map((weight, i) => source('abc'[i]!, n, { weight, size: n }));
  const draw = (seed: number) =>
    idsOf(mix(sources, { strategy: 'interleave', stopping: 'first_exhausted', seed }));
  const first = await draw(1);
  expect(await draw(1)).toEqual(first);
  expect(await draw(2)).not.toEqual(first);
  // Which source is first at its end is "a", drawn with p = 1/2: the number of draws until then has
  // mean n / p, and b's count is Binomial(draws, 1/4). Five standard deviations: one run in a
  // million is further off; the seed is fixed.
  const share = (name: string) => first.filter((id) => id[0] === name).length / first.length;
  for (const [name, p] of [
    ['a', 0.5],
    ['b', 0.25],
    ['c', 0.25],
  ] as const)
    expect(Math.abs(share(name) - p)).toBeLessThan(5 * Math.sqrt((p * (1 - p)) / first.length));
  // Draws of neighbouring rows are independent: "a" follows "a" in half of the cases.
  let pairs = 0;
  for (let i = 1; i < first.length; i++)
    if (first[i]![0] === 'a' && first[i - 1]![0] === 'a') pairs++;
  // The variance of a pair's indicator is 3/16, and neighbours overlap: below 5/16 a row.
  expect(Math.abs(pairs / first.length - 0.25)).toBeLessThan(5 * Math.sqrt(5 / 16 / first.length));
  // Rows of a source come in their order.
  expect(first.filter((id) => id[0] === 'b').slice(0, 3)).toEqual(['b0', 'b1', 'b2']);
});

test('drawn in turn by weights: the three ends', async () => {
  const sources = [source('a', 3, { weight: 1 }), source('b', 50, { weight: 1 })];
  const ends = async (
    stopping: 'first_exhausted' | 'all_exhausted' | 'all_exhausted_without_replacement',
  ) => idsOf(mix(sources, { strategy: 'interleave', stopping }));
  const first = await ends('first_exhausted');
  expect(first.at(-1)).toBe('a2');
  const once = await ends('all_exhausted_without_replacement');
  expect([...once].sort()).toEqual(
    [...rowsOf('a', 3), ...rowsOf('b', 50)].map(({ id }) => id).sort(),
  );
  const all = await ends('all_exhausted');
  expect(all.at(-1)).toBe('b49');
  expect(all.filter((id) => id[0] === 'a').slice(0, 5)).toEqual(['a0', 'a1', 'a2', 'a0', 'a1']);
  // A source of weight 0 is not waited for.
  const zero = [source('a', 3, { weight: 1 }), source('b', 5, { weight: 0 })];
  const rows = mix(zero, { strategy: 'interleave', stopping: 'all_exhausted' });
  expect(await idsOf(rows)).toEqual(['a0', 'a1', 'a2']);
});

test('orders: random by seed with exact counts, or one behind the other', async () => {
  const sources = [source('a', 60), source('b', 400, { ratio: 0.4 })];
  const shuffled = await idsOf(mix(sources, { order: 'shuffle', seed: 3 }));
  expect(countsOf(shuffled)).toEqual({ a: 60, b: 40 });
  expect(await idsOf(mix(sources, { order: 'shuffle', seed: 3 }))).toEqual(shuffled);
  expect(await idsOf(mix(sources, { order: 'shuffle', seed: 4 }))).not.toEqual(shuffled);
  const behind = await idsOf(mix(sources, { order: 'concatenate' }));
  expect(behind.map((id) => id[0]).join('')).toBe('a'.repeat(60) + 'b'.repeat(40));
});

test.each(['uniform', 'interleave'] as const)('goes on where it was: %s', async (strategy) => {
  const sources = [source('a', 8), source('b', 5)];
  const stopping = strategy === 'interleave' && ({ stopping: 'all_exhausted' } as const);
  const options = { strategy, ...stopping, seed: 7 };
  const whole = await idsOf(mix(sources, options));
  for (let stop = 0; stop <= whole.length; stop++) {
    const run = mix(sources, options);
    const ids: string[] = [];
    if (stop > 0) for await (const { id } of run) if (ids.push(id as string) === stop) break;
    const state = JSON.parse(JSON.stringify(run.state()));
    const rest = await mix(sources, options, { from: state });
    expect([...ids, ...rest.rows.map(({ id }) => id)]).toEqual(whole);
    expect(rest.report.rowsOut).toBe(whole.length - stop);
  }
  const { state } = mix(sources, { ...options, seed: 8 });
  await expect(async () => mix(sources, options, { from: state() })).rejects.toThrow(
    'DATA_MIX_STATE',
  );
});

describe('a stranger’s options', () => {
  const [a, b] = [source('a', 10), source('b', 30)];
  const weighted = (weight: number): MixSource[] => [
    { ...a, weight },
    { ...b, weight },
  ];

  test.each([1e308, 5e-324])('weights of %d are in proportion', async (weight) => {
    const countedBy = async (options: MixOptions) =>
      countsOf(await idsOf(mix(weighted(weight), options)));
    expect(await countedBy({})).toEqual({ a: 20, b: 20 });
    expect(await countedBy({ strategy: 'concatenate' })).toEqual({ a: 10, b: 10 });
    const turns = {
      strategy: 'interleave',
      stopping: 'all_exhausted_without_replacement',
    } as const;
    const ids = await idsOf(mix(weighted(weight), turns));
    expect(countsOf(ids)).toEqual({ a: 10, b: 30 });
    expect(countsOf(ids.slice(0, 10)).a).toBeGreaterThan(1);
  });

  test('a temperature near 0 takes the largest, one near infinity all alike', async () => {
    const countedAt = async (temperature: number) =>
      countsOf(await idsOf(mix([a, b], { strategy: 'temperature', temperature })));
    for (const temperature of [1e-309, 1e-20])
      expect(await countedAt(temperature)).toEqual({ b: 40 });
    expect(await countedAt(1e308)).toEqual({ a: 20, b: 20 });
  });

  test.each<[MixOptions, string]>([
    [{ stopping: 'all_exhausted' }, 'stopping is all_exhausted, and the strategy is "uniform"'],
    [{ temperature: 3 }, 'temperature is 3, and the strategy is "uniform", which has none'],
    [{ strategy: 'concatenate', total: 5 }, 'total is 5, and the strategy is "concatenate"'],
    [{ strategy: 'interleave', take: 'first' }, 'take is first, and the strategy is "interleave"'],
    [{ strategy: 'interleave', order: 'shuffle' }, 'order is shuffle, and the strategy'],
    [{ strategy: 'interleave', onShortage: 'error' }, 'onShortage is error, and the strategy'],
  ])('%j: an option that is not read is an error', async (options, message) => {
    await expect(mix([a, b], options)).rejects.toThrow(`DATA_MIX_SHARES: ${message}`);
  });

  test('a ratio that asks for more rows than can be counted; a total that it does not read', async () => {
    await expect(mix([a, { ...b, ratio: 1 - 2 ** -53 }])).rejects.toThrow(
      'so that 10 rows are to be 1.1102230246251565e-16 of the result',
    );
    await expect(mix([a, { ...b, ratio: 0.5 }], { total: 8 })).rejects.toThrow(
      'total is 8, and "a" has no ratio: it gives all of its rows',
    );
  });

  test('one iterator for two sources', async () => {
    const rows = (function* () {
      yield* rowsOf('a', 4);
    })();
    const twice = [
      { name: 'a', rows },
      { name: 'b', rows },
    ];
    for (const strategy of ['uniform', 'interleave'] as const)
      await expect(mix(twice, { strategy })).rejects.toThrow('"a" and "b" are the same iterator');
    const same = rowsOf('a', 4);
    const array = twice.map(({ name }) => ({ name, rows: same }));
    expect(await idsOf(mix(array))).toHaveLength(8);
  });

  test('a size that is too small is noticed where a pass comes to its end', async () => {
    await expect(mix([{ ...a, size: 5 }, b])).rejects.toThrow(
      'DATA_MIX_CHANGED: "a" was to have 5 rows; this pass has more',
    );
  });

  test('a state that is none, or of more rows than there are', async () => {
    const { plan } = mix([a, b]).state();
    for (const from of [{}, 'x', { version: 1, given: -1, plan }, { version: 1, given: 0.5, plan }])
      expect(() => mix([a, b], {}, { from: from as never })).toThrow('DATA_MIX_STATE');
    await expect(mix([a, b], {}, { from: { version: 1, given: 41, plan } })).rejects.toThrow(
      'DATA_MIX_STATE: the state is behind 41 rows, and the mixture has 40',
    );
    expect((await mix([a, b], {}, { from: { version: 1, given: 40, plan } })).rows).toEqual([]);
  });

  test('names that objects have', async () => {
    const sources = ['__proto__', 'constructor'].map((name) => ({ ...a, name }));
    const { rows, report } = await mix(sources, { sourceColumn: 'constructor' });
    expect(Object.entries(report.added)).toEqual([
      ['__proto__', 10],
      ['constructor', 10],
    ]);
    expect(new Set(rows.map((row) => row.constructor))).toEqual(
      new Set(['__proto__', 'constructor']),
    );
  });
});

test('streams: rows of sources whose sizes are given are not read ahead', async () => {
  let read = 0;
  const endless: MixSource = {
    name: 'g',
    rows: {
      async *[Symbol.asyncIterator]() {
        for (;;) yield { id: `g${read++}` };
      },
    },
    size: 1e9,
    weight: 1,
  };
  const run = mix([source('a', 1e3, { weight: 1, size: 1e3 }), endless], {
    take: 'first',
    total: 2000,
  });
  let seen = 0;
  for await (const _ of run) if (++seen === 20) break;
  expect(read).toBe(10);
});

test('a source may be named in a column; places without a row are put aside once', async () => {
  const broken = {
    name: 'g',
    rows: [
      { row: { id: 'g0' }, origin: { file: 'g.jsonl', row: 0, line: 1 } },
      { problem: 'not JSON', origin: { file: 'g.jsonl', row: 1, line: 2 } },
    ],
  };
  const { rows, quarantined } = await mix([source('a', 3), broken], {
    sourceColumn: 'source',
    total: 6,
  });
  expect(rows).toEqual([
    { id: 'a0', source: 'a' },
    { id: 'g0', source: 'g' },
    { id: 'a1', source: 'a' },
    { id: 'g0', source: 'g' },
    { id: 'a2', source: 'a' },
    { id: 'g0', source: 'g' },
  ]);
  expect(quarantined).toHaveLength(1);
  const { report } = await pipeline(rowsOf('a', 3))
    .mix([{ ...broken, ratio: 0.25 }])
    .collect();
  expect(report).toMatchObject({ rowsIn: 5, rowsOut: 4, quarantined: 1, added: { g: 1 } });
  await expect(mix([source('a', 3), broken], { sourceColumn: 'id' })).rejects.toThrow(
    'DATA_COLUMN_TAKEN: rows of "a" have a column "id" already.',
  );
});

test('shares that make no mixture are explained', async () => {
  const fails = (sources: MixSource[], options = {}) =>
    expect((async () => mix(sources, options))()).rejects;
  const a = source('a', 3);
  await fails([a]).toThrow('one source ("a") is no mixture');
  await fails([a, source('a', 2)]).toThrow('two sources are called "a"');
  await fails([a, source('b', 0)]).toThrow('DATA_MIX_EMPTY: "b" has no rows to mix');
  await fails([a, source('b', 0)], { strategy: 'interleave' }).toThrow('DATA_MIX_EMPTY: "b"');
  await fails([source('a', 1, { weight: 0 }), source('b', 1, { weight: 0 })]).toThrow(
    'all weights are 0',
  );
  await fails([a, source('b', 1, { weight: -1 })]).toThrow(/weight/);
  await fails([a, source('b', 1, { weight: Number.NaN })]).toThrow(/weight/);
  await fails([a, source('b', 1, { weight: 1 })]).toThrow('"a" has no weight (a -, b 1)');
  await fails([a, source('b', 1, { ratio: 1 })]).toThrow('ratios sum to 1 (a -, b 1)');
  await fails([a, source('b', 1, { ratio: 8 })]).toThrow(/ratio/);
  await fails([a, source('b', 1, { ratio: 0.1, weight: 2 })]).toThrow('"b" has a weight beside');
  await fails([source('a', 3, { ratio: 0.5 }), source('b', 1, { ratio: 0.4 })]).toThrow(
    'ratios sum to 0.9 (a 0.5, b 0.4)',
  );
  await fails([a, source('b', 1, { ratio: 0.1 })], { strategy: 'uniform' }).toThrow(
    '"b" has a ratio, and the strategy is "uniform"',
  );
  await fails([a, source('b', 1)], { strategy: 'ratio' }).toThrow('no source has one');
  await fails([a, source('b', 1, { size: 4, ratio: 0.5 })]).toThrow(
    'DATA_MIX_CHANGED: "b" was to have 4 rows; this pass has 1.',
  );
});

test('rows may be the path of a file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'attune-mix-'));
  const file = join(folder, 'general.jsonl');
  await writeFile(file, '{"id":"g0"}\nbroken\n{"id":"g1"}\n');
  const { report, rows } = await pipeline(rowsOf('a', 6))
    .mix([{ name: 'general', rows: file, ratio: 0.25 }])
    .collect();
  expect(countsOf(rows.map(({ id }) => id as string))).toEqual({ a: 6, g: 2 });
  expect(report).toMatchObject({ rowsIn: 9, rowsOut: 8, quarantined: 1 });
  await rm(folder, { recursive: true });
});

test('in a pipeline: 8 % of what comes out, the rows that came in accounted for', async () => {
  const { rows, report } = await pipeline(rowsOf('a', 460))
    .mix([{ name: 'general', rows: rowsOf('g', 5000), ratio: 0.08 }])
    .collect();
  expect(countsOf(rows.map(({ id }) => id as string))).toEqual({ a: 460, g: 40 });
  expect(report).toMatchObject({ rowsOut: 500, added: { general: 40 }, dropped: {} });
  expect(report.stages.at(-1)!.facts.sources).toEqual([
    { name: 'rows', rows: 460, share: 0.92 },
    { name: 'general', rows: 40, share: 0.08 },
  ]);
  const few = await pipeline(rowsOf('a', 100))
    .mix([{ name: 'general', rows: rowsOf('g', 50), weight: 3 }], { own: { weight: 1 }, total: 60 })
    .collect();
  expect(few.report).toMatchObject({ dropped: { 'not drawn': 85 }, added: { general: 45 } });
  const turns = await pipeline(rowsOf('a', 10))
    .mix([{ name: 'general', rows: rowsOf('g', 4) }], { strategy: 'interleave' })
    .collect();
  expect(turns.report).toMatchObject({ dropped: { 'not drawn': 6 }, added: { general: 4 } });
  await expect(
    pipeline([])
      .mix([{ name: 'general', rows: rowsOf('g', 4), ratio: 0.1 }])
      .collect(),
  ).rejects.toThrow('"rows" has no rows to mix');
});
