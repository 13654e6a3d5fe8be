/**
 * A named place where plugins add things of one type: PEFT methods, model families, callbacks. The
 * package that owns the place exports its point. The symbol is global, so two copies of a package
 * agree.
 */
export interface ExtensionPoint<T, Facts extends object = object> {
  readonly id: symbol;
  readonly name: string;
  /** What users call a contribution: its `peftType`, `modelType`, ... */
  keyOf(value: T): string;
  /** Never set: carries the type. */
  readonly type?: T;
  /** Never set: carries the type of what a contribution says of itself before it is made. */
  readonly facts?: Facts;
}

/**
 * Makes a place where plugins add things of one type.
 *
 * @param name of the point, e.g. "acme.samplers"
 * @param keyOf what users call a contribution
 */
export function extensionPoint<T, Facts extends object = object>(
  name: string,
  keyOf: (value: T) => string,
): ExtensionPoint<T, Facts> {
  return { id: Symbol.for(`attune.point.${name}`), name, keyOf };
}

/** A contribution that the container builds when it is asked for, injecting its constructor. */
export interface ClassContribution<T> {
  readonly name: string;
  readonly useClass: new (...dependencies: never[]) => T;
}

/** A value as it is, or a class with the name under which it is found; beside it, its facts. */
export type Contribution<T, Facts extends object = object> = (T | ClassContribution<T>) & Facts;

/** Whether a contribution is a class that the container builds. */
export const isClassContribution = <T>(
  value: T | ClassContribution<T>,
): value is ClassContribution<T> =>
  typeof value === 'object' && value !== null && 'useClass' in value;
