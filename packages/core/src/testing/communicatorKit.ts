import type { Communicator, Summable } from '../distributed/communicator.js';
import { AttuneError } from '../util/errors.js';
import { type KitCheck, kitOf } from './kit.js';

/**
 * What every communicator must do, as checks for any test framework:
 *
 *     for (const { name, run } of communicatorKit((worldSize) => openWorld(worldSize))) test(name,
 *     run);
 *
 * Sums, parts, copies and the order of the ranks are right for float32, float64 and bytes, of any
 * length, the empty one too; the same bits arrive everywhere, whoever comes first; nobody passes a
 * barrier before all are there; many calls at once keep their order; `abort` of one rank ends the
 * others.
 *
 * @param open the communicators of a new world of this size; they may live in other processes
 */
export function communicatorKit(
  open: (worldSize: number) => Promise<readonly Communicator[]> | readonly Communicator[],
): KitCheck[] {
  const { check, fail } = kitOf('communicator');
  const equal = (found: ArrayLike<number>, expected: ArrayLike<number>, what: string) => {
    const [a, b] = [Array.from(found), Array.from(expected)];
    if (a.length !== b.length || !a.every((value, i) => Object.is(value, b[i])))
      fail(
        `${what}: ${a.slice(0, 8)}, expected ${b.slice(0, 8)}`,
        'Compare it with localCommunicator.',
      );
  };
  const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  /** The last rank first, and each a little later than the one after it. */
  const everywhere = async <T>(
    ranks: readonly Communicator[],
    use: (rank: Communicator) => Promise<T>,
  ): Promise<T[]> =>
    Promise.all(
      ranks.map(async (communicator) => {
        await later(2 * (ranks.length - 1 - communicator.rank));
        return use(communicator);
      }),
    );
  const inWorlds = (name: string, body: (ranks: readonly Communicator[]) => Promise<void>) =>
    [1, 2, 3].map((worldSize) =>
      check(`${name}, ${worldSize === 1 ? 'one rank' : `${worldSize} ranks`}`, async () => {
        await body(await open(worldSize));
      }),
    );
  const value = (rank: number, i: number) => Math.sin(1 + rank * 31 + i);

  return [
    ...inWorlds('ranks are numbered', async (ranks) => {
      equal(
        ranks.map(({ rank }) => rank),
        ranks.map((_, i) => i),
        'their numbers',
      );
      for (const { worldSize } of ranks) equal([worldSize], [ranks.length], 'worldSize');
    }),
    ...inWorlds('allReduce is the sum, the same bits everywhere', async (ranks) => {
      for (const length of [0, 1, 1000])
        for (const type of [Float32Array, Float64Array] as const) {
          const sums = await everywhere(ranks, (c) => {
            const values = Array.from({ length }, (_, i) => value(c.rank, i));
            return c.allReduce<Summable>(type.from(values));
          });
          for (const sum of sums)
            equal(sum, sums[0]!, `allReduce of ${length} numbers on two ranks`);
          const eps = type === Float32Array ? 1e-6 : 1e-14;
          Array.from(sums[0]!).forEach((found, i) => {
            const expected = ranks.reduce((n, { rank }) => n + value(rank, i), 0);
            if (!(Math.abs(found - expected) <= eps * ranks.length))
              fail(
                `allReduce gives ${found}, expected ${expected}`,
                'Add in the type of the array.',
              );
          });
        }
      const [nan] = await everywhere(ranks, (c) =>
        c.allReduce(Float32Array.of(c.rank === 0 ? Number.NaN : 1)),
      );
      equal(nan!, [Number.NaN], 'the sum with a NaN of one rank');
    }),
    ...inWorlds('reduceScatter gives each rank its part of the sum', async (ranks) => {
      const parts = await everywhere(ranks, (c) =>
        c.reduceScatter(Float64Array.from({ length: 2 * c.worldSize }, (_, i) => c.rank * 100 + i)),
      );
      const base = (100 * ranks.length * (ranks.length - 1)) / 2;
      parts.forEach((part, rank) => {
        const expected = [2 * rank, 2 * rank + 1].map((i) => base + ranks.length * i);
        equal(part, expected, `reduceScatter on rank ${rank}`);
      });
    }),
    ...inWorlds('allGather has the array of each rank, of any length', async (ranks) => {
      const all = await everywhere(ranks, (c) =>
        c.allGather(Uint8Array.from({ length: 3 * c.rank }, (_, i) => c.rank + i)),
      );
      for (const arrays of all)
        arrays.forEach((array, rank) => {
          equal(
            array,
            Array.from({ length: 3 * rank }, (_, i) => rank + i),
            `allGather of rank ${rank}`,
          );
        });
    }),
    ...inWorlds('broadcast has the array of its root', async (ranks) => {
      for (const root of ranks.keys()) {
        const all = await everywhere(ranks, (c) =>
          c.broadcast(c.rank === root ? Float64Array.of(root, 0.5, Number.NaN) : null, root),
        );
        for (const array of all) equal(array, [root, 0.5, Number.NaN], `broadcast of rank ${root}`);
      }
    }),
    ...inWorlds('nobody passes a barrier before all are there', async (ranks) => {
      let arrived = 0;
      await everywhere(ranks, async (c) => {
        arrived++;
        await c.barrier();
        if (arrived < ranks.length)
          fail(`a barrier let pass after ${arrived} of ${ranks.length}`, 'Wait for every rank.');
      });
    }),
    ...inWorlds('calls that are not awaited keep their order', async (ranks) => {
      const all = await everywhere(ranks, (c) =>
        Promise.all([
          c.allReduce(Float64Array.of(1)),
          c.allGather(Float64Array.of(c.rank)).then(([first]) => first!),
          c.allReduce(Float64Array.of(10)),
        ]),
      );
      for (const [one, first, ten] of all)
        equal([one[0]!, first[0]!, ten[0]!], [ranks.length, 0, 10 * ranks.length], 'three calls');
    }),
    check('abort of one rank ends the others', async () => {
      const [one, other] = (await open(2)) as [Communicator, Communicator];
      const waiting = one.allReduce(Float64Array.of(1)).then(
        () => fail('a rank got a sum though the other had aborted', 'Reject what waits.'),
        (error: unknown) => error,
      );
      other.abort(new Error('no such file'));
      const error = await waiting;
      if (!AttuneError.isInstance(error) || error.code !== 'COMMUNICATOR_LOST')
        fail(`abort gives ${String(error)}`, 'Reject with AttuneError COMMUNICATOR_LOST.');
      const next = await one.barrier().then(
        () => null,
        (reason: unknown) => reason,
      );
      if (next === null) fail('a rank goes on after abort', 'Reject every later call, too.');
    }),
  ];
}
