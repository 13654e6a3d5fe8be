import { nextTurn } from '#platform';

/**
 * Asks for up to `depth` items beyond the one that is in use, so that they are made while somebody
 * waits for something else. The items and their order stay the same; an error comes in its place.
 */
export async function* prefetch<T>(source: AsyncIterable<T>, depth: number): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  const asked: Promise<IteratorResult<T>>[] = [];
  try {
    while (true) {
      while (asked.length <= depth) {
        const next = iterator.next();
        // Awaited in its turn: until then a rejection must not count as unhandled.
        next.catch(() => undefined);
        asked.push(next);
      }
      const { done, value } = await asked.shift()!;
      if (done) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

/** Everything that is ready goes first: timers, answers of the device and of files. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    nextTurn(resolve);
  });

/** Host work of this long, then a look at the event loop: what waits for the device goes first. */
const SLICE_MS = 4;

/**
 * @returns a function to call between pieces of work; what it returns, if anything, is to be
 *   awaited
 */
export function slices(): () => Promise<void> | undefined {
  let since = performance.now();
  return () => {
    if (performance.now() - since < SLICE_MS) return;
    return turn().then(() => {
      since = performance.now();
    });
  };
}
