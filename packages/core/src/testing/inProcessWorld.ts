import type { Communicator, Sendable, Summable } from '../distributed/communicator.js';
import { AttuneError } from '../util/errors.js';

interface Call {
  readonly kind: string;
  readonly values: unknown;
}

interface Round {
  readonly calls: (Call | undefined)[];
  readonly done: PromiseWithResolvers<readonly Call[]>;
}

/** Node 20 has no Promise.withResolvers. */
interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
}

function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => undefined); // a round that nobody is in
  return { promise, resolve, reject };
}

/** Rounds of calls: the n-th call of each rank is one with the n-th calls of the others. */
class World {
  readonly #rounds = new Map<number, Round>();
  #reason: AttuneError | null = null;

  constructor(readonly size: number) {}

  async call(rank: number, round: number, call: Call): Promise<readonly Call[]> {
    if (this.#reason) throw this.#reason;
    const { calls, done } = this.#round(round);
    calls[rank] = call;
    const other = calls.find((held) => held && held.kind !== call.kind);
    if (other)
      this.abort(
        new AttuneError(
          'COMMUNICATOR_MISMATCH',
          `ranks call ${other.kind} and ${call.kind} in the same place.`,
          { remedy: 'Call the same methods in the same order on every rank.' },
        ),
      );
    else if (calls.every((held) => held !== undefined)) {
      this.#rounds.delete(round);
      done.resolve(calls as Call[]);
    }
    return done.promise;
  }

  #round(round: number): Round {
    let held = this.#rounds.get(round);
    if (!held) {
      held = { calls: Array(this.size).fill(undefined), done: withResolvers() };
      this.#rounds.set(round, held);
    }
    return held;
  }

  abort(reason: AttuneError): void {
    this.#reason ??= reason;
    for (const { done } of this.#rounds.values()) done.reject(this.#reason);
    this.#rounds.clear();
  }
}

/**
 * The communicators of a world whose ranks live in one process, each with an Attune of its own: for
 * tests of what runs on many ranks, and an example of a `Communicator`.
 *
 * @example const [one, other] = inProcessWorld(2);
 */
export function inProcessWorld(worldSize: number): Communicator[] {
  const world = new World(worldSize);
  return Array.from({ length: worldSize }, (_, rank) => {
    let rounds = 0;
    const exchange = async <A>(kind: string, values: A): Promise<readonly A[]> => {
      const calls = await world.call(rank, rounds++, { kind, values });
      return calls.map((call) => call.values as A);
    };
    /** In the order of the ranks, so that every rank has the same bits. */
    const sum = async <A extends Summable>(kind: string, values: A): Promise<A> => {
      const all = await exchange(kind, values);
      const total = all[0]!.slice() as A;
      for (const other of all.slice(1))
        for (let i = 0; i < total.length; i++) total[i]! += other[i]!;
      return total;
    };
    return {
      rank,
      worldSize,
      allReduce: (values) => sum('allReduce', values),
      async reduceScatter<A extends Summable>(values: A): Promise<A> {
        const total = await sum('reduceScatter', values);
        const share = total.length / worldSize;
        return total.slice(rank * share, (rank + 1) * share) as A;
      },
      allGather: <A extends Sendable>(values: A) => exchange('allGather', values.slice() as A),
      async broadcast<A extends Sendable>(values: A | null, root = 0): Promise<A> {
        const all = await exchange(`broadcast of ${root}`, values);
        return all[root]!.slice() as A;
      },
      barrier: async () => void (await exchange('barrier', null)),
      abort: (reason) =>
        world.abort(
          new AttuneError(
            'COMMUNICATOR_LOST',
            `rank ${rank} of ${worldSize} has ended: ${reason instanceof Error ? reason.message : String(reason)}`,
            { remedy: 'Look at its error; then start all ranks again.', cause: reason },
          ),
        ),
    };
  });
}
