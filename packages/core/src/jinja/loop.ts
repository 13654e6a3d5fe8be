import { typeError } from './errors.js';
import { equals, sizeOf } from './operators.js';
import { type Args, Callable, PyObject, Undefined, type Value } from './values.js';

/** `loop` within a `for`: reads ahead only when it is asked for what comes. */
export class LoopContext extends PyObject {
  readonly typeName = 'LoopContext';
  #iterator: Iterator<Value>;
  #index = -1;
  /** At most one item that was looked at before its round. */
  readonly #ahead: Value[] = [];
  #ended = false;
  #before: Value | undefined;
  #current: Value | undefined;
  #changed: readonly Value[] | null = null;
  #length: number | null = null;

  /** @param whole what the items come from, where its size is that of the loop */
  constructor(
    items: Iterable<Value>,
    private readonly whole: Value,
    private readonly depth: number,
    private readonly inner: ((items: Value, depth: number) => string) | null,
  ) {
    super();
    this.#iterator = items[Symbol.iterator]();
  }

  *run(): Iterable<Value> {
    while (this.#peek()) {
      this.#before = this.#current;
      this.#current = this.#ahead.shift()!;
      this.#index++;
      yield this.#current;
    }
  }

  recurse({ positional }: Args): Value {
    if (!this.inner)
      throw typeError("the loop must have the 'recursive' marker to be called recursively");
    return this.inner(positional[0] ?? null, this.depth + 1);
  }

  #peek(): boolean {
    if (this.#ahead.length > 0) return true;
    if (this.#ended) return false;
    const next = this.#iterator.next();
    if (next.done) this.#ended = true;
    else this.#ahead.push(next.value);
    return !this.#ended;
  }

  override get size(): number {
    if (this.#length !== null) return this.#length;
    const known =
      typeof this.whole === 'string' || Array.isArray(this.whole)
        ? sizeOf(this.whole)
        : this.whole instanceof PyObject
          ? this.whole.size
          : null;
    if (known !== null) this.#length = known;
    else {
      const rest: Value[] = [];
      for (let next = this.#iterator.next(); !next.done; next = this.#iterator.next())
        rest.push(next.value);
      this.#iterator = rest[Symbol.iterator]();
      this.#length = this.#index + 1 + this.#ahead.length + rest.length;
    }
    return this.#length;
  }

  override get truth(): boolean {
    return this.size > 0;
  }

  override attribute(name: string): Value | undefined {
    const index = this.#index;
    switch (name) {
      case 'index':
        return BigInt(index + 1);
      case 'index0':
        return BigInt(index);
      case 'revindex':
        return BigInt(this.size - index);
      case 'revindex0':
        return BigInt(this.size - index - 1);
      case 'first':
        return index === 0;
      case 'last':
        return !this.#peek();
      case 'length':
        return BigInt(this.size);
      case 'depth':
        return BigInt(this.depth + 1);
      case 'depth0':
        return BigInt(this.depth);
      case 'previtem':
        return index === 0 ? new Undefined('there is no previous item') : this.#before!;
      case 'nextitem':
        return this.#peek() ? this.#ahead[0]! : new Undefined('there is no next item');
      case 'cycle':
        return new Callable('cycle', (_, { positional }) => {
          if (positional.length === 0) throw typeError('no items for cycling given');
          return positional[index % positional.length]!;
        });
      case 'changed':
        return new Callable('changed', (rt, { positional }) => {
          const same = this.#changed !== null && equals(this.#changed, positional, rt.budget);
          this.#changed = positional;
          return !same;
        });
    }
    return undefined;
  }

  override iterate(): Iterable<Value> {
    return this.run();
  }

  override repr(): string {
    return `<LoopContext ${this.#index + 1}/${this.size}>`;
  }
}
