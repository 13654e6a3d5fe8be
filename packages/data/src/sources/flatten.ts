/**
 * Items of lists that come one after another. Without an async generator: its step costs more than
 * reading a short row.
 */
export class Flattened<T> implements AsyncIterableIterator<T> {
  #list: readonly T[] = [];
  #at = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly lists: AsyncGenerator<readonly T[]>) {}

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#at < this.#list.length)
      return Promise.resolve({ done: false, value: this.#list[this.#at++]! });
    // One after the other: each looks again whether there are items.
    this.#turn = this.#turn.then(
      () => this.#advance(),
      () => this.#advance(),
    );
    return this.#turn as Promise<IteratorResult<T>>;
  }

  async #advance(): Promise<IteratorResult<T>> {
    while (this.#at >= this.#list.length) {
      const next = await this.lists.next();
      if (next.done) return { done: true, value: undefined };
      this.#list = next.value;
      this.#at = 0;
    }
    return { done: false, value: this.#list[this.#at++]! };
  }

  async return(): Promise<IteratorResult<T>> {
    this.#list = [];
    this.#at = 0;
    await this.lists.return(undefined);
    return { done: true, value: undefined };
  }
}
