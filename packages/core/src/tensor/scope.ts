import type { Tensor } from './tensor.js';

/**
 * The owner of the tensors made while it is innermost. `engine.scope(name, fn)` disposes them when
 * `fn` returns, except those that are part of its result, which pass to the enclosing scope.
 */
export class Scope {
  readonly tensors = new Set<Tensor>();

  constructor(
    readonly name: string,
    readonly parent: Scope | null,
    /** Length of the tape when the scope was entered. */
    readonly tapeStart: number,
  ) {}

  get path(): string {
    return this.parent ? `${this.parent.path}/${this.name}` : this.name;
  }
}
