import { curriculum, pipeline } from '@attune/data';
import { expect, test } from 'vitest';
import { competence } from '../../src/curriculum/pacing.js';

const rows = Array.from({ length: 200 }, (_, i) => ({ id: i, loss: (i * 77) % 200 }));
const lossesOf = async (options: Parameters<typeof curriculum>[1], services = {}) =>
  (await curriculum(rows, options, services)).rows.map(({ loss }) => loss as number);

test('sorted: easy to hard, or hard to easy; equal rows stay in their order', async () => {
  expect(await lossesOf({ by: 'loss' })).toEqual(Array.from({ length: 200 }, (_, i) => i));
  expect(await lossesOf({ by: ({ loss }) => loss as number, order: 'descending' })).toEqual(
    Array.from({ length: 200 }, (_, i) => 199 - i),
  );
  const texts = ['aaaa', 'b', 'cc', 'd', 'ee'].map((text) => ({ text }));
  const { rows: sorted } = await curriculum(texts, { by: 'length' });
  expect(sorted.map(({ text }) => text)).toEqual(['b', 'd', 'cc', 'ee', 'aaaa']);
});

test('in stages: each is a bucket in random order, by seed', async () => {
  const losses = await lossesOf({ by: 'loss', stages: 4, seed: 1 });
  for (let stage = 0; stage < 4; stage++) {
    const bucket = losses.slice(50 * stage, 50 * (stage + 1));
    expect([...bucket].sort((a, b) => a - b)).toEqual(
      Array.from({ length: 50 }, (_, i) => 50 * stage + i),
    );
    expect(bucket).not.toEqual([...bucket].sort((a, b) => a - b));
  }
  expect(await lossesOf({ by: 'loss', stages: 4 }, { seed: 1 })).toEqual(losses);
  expect(await lossesOf({ by: 'loss', stages: 4, seed: 2 })).not.toEqual(losses);
});

test.each(['linear', 'root'] as const)(
  '%s: no row comes before its time, each once',
  async (pacing) => {
    const [start, duration] = [0.05, 0.8];
    const losses = await lossesOf({ by: 'loss', pacing, start, duration });
    expect(new Set(losses).size).toBe(200);
    losses.forEach((loss, i) => {
      const c = competence(i / 200, { pacing, start, duration, stages: 1 });
      expect(loss).toBeLessThan(Math.max(i + 1, Math.round(c * 200)));
    });
    // Hard rows come before the end: the order is not the sorted one.
    expect(losses.findIndex((loss) => loss >= 190)).toBeLessThan(170);
  },
);

test('step: a stage has as many rows as places, where they do not divide either', async () => {
  for (const [count, stages] of [
    [10, 3],
    [11, 4],
    [7, 5],
    [200, 7],
  ] as const) {
    const rows = Array.from({ length: count }, (_, loss) => ({ loss }));
    const lasts = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const { rows: ordered } = await curriculum(rows, { by: 'loss', stages, seed });
      const losses = ordered.map(({ loss }) => loss as number);
      let begin = 0;
      for (let stage = 1; stage <= stages; stage++) {
        const end = Math.ceil((count * stage) / stages);
        expect(Math.max(...losses.slice(begin, end))).toBe(end - 1);
        expect(Math.min(...losses.slice(begin, end))).toBe(begin);
        begin = end;
      }
      lasts.add(losses[Math.ceil(count / stages) - 1]!);
    }
    // No place of a stage is that of one row alone.
    expect(lasts.size).toBeGreaterThan(1);
  }
});

test('options that a pacing does not read; a column called length', async () => {
  for (const [options, message] of [
    [{ start: 0.5 }, 'start belongs to'],
    [{ start: 0.5, stages: 3 }, 'start belongs to'],
    [{ duration: 0.5 }, 'duration belongs to'],
  ] as const)
    expect(() => curriculum([], { by: 'loss', ...options })).toThrow(message);
  const { report, rows } = await curriculum(
    [
      { text: 'aa', length: 1 },
      { text: 'a', length: 2n },
    ],
    { by: 'length' },
  );
  expect(rows.map(({ text }) => text)).toEqual(['a', 'aa']);
  expect(report.warnings).toEqual([expect.stringContaining('rows have a column "length"')]);
  const byColumn = await curriculum(rows, { by: (row) => row.length as number });
  expect(byColumn.rows.map(({ text }) => text)).toEqual(['aa', 'a']);
});

test('competence: as in the paper', () => {
  const options = { start: 0.1, duration: 0.5, stages: 4 };
  const at = (pacing: 'linear' | 'root' | 'step', t: number) =>
    competence(t, { ...options, pacing });
  expect(at('linear', 0)).toBe(0.1);
  expect(at('linear', 0.25)).toBeCloseTo(0.55, 12);
  expect(at('root', 0)).toBeCloseTo(0.1, 12);
  expect(at('root', 0.25)).toBeCloseTo(Math.sqrt(0.505), 12);
  expect([0, 0.124, 0.125, 0.3, 0.49, 0.9].map((t) => at('step', t))).toEqual([
    0.25, 0.25, 0.5, 0.75, 1, 1,
  ]);
  for (const pacing of ['linear', 'root'] as const) expect(at(pacing, 0.5)).toBe(1);
  // All thirds of stages lie where they should, whatever the rounding of t.
  for (let i = 0; i < 99; i++)
    expect(competence(i / 99, { pacing: 'step', start: 0.1, duration: 1, stages: 3 })).toBe(
      (Math.floor(i / 33) + 1) / 3,
    );
});

test('rows without a number are explained, or come last', async () => {
  const some = [{ loss: 2 }, { loss: null }, { loss: 1n }, { loss: Number.NaN }];
  await expect(curriculum(some, { by: 'loss' })).rejects.toThrow(
    'DATA_COLUMN: rows[1] has no number in "loss"',
  );
  await expect(curriculum(some, { by: 'los' })).rejects.toThrow('Did you mean "loss"?');
  const last = await curriculum(some, { by: 'loss', onMissing: 'last' });
  expect(last.rows).toEqual([{ loss: 1n }, { loss: 2 }, { loss: null }, { loss: null }]);
  expect(last.report.warnings).toEqual(['2 of 4 rows have no number; they come last.']);
  await expect(curriculum(some, { by: 'x', onMissing: 'last' })).rejects.toThrow(
    'none of 4 rows has a number in "x"',
  );
  expect(() => curriculum(some, { by: 'loss', pacing: 'root', stages: 3 })).toThrow(/stages/);
  expect((await curriculum([], { by: 'loss' })).rows).toEqual([]);
});

test('in a pipeline every row that came in goes out', async () => {
  const { report } = await pipeline(rows).curriculum({ by: 'length', pacing: 'root' }).collect();
  expect(report).toMatchObject({ rowsIn: 200, rowsOut: 200 });
});
