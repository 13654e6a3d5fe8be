import { Scope } from './scope.js';
import { Tensor } from './tensor.js';

/** Who owns which tensor: the scopes that are open, the innermost of which owns what is made. */
export class Lifetimes {
  #innermost = new Scope('root', null, 0);

  get innermost(): Scope {
    return this.#innermost;
  }

  /** Tensors alive now, in all open scopes. */
  get count(): number {
    let count = 0;
    for (let scope: Scope | null = this.#innermost; scope; scope = scope.parent)
      count += scope.size;
    return count;
  }

  /** @param tapeStart length of the tape */
  enter(name: string, tapeStart: number): Scope {
    this.#innermost = new Scope(name, this.#innermost, tapeStart);
    return this.#innermost;
  }

  /** Disposes what is left in a scope; the enclosing one is the innermost again. */
  leave(scope: Scope): void {
    scope.disposeAll();
    this.#innermost = scope.parent!;
  }

  /**
   * Hands what is part of a scope's result over to the enclosing scope.
   *
   * @returns whether the result has history: then the tape is still needed
   */
  handOver(result: unknown, scope: Scope): boolean {
    let hasHistory = false;
    forEachTensor(result, (tensor) => {
      const isOurs = tensor.scope === scope;
      const isKept = tensor.scope === null;
      hasHistory ||= (isOurs || isKept) && tensor.requiresGrad && !tensor.isLeaf;
      if (isOurs) {
        scope.delete(tensor);
        scope.parent!.add(tensor);
      }
    });
    return hasHistory;
  }
}

/** Calls `visit` for each tensor in a result: the value itself, arrays, maps and plain objects. */
function forEachTensor(value: unknown, visit: (tensor: Tensor) => void): void {
  if (value instanceof Tensor) visit(value);
  else if (Array.isArray(value)) for (const item of value) forEachTensor(item, visit);
  else if (value instanceof Map) for (const item of value.values()) forEachTensor(item, visit);
  else if (
    typeof value === 'object' &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype
  )
    for (const item of Object.values(value)) forEachTensor(item, visit);
}
