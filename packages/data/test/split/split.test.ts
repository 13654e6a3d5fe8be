import { type DataRow, groupSplit, pipeline, type SplitOptions } from '@attune/data';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HashNumbers, hash64 } from '../../src/split/hash64.js';
import { assignSides, SIDES } from '../../src/split/sides.js';

const rowsOf = (groups: number, each: number) =>
  Array.from({ length: groups * each }, (_, i) => ({ id: i, doc: `d${i % groups}` }));
const groupsOf = (rows: readonly { readonly doc?: unknown }[]) =>
  new Set(rows.map(({ doc }) => doc));

describe('row 117: 20 groups, seed 42', () => {
  const rows = rowsOf(20, 5);
  const options = { groupBy: 'doc', testSize: 0.25, seed: 42 };

  test('ceil(share * groups) are held out, none is on two sides, rows keep their order', async () => {
    const { train, test: held, validation, report } = await groupSplit(rows, options);
    expect([groupsOf(train).size, groupsOf(held).size]).toEqual([15, 5]);
    expect(validation).toBeUndefined();
    expect(train.length + held.length).toBe(100);
    expect([...groupsOf(train)].filter((doc) => groupsOf(held).has(doc))).toEqual([]);
    expect(report).toEqual({
      groupsShared: 0,
      groups: { train: 15, validation: 0, test: 5 },
      rows: { train: 75, validation: 0, test: 25 },
      rowsWithoutGroup: 0,
      warnings: [],
    });
    const ids = train.map(({ id }) => id as number);
    expect(ids).toEqual([...ids].sort((a, b) => a - b));
    for (const [testSize, wanted] of [
      [0.1, 2],
      [0.11, 3],
      [0.01, 1],
      [0.94, 19],
      [1, 1],
      [19, 19],
    ] as const) {
      const { test: some } = await groupSplit(rows, { ...options, testSize });
      expect(groupsOf(some).size).toBe(wanted);
    }
  });

  test('depends on the seed and the groups, not on the order of rows', async () => {
    const { test: held } = await groupSplit(rows, options);
    const turned = await groupSplit([...rows].reverse(), options);
    expect(groupsOf(turned.test)).toEqual(groupsOf(held));
    const others = await Promise.all(
      [1, 2, 3].map((seed) => groupSplit(rows, { ...options, seed })),
    );
    expect(others.some(({ test: other }) => !equal(groupsOf(other), groupsOf(held)))).toBe(true);
    // A seed beyond 32 bits is another seed.
    const far = await groupSplit(rows, { ...options, seed: 2 ** 33 + 42 });
    expect(groupsOf(far.test)).not.toEqual(groupsOf(held));
  });

  test('three ways', async () => {
    const parts = await groupSplit(rows, { ...options, testSize: 0.1, validationSize: 3 });
    expect(parts.report.groups).toEqual({ train: 15, validation: 3, test: 2 });
    expect(groupsOf(parts.validation!).size).toBe(3);
    expect(new Set([...parts.train, ...parts.validation!, ...parts.test]).size).toBe(100);
    // The test side stays what it is without a validation side.
    const two = await groupSplit(rows, { ...options, testSize: 0.1 });
    expect(parts.test).toEqual(two.test);
  });
});

const equal = (a: ReadonlySet<unknown>, b: ReadonlySet<unknown>) =>
  a.size === b.size && [...a].every((x) => b.has(x));

test('each group is as likely to be held out as any other', () => {
  const groups = new HashNumbers();
  for (let i = 0; i < 10; i++) groups.add(hash64(`d${i}`));
  const held = new Uint32Array(10);
  const runs = 4000;
  for (let seed = 0; seed < runs; seed++)
    for (const [group, side] of assignSides(
      groups,
      { testSize: 0.3, validationSize: 0 },
      seed,
      null,
    ).entries())
      if (SIDES[side] === 'test') held[group]!++;
  // Binomial(4000, 0.3) of each group: within five standard deviations.
  for (const count of held)
    expect(Math.abs(count - 0.3 * runs)).toBeLessThan(5 * Math.sqrt(runs * 0.3 * 0.7));
});

test('any rows, any sizes: every row is on one side, counts are those asked for', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ doc: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constant(null)) }), {
        minLength: 1,
        maxLength: 40,
      }),
      fc.double({ min: 0.01, max: 0.6, noNaN: true }),
      fc.double({ min: 0, max: 0.3, noNaN: true }),
      fc.nat(),
      async (rows, testSize, validationSize, seed) => {
        fc.pre(rows.some(({ doc }) => doc !== null));
        const known = new Set(rows.map(({ doc }) => doc).filter((doc) => doc !== null)).size;
        const groups = known + rows.filter(({ doc }) => doc === null).length;
        const counts = [testSize, validationSize].map((size) => Math.ceil(size * groups));
        const split = groupSplit(rows, { groupBy: 'doc', testSize, validationSize, seed });
        if (counts[0]! + counts[1]! >= groups) {
          await expect(split).rejects.toThrow('DATA_SPLIT_EMPTY');
          return;
        }
        const { report, train, validation = [], test: held } = await split;
        expect(train.length + validation.length + held.length).toBe(rows.length);
        expect([report.groups.test, report.groups.validation]).toEqual(counts);
        expect(report.groupsShared).toBe(0);
      },
    ),
    { numRuns: 60 },
  );
});

test('groups: paths, functions, numbers as text, rows without a value, copies of a row', async () => {
  const rows = Array.from({ length: 40 }, (_, i) => ({
    meta: { id: i % 2 === 0 ? i >> 2 : `${i >> 2}`, list: [{ id: i % 4 }] },
    'dotted.name': i % 5,
  }));
  const groups = async (groupBy: string | ((row: object) => unknown)) => {
    const { report } = await groupSplit(rows, { groupBy });
    const { train, test: held } = report.groups;
    return train + held;
  };
  expect(await groups('meta.id')).toBe(10);
  expect(await groups('meta.list.0.id')).toBe(4);
  expect(await groups('dotted.name')).toBe(5);
  expect(await groups('meta')).toBe(40);
  expect(await groups((row) => BigInt((row as { meta: { id: string } }).meta.id) % 3n)).toBe(3);

  const mixed = [...rowsOf(5, 2), { id: 'x' }, { id: 'y', doc: null }, { id: 'z', doc: '' }];
  const { report } = await groupSplit(mixed, { groupBy: 'doc' });
  expect(report).toMatchObject({ rowsWithoutGroup: 3, groups: { train: 7, test: 1 } });
  await expect(groupSplit(mixed, { groupBy: 'doc', onMissing: 'error' })).rejects.toThrow(
    'DATA_SPLIT_NO_GROUP: rows[10] has no value of "doc"',
  );

  // The general rows are too few, and come five times: each is on one side with all of its copies.
  const { rows: all } = { rows: [] as DataRow[] };
  const copies = pipeline(rowsOf(100, 9))
    .mix([{ name: 'general', rows: [{ g: 0 }, { g: 1 }, { g: 2 }, { g: 3 }], ratio: 0.1 }])
    .split({ groupBy: 'doc', testSize: 0.4 });
  for await (const row of copies.rows()) all.push(row);
  const sides = new Map<unknown, Set<unknown>>();
  for (const { row, split } of all.filter(({ row }) => 'g' in row))
    sides.set(row.g, (sides.get(row.g) ?? new Set()).add(split));
  expect([...sides.values()].map(({ size }) => size)).toEqual([1, 1, 1, 1]);
});

test('by file', async () => {
  const rows = ['a', 'b', 'c', 'd'].flatMap((file) =>
    Array.from({ length: 30 }, (_, row) => ({ row: { file }, origin: { file, row } })),
  );
  const { train, test: held, report } = await groupSplit(rows, { bySource: true, testSize: 1 });
  expect(new Set(held.map(({ file }) => file)).size).toBe(1);
  expect(train.length).toBe(90);
  expect(report.warnings).toEqual([]);
  const { report: shares } = await groupSplit(
    [
      ...rows,
      ...Array.from({ length: 400 }, (_, row) => ({
        row: { file: 'e' },
        origin: { file: 'e', row },
      })),
    ],
    { bySource: true, testSize: 0.2 },
  );
  expect(shares.warnings[0]).toMatch(/test is 20.0 % of the groups and (5.8|76.9) % of the rows/);
});

test('strata: largest remainders; small ones are named', async () => {
  const rows = [
    ...Array.from({ length: 60 }, (_, i) => ({ doc: `a${i}`, kind: 'code' })),
    ...Array.from({ length: 30 }, (_, i) => ({ doc: `b${i}`, kind: 'chat' })),
    ...Array.from({ length: 9 }, (_, i) => ({ doc: `c${i}`, kind: 'math' })),
    { doc: 'd', kind: 'rare' },
  ];
  const options = { groupBy: 'doc', stratifyBy: 'kind', testSize: 0.1, validationSize: 0.1 };
  const { report } = await groupSplit(rows, options);
  expect(report.groups).toEqual({ train: 80, validation: 10, test: 10 });
  expect(report.strata).toEqual([
    { name: 'chat', groups: { train: 24, validation: 3, test: 3 } },
    { name: 'code', groups: { train: 48, validation: 6, test: 6 } },
    { name: 'math', groups: { train: 7, validation: 1, test: 1 } },
    { name: 'rare', groups: { train: 1, validation: 0, test: 0 } },
  ]);
  expect(report.warnings).toEqual(['strata without a group on every side: "rare".']);
  const turned = await groupSplit([...rows].reverse(), options);
  expect(groupsOf(turned.test)).toEqual(groupsOf((await groupSplit(rows, options)).test));

  // A group of several strata is in that of most of its rows.
  const several = [
    ...rows,
    ...['math', 'chat', 'chat', 'math', 'math'].map((kind) => ({ doc: 'e', kind })),
  ];
  const { report: mixed } = await groupSplit(several, options);
  expect(mixed.groupsOfSeveralStrata).toBe(1);
  const math = mixed.strata!.find(({ name }) => name === 'math')!.groups;
  expect(math.train + math.validation + math.test).toBe(10);
});

test('groups with nearly equal rows are joined', async () => {
  const text = (n: number) =>
    Array.from({ length: 60 }, (_, i) => `w${(i * 7919 + n * 104_729 + i * i * n) % 1000}`);
  const rows = Array.from({ length: 60 }, (_, i) => {
    const own = text(Math.floor(i / 3));
    // Three documents with the same text but for a word.
    own[59] = `end${i % 3}`;
    return { doc: `d${i}`, text: own.join(' '), third: Math.floor(i / 3) };
  });
  const options = { groupBy: 'doc', testSize: 0.5, nearDuplicates: 0.8 };
  const { train, test: held, report } = await groupSplit(rows, options);
  expect(report).toMatchObject({ groupsJoined: 40, groups: { train: 10, test: 10 } });
  expect([train.length, held.length]).toEqual([30, 30]);
  const thirds = new Set(train.map(({ third }) => third));
  expect(held.some(({ third }) => thirds.has(third))).toBe(false);
  const turned = await groupSplit([...rows].reverse(), options);
  expect(groupsOf(turned.test)).toEqual(groupsOf(held));
  const apart = await groupSplit(rows, { ...options, nearDuplicates: 1 });
  expect(apart.report.groupsJoined).toBe(0);
});

test('what can not be split is explained', async () => {
  const fails = (rows: Parameters<typeof groupSplit>[0], options: object) =>
    expect((async () => groupSplit(rows, options))()).rejects;
  await fails([], {}).toThrow('DATA_SPLIT_EMPTY: no rows came to the split');
  await fails(rowsOf(1, 9), { groupBy: 'doc' }).toThrow(
    'there is 1 group, test takes 1: nothing is left for train',
  );
  await fails(rowsOf(2, 9), { groupBy: 'doc', validationSize: 0.1 }).toThrow(
    'there are 2 groups, test takes 1, validation 1: nothing is left for train',
  );
  await fails(rowsOf(9, 1), { groupBy: 'dok' }).toThrow(
    'none of 9 rows has a value of "dok". Did you mean "doc"?',
  );
  await fails(rowsOf(9, 1), { groupBy: 'doc', bySource: true }).toThrow(/use one of the two/);
  for (const testSize of [0, -0.1, 1.5, Number.NaN])
    await fails(rowsOf(9, 1), { testSize }).toThrow(/testSize/);
  let calls = 0;
  await fails(rowsOf(9, 1), { groupBy: () => calls++ }).toThrow(
    'DATA_SPLIT_UNSTABLE: a function gives rows[0] another group when it is asked again',
  );
});

describe('what groups a row', () => {
  const sidesOf = async (keys: readonly unknown[], options: SplitOptions = {}) => {
    const rows = keys.map((key, id) => ({ id, key }));
    const {
      train,
      test: held,
      report,
    } = await groupSplit(rows, {
      groupBy: 'key',
      testSize: 1,
      ...options,
    });
    const side = new Map(held.map(({ id }) => [id, 'test']));
    expect(train.length + held.length).toBe(keys.length);
    return { report, isTogether: (a: number, b: number) => side.get(a) === side.get(b) };
  };

  test('numbers that are none are no value, whatever they become in a file', async () => {
    const { report } = await sidesOf([
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1,
      undefined,
      null,
      '',
    ]);
    expect(report).toMatchObject({ rowsWithoutGroup: 5, groups: { train: 5, test: 1 } });
  });

  test('dates and objects, in whatever order their keys stand', async () => {
    const keys = [{ a: 1, b: [{ c: 2, d: 3n }] }, 'other', { b: [{ d: 3, c: 2 }], a: 1 }];
    const objects = await sidesOf(keys);
    expect(objects.report.groups).toMatchObject({ train: 1, test: 1 });
    expect(objects.isTogether(0, 2)).toBe(true);
    const day = '2026-01-02T00:00:00.000Z';
    const dates = await sidesOf([day, 'other', '2026-01-02'], {
      groupBy: ({ id, key }) => (id === 2 ? new Date(key as string) : key),
    });
    expect(dates.isTogether(0, 2)).toBe(true);
  });

  test('names that objects have are groups and strata as others are', async () => {
    const keys = ['__proto__', 'constructor', 'toString', '__proto__', 'a', 'b'];
    const { report, isTogether } = await sidesOf(keys, { stratifyBy: 'key', testSize: 2 });
    expect(isTogether(0, 3)).toBe(true);
    expect(report.groups).toMatchObject({ train: 3, test: 2 });
    expect(report.strata!.map(({ name }) => name)).toEqual([
      '__proto__',
      'a',
      'b',
      'constructor',
      'toString',
    ]);
    for (const groupBy of ['constructor', '__proto__'])
      await expect(sidesOf(keys, { groupBy })).rejects.toThrow('DATA_SPLIT_NO_GROUP');
  });

  test('a place in a list is a number', async () => {
    expect((await sidesOf([['a'], ['b'], ['a']], { groupBy: 'key.0' })).isTogether(0, 2)).toBe(
      true,
    );
    for (const groupBy of ['key.', 'key.0x0', 'key.-1', 'key.length'])
      await expect(sidesOf([['a'], ['b']], { groupBy })).rejects.toThrow('DATA_SPLIT_NO_GROUP');
  });

  test('what a function gives has to be there, and be a value', async () => {
    for (const value of [Promise.resolve(1), Symbol('x'), () => 1])
      for (const options of [{ groupBy: () => value }, { stratifyBy: () => value }])
        await expect(sidesOf([1, 2, 3], options)).rejects.toThrow(
          'DATA_KEY: split: a function gave',
        );
  });

  test('a stratum that no row has is an error; one that some have not is told', async () => {
    await expect(sidesOf([1, 2, 3], { stratifyBy: 'keys' })).rejects.toThrow(
      'DATA_SPLIT_NO_STRATUM: none of 3 rows has a value of "keys". Did you mean "key"?',
    );
    const stratifyBy = ({ id }: { readonly id?: unknown }) => ((id as number) < 4 ? 'x' : null);
    const { report } = await sidesOf([1, 2, 3, 4, 5, 6], { stratifyBy, testSize: 2 });
    expect(report.warnings).toContain(
      '2 rows have no value of a function; they are the stratum "none".',
    );
  });
});

test('in a pipeline: the report says that no group is shared', async () => {
  const { report, splits } = await pipeline(rowsOf(20, 3), { seed: 5 })
    .split({ groupBy: 'doc', testSize: 0.1 })
    .collect();
  expect(report).toMatchObject({ groupsShared: 0, splits: { train: 54, validation: 0, test: 6 } });
  expect(splits.test.length).toBe(6);
});

test('hashes: numbers in order of first sight; 200,000 texts all apart', () => {
  const numbers = new HashNumbers();
  let odd = 0;
  for (let i = 0; i < 200_000; i++) if (numbers.add(hash64(`doc-${i}`)) !== i) odd++;
  expect(odd).toBe(0);
  expect(numbers.find(hash64('doc-77'))).toBe(77);
  expect(numbers.find(hash64('none'))).toBe(-1);
  // Low bits are even: 64 buckets of 200,000 differ by no more than five standard deviations.
  const buckets = new Uint32Array(64);
  for (let i = 0; i < numbers.length; i++) buckets[numbers.at(i)[1] & 63]!++;
  for (const count of buckets)
    expect(Math.abs(count - 3125)).toBeLessThan(5 * Math.sqrt(200_000 * (1 / 64) * (63 / 64)));
});
