import type { Rng } from '@attune/core/util';

/** Which source each row of the result comes from. `counts`: rows of each. */
export function* sourceOrder(
  order: 'spread' | 'shuffle' | 'concatenate',
  counts: readonly number[],
  rng: Rng,
): Generator<number> {
  switch (order) {
    case 'concatenate':
      for (const [source, count] of counts.entries()) for (let i = 0; i < count; i++) yield source;
      return;
    case 'spread':
      yield* spread(counts);
      return;
    case 'shuffle':
      yield* shuffled(counts, rng);
  }
}

/** Row j of k stands at (j + 1/2) / k of the whole. */
function* spread(counts: readonly number[]): Generator<number> {
  const given = counts.map(() => 0);
  const at = counts.map((count) => (count === 0 ? Number.POSITIVE_INFINITY : 0.5 / count));
  for (let left = sum(counts); left > 0; left--) {
    let next = 0;
    for (let i = 1; i < at.length; i++) if (at[i]! < at[next]!) next = i;
    yield next;
    const count = counts[next]!;
    given[next]!++;
    at[next] = given[next] === count ? Number.POSITIVE_INFINITY : (given[next]! + 0.5) / count;
  }
}

/** Every order of the sources is equally likely: one is drawn by what is left of each. */
function* shuffled(counts: readonly number[], rng: Rng): Generator<number> {
  const left = [...counts];
  for (let all = sum(counts); all > 0; all--) {
    let drawn = rng.below(all);
    let next = 0;
    while (drawn >= left[next]!) drawn -= left[next++]!;
    left[next]!--;
    yield next;
  }
}

const sum = (counts: readonly number[]) => counts.reduce((all, count) => all + count, 0);
