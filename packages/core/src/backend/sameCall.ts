import type { Attrs, AttrValue, OperandSpec } from './opCall.js';

// What caches of calls compare by. A number is never part of a key: it may be another one in every
// step. It is compared with the one for which the cached thing was made.

/** Adds the shape of an operand to a hash; start with any integer. */
export function hashShape(hash: number, shape: readonly number[]): number {
  let h = Math.imul(hash, 31) + shape.length;
  for (let i = 0; i < shape.length; i++) h = Math.imul(h, 31) + shape[i]!;
  return h | 0;
}

/** Where a copy carries the hash of its booleans and strings. */
const VARIANT = Symbol('variant');

/** Adds what may pick a variant: booleans and strings, not numbers. */
export function hashAttrs(hash: number, attrs: Attrs): number {
  const known = (attrs as { readonly [VARIANT]?: number })[VARIANT];
  return (Math.imul(hash, 31) + (known ?? variantOf(attrs))) | 0;
}

function variantOf(attrs: Attrs): number {
  let h = 0;
  for (const name in attrs) {
    const value = attrs[name]!;
    if (typeof value === 'boolean') h = Math.imul(h, 31) + (value ? 1 : 2);
    else if (typeof value === 'string') h = Math.imul(h, 31) + value.length;
  }
  return h | 0;
}

/** Whether two operands have one storage and one shape. */
export function sameSpec(a: OperandSpec, b: OperandSpec): boolean {
  return a.dtype === b.dtype && sameNumbers(a.shape, b.shape);
}

/**
 * Same names, same values, 0 and -0 apart.
 *
 * @param a a copy of {@link copyOfAttrs}: the very same object has not changed since
 * @param live names whose numbers may differ
 */
export function sameAttrs(a: Attrs, b: Attrs, live: ReadonlySet<string> | null = null): boolean {
  if (a === b) return true;
  let names = 0;
  for (const name in a) {
    if (!sameValue(a[name]!, b[name]) && !(live?.has(name) && typeof b[name] === 'number'))
      return false;
    names++;
  }
  for (const _ in b) names--;
  return names === 0;
}

function sameValue(a: AttrValue, b: AttrValue | undefined): boolean {
  if (Object.is(a, b)) return true;
  return typeof a === 'object' && typeof b === 'object' && sameNumbers(a, b);
}

function sameNumbers(a: readonly number[], b: readonly number[]): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** A copy that nobody can change; of such a copy, itself. */
export function copyOfAttrs(attrs: Attrs): Attrs {
  if (VARIANT in attrs) return attrs;
  const copy: Record<string, AttrValue> = {};
  for (const name in attrs) {
    const value = attrs[name]!;
    copy[name] = typeof value === 'object' ? Object.freeze([...value]) : value;
  }
  Object.defineProperty(copy, VARIANT, { value: variantOf(attrs) });
  return Object.freeze(copy);
}
