import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadDataset } from '@attune/core';
import { defineDataStage, fromJsonl, pipeline, type StageProgress } from '@attune/data';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { DiskCache } from '../../src/pipeline/diskCache.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-write-'));
});
afterEach(() => rm(folder, { recursive: true }));

const at = (...names: string[]) => join(folder, ...names);
const linesOf = async (...names: string[]) =>
  (await readFile(at(...names), 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const rows = Array.from({ length: 10 }, (_, n) => ({ text: `row ${n}`, group: n % 5 }));

test.runIf(process.platform === 'linux')(
  'a folder below /proc is refused, not waited for',
  async () => {
    for (const options of [{}, { cacheDir: null }])
      await expect(
        pipeline(rows).writeTo('/proc/attune/out', { ...options, progress: false }),
      ).rejects.toThrow('DISK_WRITE: /proc/attune');
  },
);

test('numbers beyond 2^53 are read again as what they were', async () => {
  const large = [1e20, -1.9101540823175389e19, 2 ** 53, 9007199254740993n, 1e300, 4e-7, 50];
  const given = [{ large, text: '1234567890123456789 "é"' }];
  await pipeline(given).writeTo(at('large'), { progress: false });
  const reads = [];
  for await (const read of fromJsonl(at('large', 'train.jsonl'))) reads.push(read);
  expect(reads).toMatchObject([{ row: given[0] }]);
  expect(JSON.parse(await readFile(at('large', 'train.jsonl'), 'utf8')).large[0]).toBe(1e20);
});

test('a folder with the rows, what was put aside, and the report; the Trainer reads it', async () => {
  await writeFile(at('raw.jsonl'), '{"text":"a","id":9007199254740993}\nnot JSON\n{"text":7}\n');
  const report = await pipeline(fromJsonl(at('raw.jsonl')))
    .validate({ schema: 'text' })
    .writeTo(at('clean'));
  expect(report).toMatchObject({ rowsIn: 3, rowsOut: 1, quarantined: 2, dropped: {} });
  expect((await readdir(at('clean'))).sort()).toEqual([
    'quarantine.jsonl',
    'report.html',
    'report.json',
    'train.jsonl',
  ]);
  expect(await readFile(at('clean', 'train.jsonl'), 'utf8')).toBe(
    '{"text":"a","id":9007199254740993}\n',
  );
  const [unreadable, invalid] = await linesOf('clean', 'quarantine.jsonl');
  expect(unreadable).toMatchObject({ stage: 'read', reason: 'unreadable', raw: 'not JSON' });
  expect(unreadable!.origin).toMatchObject({ row: 1, line: 2 });
  expect(invalid).toMatchObject({
    stage: 'validate',
    reason: 'invalid text',
    detail: 'text is 7; expected text',
    row: { text: 7 },
  });
  const written = JSON.parse(await readFile(at('clean', 'report.json'), 'utf8'));
  expect(written).toMatchObject({ rowsIn: 3, rowsOut: 1, quarantined: 2, groupsShared: null });
  expect('seconds' in written).toBe(false);
  expect(await readFile(at('clean', 'report.html'), 'utf8')).toContain('text is 7; expected text');
  expect((await loadDataset('json', { dataFiles: at('clean', 'train.jsonl') })).length).toBe(1);
});

test('after a split each part has its file', async () => {
  const report = await pipeline(rows)
    .split({ groupBy: 'group', testSize: 0.2, seed: 1 })
    .writeTo(at('clean'));
  const [train, other] = [
    await linesOf('clean', 'train.jsonl'),
    await linesOf('clean', 'test.jsonl'),
  ];
  expect([train.length, other.length]).toEqual([8, 2]);
  expect(report).toMatchObject({ splits: { train: 8, test: 2 }, groupsShared: 0 });
});

describe('the folder', () => {
  test('is not replaced unasked, nor where no pipeline wrote it, nor with an input in it', async () => {
    await pipeline(rows).writeTo(at('clean'));
    await expect(pipeline(rows).writeTo(at('clean'))).rejects.toThrow(
      /is there already, with 4 files/,
    );
    await pipeline([{ text: 'new' }]).writeTo(at('clean'), { overwrite: true });
    expect(await linesOf('clean', 'train.jsonl')).toEqual([{ text: 'new' }]);
    const inside = pipeline(fromJsonl(at('clean', 'train.jsonl')));
    await expect(inside.writeTo(at('clean'), { overwrite: true })).rejects.toThrow(
      /holds the input/,
    );
    await mkdir(at('other'));
    await writeFile(at('other', 'thesis.tex'), '');
    await expect(pipeline(rows).writeTo(at('other'), { overwrite: true })).rejects.toThrow(
      /was not written by a pipeline \(thesis\.tex\)/,
    );
    await expect(pipeline(rows).writeTo(at('other', 'thesis.tex'))).rejects.toThrow(/is a file/);
    await expect(pipeline(rows).writeTo(at('x'), { overwrit: true } as never)).rejects.toThrow(
      /Did you mean "overwrite"\?/,
    );
  });

  test('is not replaced where it holds what a stage reads', async () => {
    await pipeline(rows).writeTo(at('clean'));
    const [path, pattern] = [at('clean', 'train.jsonl'), at('clean', '*.jsonl')];
    const own = pipeline(rows);
    for (const plan of [
      own.mix([{ name: 'old', rows: fromJsonl(path), ratio: 0.1 }]),
      own.mix([{ name: 'old', rows: pattern, ratio: 0.1 }]),
      own.dedupe({ against: path }),
      own.filter({ keep: () => true }).dedupe({ against: fromJsonl(pattern) }),
    ])
      await expect(plan.writeTo(at('clean'), { overwrite: true })).rejects.toThrow(
        /holds the input/,
      );
    expect(await linesOf('clean', 'train.jsonl')).toEqual(rows);
  });

  test('does not appear where a stage fails, and the one before stays', async () => {
    await pipeline(rows).writeTo(at('clean'));
    const fails = pipeline(rows).map({
      change: (row) => {
        if (row.text === 'row 7') throw new Error('no');
        return row;
      },
    });
    await expect(fails.writeTo(at('clean'), { overwrite: true })).rejects.toThrow('no');
    await expect(fails.writeTo(at('new'))).rejects.toThrow('no');
    expect((await readdir(folder)).sort()).toEqual(['.attune-data', 'clean']);
    expect(await linesOf('clean', 'train.jsonl')).toEqual(rows);
  });

  test('a signal stops it', async () => {
    const stop = new AbortController();
    function* endless() {
      for (let n = 0; ; n++) {
        if (n === 3000) stop.abort(new Error('stopped'));
        yield { text: `${n}` };
      }
    }
    const running = pipeline(endless(), { signal: stop.signal }).validate().writeTo(at('clean'));
    await expect(running).rejects.toThrow('stopped');
    expect(await readdir(folder)).toEqual(['.attune-data']);
  });
});

describe('what is kept between runs', () => {
  let runs = 0;
  const costly = (version = 1) =>
    defineDataStage({
      name: 'costly',
      options: z.strictObject({ by: z.int().default(1) }),
      isCostly: true,
      version,
      async *run(given, { by }, context) {
        runs++;
        let n = 0;
        for await (const item of given) {
          n += by;
          if (n === 3) context.drop(item, 'third', 'of all');
          else if (n === 4) context.quarantine(item, 'fourth');
          else {
            yield { ...item, row: { ...item.row, n, big: 2n ** 60n } };
            if (n === 1) {
              context.added(item, 'copy');
              yield item;
            }
          }
        }
        context.fact('numbers', [n]);
        context.warn('careful');
      },
    });
  const write = (stage = costly(), options = {}, input: object[] = rows) => {
    runs = 0;
    return pipeline(input as never)
      .map({ change: (row) => row })
      .stage(stage, options)
      .writeTo(at('clean'), { overwrite: true });
  };
  const untimed = (report: unknown) =>
    JSON.parse(JSON.stringify(report, (key, value) => (key === 'seconds' ? 0 : value)));

  test('a costly stage with the same rows, options and version is not run again', async () => {
    const first = await write();
    expect([runs, first.rowsIn, first.rowsOut]).toEqual([1, 11, 9]);
    const bytes = await readFile(at('clean', 'train.jsonl'), 'utf8');
    const aside = await readFile(at('clean', 'quarantine.jsonl'), 'utf8');
    const second = await write();
    expect(runs).toBe(0);
    expect(untimed(second)).toEqual(untimed(first));
    expect(await readFile(at('clean', 'train.jsonl'), 'utf8')).toBe(bytes);
    expect(await readFile(at('clean', 'quarantine.jsonl'), 'utf8')).toBe(aside);
    expect(bytes).toContain('1152921504606846976');

    await write(costly(), { by: 2 });
    expect(runs).toBe(1);
    await write(costly(2), { by: 2 });
    expect(runs).toBe(1);
    await write(costly(2), { by: 2 }, [...rows, { text: 'one more' }]);
    expect(runs).toBe(1);
    // What the last run had no use for is gone.
    expect(await readdir(at('.attune-data', 'clean', 'rows'))).toHaveLength(1);
  });

  test('cacheDir: another folder, or none', async () => {
    const made = pipeline(rows).stage(costly());
    await made.writeTo(at('a'), { cacheDir: null });
    expect(await readdir(folder)).toEqual(['a']);
    await made.writeTo(at('b'), { cacheDir: at('kept') });
    expect((await readdir(folder)).sort()).toEqual(['a', 'b', 'kept']);
  });

  test('results of calls come back; a last line that was cut off is none', async () => {
    const path = at('calls.jsonl');
    const first = new DiskCache(path);
    await Promise.all([first.set('a', { x: 'ä' }), first.set('b', [1]), first.set('a', 2)]);
    expect([await first.get('a'), await first.get('b'), await first.get('c')]).toEqual([
      2,
      [1],
      undefined,
    ]);
    await first.close();
    await appendFile(path, '["c",{"cut');
    const second = new DiskCache(path);
    expect([await second.get('a'), await second.get('b'), await second.get('c')]).toEqual([
      2,
      [1],
      undefined,
    ]);
    await second.set('c', 'ok');
    await second.close();
    const third = new DiskCache(path);
    expect([await third.get('b'), await third.get('c')]).toEqual([[1], 'ok']);
    await third.close();
  });
});

test('progress: each stage as rows pass, and once at its end', async () => {
  const steps: StageProgress[] = [];
  await pipeline(
    Array.from({ length: 3000 }, (_, n) => ({ text: `${n}` })),
    {
      onProgress: (step) => steps.push(step),
    },
  )
    .validate()
    .filter({ keep: ({ text }) => text !== '7' })
    .writeTo(at('clean'));
  expect(
    steps.filter(({ isDone }) => isDone).map(({ stage, rowsOut }) => [stage, rowsOut]),
  ).toEqual([
    ['validate', 3000],
    ['filter', 2999],
  ]);
  expect(steps.filter(({ stage, isDone }) => stage === 'validate' && !isDone)).toHaveLength(2);
});
