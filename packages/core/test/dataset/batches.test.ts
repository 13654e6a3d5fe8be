import { collateTokens, countLabels, Loader } from '@attune/core';
import { describe, expect, test } from 'vitest';

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

  test('lengths of a run fall into few shapes', () => {
    const widths = new Set<number>();
    for (let n = 1; n <= 160; n++)
      widths.add(
        collateTokens([{ inputIds: new Array(n).fill(1), labels: [] }], 160).labels.shape[1],
      );
    expect([...widths]).toEqual([32, 64, 96, 128, 160]);
  });
});

describe('Loader', () => {
  const examples = Array.from({ length: 11 }, (_, i) => i);
  const make = (more: object = {}) =>
    new Loader(examples, { batchSize: 2, shuffle: false, seed: 0, dropLast: false, ...more });

  test('batches in order, the last one short', () => {
    expect([...make().batches()]).toEqual([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]);
    expect(make().batchesPerEpoch).toBe(6);
    expect(make({ dropLast: true }).batchesPerEpoch).toBe(5);
  });

  test('groups, the last one of an epoch short, and from the middle of an epoch', () => {
    expect([...make().groups(0, 4)].map((g) => g.length)).toEqual([4, 2]);
    expect([...make().groups(0, 4, 4)]).toEqual([[[8, 9], [10]]]);
  });

  test('shuffled: each epoch otherwise, the same for one seed, every row once', () => {
    const order = (epoch: number, seed = 0) =>
      [...make({ shuffle: true, seed }).batches(epoch)].flat();
    expect(order(0)).toEqual(order(0));
    expect(order(0)).not.toEqual(order(1));
    expect(order(0)).not.toEqual(order(0, 1));
    expect([...order(3)].sort((a, b) => a - b)).toEqual(examples);
  });
});
