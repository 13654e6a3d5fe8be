import type { Backend } from '../backend/backend.js';
import type { BufferHandle } from '../backend/opCall.js';

/** A device buffer shared by views, counted; the last release gives it back to the backend. */
export class Storage {
  #references = 1;

  constructor(
    private readonly backend: Backend,
    readonly buffer: BufferHandle,
  ) {}

  get references(): number {
    return this.#references;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references === 0) this.backend.free(this.buffer);
  }
}
