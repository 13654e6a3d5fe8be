import type { Backend } from '../backend/backend.js';
import type { BufferHandle } from '../backend/opCall.js';

/**
 * A device buffer shared by views, counted; the last release gives it back to the backend.
 *
 * The memory may be taken late, at the first use: a layer that is replaced before it was loaded
 * costs none.
 */
export class Storage {
  #references = 1;
  #buffer: BufferHandle | null = null;
  readonly #allocate: () => BufferHandle;

  /** @param source a buffer, or what makes one */
  constructor(
    private readonly backend: Backend,
    source: BufferHandle | (() => BufferHandle),
  ) {
    if (typeof source === 'function') this.#allocate = source;
    else {
      this.#buffer = source;
      this.#allocate = () => source;
    }
  }

  get buffer(): BufferHandle {
    this.#buffer ??= this.#allocate();
    return this.#buffer;
  }

  get references(): number {
    return this.#references;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references === 0 && this.#buffer !== null) this.backend.free(this.#buffer);
  }
}
