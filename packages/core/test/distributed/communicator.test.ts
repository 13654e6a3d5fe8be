import { AttuneError, type Communicator, Engine, localCommunicator } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { communicatorKit, inProcessWorld } from '@attune/core/testing';
import { sumTensors } from '@attune/core/training';
import { describe, expect, test } from 'vitest';

describe('the world in one process', () => {
  for (const { name, run } of communicatorKit(inProcessWorld)) test(name, run);

  test('ranks that call different methods are told', async () => {
    const [one, other] = inProcessWorld(2) as [Communicator, Communicator];
    const waiting = one.barrier();
    await expect(other.allReduce(Float64Array.of(1))).rejects.toThrow(
      /COMMUNICATOR_MISMATCH: ranks call barrier and allReduce/,
    );
    await expect(waiting).rejects.toThrow(/COMMUNICATOR_MISMATCH/);
  });
});

describe('one rank', () => {
  const alone = (worldSize: number) => {
    if (worldSize === 1) return [localCommunicator];
    throw new AttuneError('TEST', 'one rank only');
  };
  const checks = communicatorKit(alone).filter(({ name }) => name.endsWith('one rank'));
  test('has its part of every check', () => expect(checks).toHaveLength(7));
  for (const { name, run } of checks) test(name, run);
});

describe('the kit finds', () => {
  const failures = async (change: (communicator: Communicator) => Partial<Communicator>) => {
    const open = (worldSize: number) =>
      inProcessWorld(worldSize).map((held) => ({ ...held, ...change(held) }));
    const found: string[] = [];
    for (const { run } of communicatorKit(open))
      await run().catch((error) => found.push((error as Error).message));
    return found.join('\n');
  };

  test('a mean in the place of a sum', async () => {
    const mean = ({ allReduce, worldSize }: Communicator): Partial<Communicator> => ({
      allReduce: async (values) => {
        const sum = await allReduce(values);
        return sum.map((x) => x / worldSize) as typeof values;
      },
    });
    expect(await failures(mean)).toMatch(/allReduce gives/);
  });

  test('a barrier that is none', async () => {
    expect(await failures(() => ({ barrier: async () => {} }))).toMatch(
      /a barrier let pass after 1 of 2/,
    );
  });
});

test('sumTensors puts the sum into the tensors of every rank', async () => {
  const ranks = inProcessWorld(2).map((communicator) => {
    const engine = new Engine(new ReferenceBackend());
    const { rank } = communicator;
    const a = engine.keep(engine.tensor([1 + rank, 2]));
    const all = engine.keep(engine.tensor([9, ...Array(63).fill(9), 10 * rank, 5]));
    const b = engine.keep(engine.window(all, 64, [2])); // as gradients lie
    return { communicator, a, b, all };
  });
  await Promise.all(ranks.map(({ communicator, a, b }) => sumTensors(communicator, [a, b])));
  for (const { a, all } of ranks) {
    expect([...(await a.data())]).toEqual([3, 4]);
    expect([...(await all.data())].slice(62)).toEqual([9, 9, 10, 10]);
  }
});
