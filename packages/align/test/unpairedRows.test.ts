import {
  collateUnpaired,
  mismatchedBatch,
  type UnpairedExample,
  unpairedRows,
  unpairPreferences,
} from '@attune/align';
import { Dataset, IterableDataset } from '@attune/core';
import type { DeviceBatch, HostTensor } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { encode, letters, shown } from './rows.support.js';

const rules = unpairedRows({ maxLength: 6 });
const example = (row: object): UnpairedExample => encode(rules, row).example!;

test('one answer with its label; the rest of it stays for the KL term', () => {
  const { text, isDesirable, promptIds, completionIds } = example({
    prompt: 'ab',
    completion: 'cdefg',
    label: false,
  });
  expect(shown(text)).toBe('...cde');
  expect(isDesirable).toBe(false);
  expect([letters.decode!(promptIds), letters.decode!(completionIds)]).toEqual(['^ab', 'cdefg$']);
});

const texts = ({ data, shape }: HostTensor): string[] =>
  Array.from({ length: shape[0]! }, (_, row) =>
    letters.decode!(
      Array.from(data.subarray(row * shape[1]!, (row + 1) * shape[1]!)).filter((id) => id > 0),
    ),
  );
/** What is the same for arrays of the host. */
const klOf = (batch: object) =>
  mismatchedBatch(batch as DeviceBatch) as unknown as Record<string, HostTensor>;

describe('mismatched answers', () => {
  const examples = ['a', 'b', 'c', 'd', 'e'].map((name, i) =>
    example({ prompt: name, completion: `${name.toUpperCase()}${i}x`, label: i % 2 === 0 }),
  );

  test('that of the row before, the first with that of the last', () => {
    const batch = collateUnpaired(examples, { maxLength: 6 });
    expect(texts(batch.inputIds!)).toEqual(['^aA0x$', '^bB1x$', '^cC2x$', '^dD3x$', '^eE4x$']);
    expect(texts(klOf(batch).inputIds!)).toEqual([
      '^aE4x$',
      '^bA0x$',
      '^cB1x$',
      '^dC2x$',
      '^eD3x$',
    ]);
    expect(Array.from(batch.isDesirable!.data)).toEqual([1, 0, 1, 0, 1]);
    expect(Array.from(batch.labelCounts!.data)).toEqual([4, 4, 4, 4, 4]);
  });

  test('within blocks; a block of one with itself', () => {
    const batch = collateUnpaired(examples, { maxLength: 6, klBlock: 2 });
    expect(texts(klOf(batch).inputIds!)).toEqual([
      '^aB1x$',
      '^bA0x$',
      '^cD3x$',
      '^dC2x$',
      '^eE4x$',
    ]);
  });

  test('none where the loss has no KL term', () => {
    expect(klOf(collateUnpaired(examples, { maxLength: 6, withKl: false }))).toEqual({});
  });

  test('of the data set: with the example, in batches of one too', () => {
    const far = unpairedRows({ maxLength: 6, klPairs: 'dataset' });
    expect(far.isPacked!('training')).toBe(true);
    const [first] = far.pack!(examples);
    expect(texts(klOf(collateUnpaired([first!], { maxLength: 6 })).inputIds!)).toEqual(['^aD3x$']);
  });
});

describe('pairs as labelled rows', () => {
  const pairs = [0, 1, 2].map((i) => ({
    prompt: `p${i}`,
    chosen: `c${i}`,
    rejected: `r${i}`,
    by: i,
  }));
  const expected = [
    { prompt: 'p0', completion: 'c0', label: true, by: 0 },
    { prompt: 'p1', completion: 'c1', label: true, by: 1 },
    { prompt: 'p0', completion: 'r0', label: false, by: 0 },
    { prompt: 'p1', completion: 'r1', label: false, by: 1 },
    { prompt: 'p2', completion: 'c2', label: true, by: 2 },
    { prompt: 'p2', completion: 'r2', label: false, by: 2 },
  ];

  test('all wanted, then all unwanted answers of a batch, with the other columns', () => {
    const made = unpairPreferences(Dataset.from(pairs, 'f.jsonl'), { batchSize: 2 });
    expect([...(made as Dataset)]).toEqual(expected);
    expect((made as Dataset).origin(2)).toBe('f.jsonl[0] rejected');
  });

  test('a stream is read lazily, and is the same each time', async () => {
    let read = 0;
    const stream = IterableDataset.from(function* () {
      for (const row of pairs) {
        read++;
        yield row;
      }
    });
    const made = unpairPreferences(stream, {
      batchSize: 2,
      shuffle: true,
      seed: 3,
    }) as IterableDataset;
    expect(read).toBe(0);
    const list = async (): Promise<unknown[]> => {
      const rows: unknown[] = [];
      for await (const row of made) rows.push(row);
      return rows;
    };
    const first = await list();
    expect(first).toHaveLength(6);
    expect(expected).toEqual(expect.arrayContaining(first));
    expect(await list()).toEqual(first);
    const one: unknown[] = [];
    read = 0;
    for await (const row of made) {
      one.push(row);
      break;
    }
    expect(read).toBe(2);
  });

  test('generators are read as they come; rows with a label stay', async () => {
    const rows = (function* () {
      yield pairs[0];
      yield { prompt: 'x', completion: 'y', label: false };
    })();
    const made: unknown[] = [];
    for await (const row of unpairPreferences(rows) as AsyncIterable<unknown>) made.push(row);
    expect(made).toEqual([
      expected[0],
      { prompt: 'x', completion: 'y', label: false },
      expected[2],
    ]);
  });

  test('implicit prompts, and rows of ids', () => {
    const [row] = unpairPreferences([{ chosen: 'a b', rejected: 'a c' }]) as Dataset;
    expect(row).toEqual({ prompt: 'a', completion: ' b', label: true });
    const ids = { prompt_ids: [1, 2], chosen_ids: [3], rejected_ids: [4] };
    expect([...(unpairPreferences([ids]) as Dataset)]).toEqual([
      { prompt_ids: [1, 2], completion_ids: [3], label: true },
      { prompt_ids: [1, 2], completion_ids: [4], label: false },
    ]);
  });
});
