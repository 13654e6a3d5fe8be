/** Things that are let go together, the last one first. */
export class Holdings implements AsyncDisposable {
  readonly #held: (Disposable | AsyncDisposable)[] = [];

  /** @returns what was given */
  add<T extends Disposable | AsyncDisposable>(thing: T): T {
    this.#held.push(thing);
    return thing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const thing = this.#held.pop();
    if (!thing) return;
    try {
      if (Symbol.asyncDispose in thing) await thing[Symbol.asyncDispose]();
      else thing[Symbol.dispose]();
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }
}
