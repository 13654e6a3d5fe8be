/**
 * What `fn` gives for each item, in the order of the items, with up to `concurrency` of them under
 * way. Items are read as there is room for them; results that come early wait.
 */
export async function* orderedMap<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  concurrency: number,
  fn: (item: T, index: number) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  let index = 0;
  try {
    for await (const item of items) {
      const result = fn(item, index++);
      // An error is thrown where it is awaited, in its turn.
      result.catch(() => {});
      running.push(result);
      if (running.length >= concurrency) yield await running.shift()!;
    }
    while (running.length > 0) yield await running.shift()!;
  } finally {
    await Promise.allSettled(running);
  }
}
