import { setImmediate as turn } from 'node:timers/promises';
import { collateTokens, countLabels } from '@attune/core';
import { firstExamples, Loader, lengthGroupedOrder } from '@attune/core/text';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fixtureJson } from '../models/support.js';

describe('collateTokens', () => {
  const batch = collateTokens(
    [
      { inputIds: [5, 6, 7], labels: [-100, 6, 7] },
      { inputIds: [8], labels: [8] },
    ],
    6,
  );
  const rows = (name: keyof typeof batch) => {
    const [b, t] = batch[name].shape;
    return Array.from({ length: b }, (_, i) => [...batch[name].data.slice(i * t, (i + 1) * t)]);
  };

  test('pads on the right, up to a bucket that maxLength caps', () => {
    expect(rows('inputIds')).toEqual([
      [5, 6, 7, 0, 0, 0],
      [8, 0, 0, 0, 0, 0],
    ]);
    expect(
      collateTokens([{ inputIds: new Array(33).fill(1), labels: [] }], 160).inputIds.shape,
    ).toEqual([1, 64]);
  });

  test('labels are shifted: at t what follows', () => {
    expect(rows('labels')).toEqual([
      [6, 7, -100, -100, -100, -100],
      [-100, -100, -100, -100, -100, -100],
    ]);
    expect(countLabels(batch.labels.data)).toBe(2);
  });

  test('padding is a segment of its own; positions count', () => {
    expect(rows('segments')).toEqual([
      [0, 0, 0, -1, -1, -1],
      [0, -1, -1, -1, -1, -1],
    ]);
    expect(rows('positions')[1]).toEqual([0, 0, 1, 2, 3, 4]);
  });

  test('padding is a length: whatever ids and labels, each token stays and counts once', () => {
    const ids = fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(fc.array(ids, { minLength: 1, maxLength: 5 }), (lists) => {
        const batch = collateTokens(
          lists.map((list) => ({ inputIds: list, labels: list })),
          64,
        );
        const [, width] = batch.inputIds.shape;
        expect(width % 32).toBe(0);
        lists.forEach((list, b) => {
          const row = (name: keyof typeof batch) =>
            Array.from(batch[name].data.slice(b * width, (b + 1) * width));
          expect(row('inputIds').slice(0, list.length)).toEqual(list);
          expect(row('labels').slice(0, list.length - 1)).toEqual(list.slice(1));
          expect(row('segments').filter((segment) => segment === 0)).toHaveLength(list.length);
          expect(row('segments').lastIndexOf(0)).toBe(list.length - 1);
        });
        const items = lists.reduce((n, list) => n + list.length - 1, 0);
        expect(countLabels(batch.labels.data)).toBe(items);
      }),
    );
  });

  test('lengths of a run fall into few shapes', () => {
    const widths = new Set<number>();
    for (let n = 1; n <= 160; n++)
      widths.add(
        collateTokens([{ inputIds: new Array(n).fill(1), labels: [] }], 160).labels.shape[1],
      );
    expect([...widths]).toEqual([32, 64, 96, 128, 160]);
  });
});

/** All of an async iterable. */
async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe('Loader', () => {
  const examples = Array.from({ length: 11 }, (_, i) => i);
  const options = { batchSize: 2, shuffle: false, seed: 0, dropLast: false };
  const make = (more: object = {}) => new Loader(examples, { ...options, ...more });

  test('batches in order, the last one short', async () => {
    expect(await all(make().batches())).toEqual([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]);
    expect(make().batchesPerEpoch).toBe(6);
    expect(make({ dropLast: true }).batchesPerEpoch).toBe(5);
    expect(await all(make({ dropLast: true }).batches())).toHaveLength(5);
  });

  test('groups, the last one of an epoch short, and from the middle of an epoch', async () => {
    expect((await all(make().groups(0, 4))).map((g) => [g.batches.length, g.rows])).toEqual([
      [4, 8],
      [2, 3],
    ]);
    expect(await all(make().groups(0, 4, 4))).toEqual([
      { batches: [[8, 9], [10]], microBatches: 2, rows: 3 },
    ]);
    expect(await all(make().groups(0, 4, 6))).toEqual([]);
  });

  test('shuffled: each epoch otherwise, the same for one seed, every row once', async () => {
    const order = async (epoch: number, seed = 0) =>
      (await all(make({ shuffle: true, seed }).batches(epoch))).flat();
    expect(await order(0)).toEqual(await order(0));
    expect(await order(0)).not.toEqual(await order(1));
    expect(await order(0)).not.toEqual(await order(0, 1));
    expect((await order(3)).sort((a, b) => a - b)).toEqual(examples);
  });

  test('a stream: the same batches, its length not known', async () => {
    const stream = {
      examples: async function* () {
        yield* examples;
      },
    };
    const loader = new Loader<number>(stream, { ...options, shuffle: true });
    expect([loader.length, loader.batchesPerEpoch]).toEqual([null, null]);
    expect(await all(loader.groups(0, 4))).toEqual(await all(make().groups(0, 4)));
    expect(await all(loader.groups(3, 4, 4))).toEqual([
      { batches: [[8, 9], [10]], microBatches: 2, rows: 3 },
    ]);
    expect(await firstExamples(stream, 3)).toEqual([0, 1, 2]);
    expect(await firstExamples(stream, 20)).toEqual(examples);
    expect(await firstExamples(examples, 3)).toEqual([0, 1, 2]);
  });

  test('a stream is read ahead, by as many groups as asked for, and closed when it is left', async () => {
    let made = 0;
    let closed = false;
    const stream = {
      async *examples() {
        try {
          while (true) yield made++;
        } finally {
          closed = true;
        }
      },
    };
    const loader = new Loader<number>(stream, { ...options, prefetch: 3 });
    for await (const group of loader.groups(0, 2)) {
      expect(group.batches).toEqual([
        [0, 1],
        [2, 3],
      ]);
      for (let i = 0; i < 20; i++) await turn();
      // 4 examples in use, 3 x 4 ahead.
      expect(made).toBe(16);
      break;
    }
    expect(closed).toBe(true);
  });

  test('collates ahead, at most as many groups as asked for, while somebody waits', async () => {
    const collated: number[] = [];
    const loader = make({
      prefetch: 2,
      collate: (batch: readonly number[]) => {
        collated.push(batch[0]!);
        return { first: batch[0]! };
      },
    });
    const groups = loader.groups(0, 2);
    expect((await groups.next()).value.batches).toEqual([{ first: 0 }, { first: 2 }]);
    // Not in the way of whoever got the group: only when the event loop comes round.
    await Promise.resolve();
    expect(collated).toEqual([0, 2]);
    for (let i = 0; i < 20; i++) await turn();
    expect(collated).toEqual([0, 2, 4, 6, 8, 10]);
    await groups.return(undefined);
    const none = make({
      prefetch: 0,
      collate: (batch: readonly number[]) => collated.push(batch[0]!),
    });
    const one = none.groups(0, 1);
    await one.next();
    for (let i = 0; i < 20; i++) await turn();
    expect(collated).toHaveLength(7);
    await one.return(undefined);
  });

  test('an error of collate comes at its place', async () => {
    const seen: unknown[] = [];
    const loader = make({
      collate: (batch: readonly number[]) => {
        if (batch[0] === 4) throw new Error('batch of 4');
        return batch;
      },
    });
    await expect(
      (async () => {
        for await (const { batches } of loader.groups(0, 1)) seen.push(batches[0]);
      })(),
    ).rejects.toThrow('batch of 4');
    expect(seen).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });

  test('an error of a stream comes at its place', async () => {
    const stream = {
      async *examples() {
        yield* [1, 2, 3];
        throw new Error('row 4');
      },
    };
    const seen: unknown[] = [];
    const loader = new Loader<number>(stream, options);
    await expect(
      (async () => {
        for await (const { batches } of loader.groups(0, 1)) seen.push(batches);
      })(),
    ).rejects.toThrow('row 4');
    expect(seen).toEqual([[[1, 2]]]);
  });
});

interface OrderCase {
  readonly name: string;
  readonly inputs: { readonly lengths: number[]; readonly permutation: number[] };
  readonly attrs: { readonly batchSize: number };
  readonly outputs: { readonly order: number[] };
}

describe('grouped by length', () => {
  const { cases } = fixtureJson('row215-length-grouped.json') as { cases: OrderCase[] };
  test.each(cases.map((c) => [c.name, c] as const))('as transformers: %s', (_, c) => {
    const { lengths, permutation } = c.inputs;
    expect(lengthGroupedOrder(permutation, lengths, c.attrs.batchSize)).toEqual(c.outputs.order);
  });

  test('every example once, whatever the sizes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 300 }),
        fc.integer({ min: 1, max: 40 }),
        (lengths, size) => {
          const order = lengthGroupedOrder(Array.from(lengths.keys()), lengths, size);
          expect([...order].sort((a, b) => a - b)).toEqual([...lengths.keys()]);
          if (order.length > 0) expect(lengths[order[0]!]).toBe(Math.max(...lengths));
        },
      ),
    );
  });

  test('pads less than a random order, and each epoch has one of its own', async () => {
    const rows = Array.from({ length: 400 }, (_, i) => ({ id: i, n: 1 + ((i * 37) % 97) }));
    const options = { batchSize: 4, shuffle: true, seed: 1, dropLast: false };
    const grouped = { lengths: rows.map(({ n }) => n), size: 8 };
    const padding = async (loader: Loader<(typeof rows)[number]>) =>
      (await all(loader.batches()))
        .map((batch) => Math.max(...batch.map(({ n }) => n)) * batch.length)
        .reduce((a, b) => a + b);
    const random = new Loader(rows, options);
    const byLength = new Loader(rows, { ...options, grouping: grouped });
    expect(await padding(byLength)).toBeLessThan(0.75 * (await padding(random)));
    const ids = async (epoch: number) =>
      (await all(byLength.batches(epoch))).flat().map((r) => r.id);
    expect(await ids(0)).toEqual(await ids(0));
    expect(await ids(0)).not.toEqual(await ids(1));
  });
});
