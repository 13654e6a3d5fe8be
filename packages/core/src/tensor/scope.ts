import type { Tensor } from './tensor.js';

/**
 * The owner of the tensors made while it is innermost. `engine.scope(name, fn)` disposes them when
 * `fn` returns, except those that are part of its result, which pass to the enclosing scope.
 */
export class Scope {
  /** In no order: a tensor that leaves is replaced by the last. */
  readonly #tensors: Tensor[] = [];

  constructor(
    readonly name: string,
    readonly parent: Scope | null,
    /** Length of the tape when the scope was entered. */
    readonly tapeStart: number,
  ) {}

  get size(): number {
    return this.#tensors.length;
  }

  /** @param tensor of no other scope */
  add(tensor: Tensor): void {
    tensor.scope = this;
    tensor.placeInScope = this.#tensors.length;
    this.#tensors.push(tensor);
  }

  delete(tensor: Tensor): void {
    const last = this.#tensors.pop()!;
    if (last !== tensor) {
      this.#tensors[tensor.placeInScope] = last;
      last.placeInScope = tensor.placeInScope;
    }
    tensor.scope = null;
  }

  disposeAll(): void {
    while (this.#tensors.length > 0) this.#tensors[this.#tensors.length - 1]!.dispose();
  }

  get path(): string {
    return this.parent ? `${this.parent.path}/${this.name}` : this.name;
  }
}
