import { AttuneError } from '../util/errors.js';

/** Sizes by axis, the slowest first. */
export type Shape = readonly number[];

// Loops: these run many times in every step.

/** How many numbers a shape has. */
export function numel(shape: Shape): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i]!;
  return n;
}

/** Row-major strides in elements. */
export function strides(shape: Shape): number[] {
  const out = new Array<number>(shape.length);
  for (let i = shape.length - 1, stride = 1; i >= 0; i--) {
    out[i] = stride;
    stride *= shape[i]!;
  }
  return out;
}

/** Whether two shapes are the same. */
export function sameShape(a: Shape, b: Shape): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A shape as messages write it: `[2, 3]`. */
export const formatShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** What an op needs of its inputs. @throws SHAPE_MISMATCH with all of them unless `fits` */
export function requireFit(
  fits: boolean,
  op: string,
  inputs: readonly { readonly shape: Shape; readonly dtype: string }[],
  expected: string,
): void {
  if (fits) return;
  const found = inputs.map((t) => `${t.dtype} ${formatShape(t.shape)}`).join(', ');
  throw new AttuneError('SHAPE_MISMATCH', `${op}: ${found} do not fit.`, {
    remedy: `${expected}.`,
  });
}

/** NumPy's broadcasting rule. @throws SHAPE_MISMATCH */
export function broadcastShapes(a: Shape, b: Shape, op: string): number[] {
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 1; i <= rank; i++) {
    const da = a[a.length - i] ?? 1;
    const db = b[b.length - i] ?? 1;
    if (da !== db && da !== 1 && db !== 1)
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `${op}: shapes ${formatShape(a)} and ${formatShape(b)} do not broadcast (${da} against ${db}, counted from the end ${i}).`,
        { remedy: 'Make the dimensions equal, or 1, counted from the last.' },
      );
    out[rank - i] = da === 1 ? db : da;
  }
  return out;
}

/** Negative axes count from the end. @throws AXIS_OUT_OF_RANGE */
export function normalizeAxis(axis: number, rank: number, op: string): number {
  const normalized = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || normalized < 0 || normalized >= rank)
    throw new AttuneError(
      'AXIS_OUT_OF_RANGE',
      `${op}: axis ${axis} does not exist in a tensor of rank ${rank}.`,
      { remedy: `Use ${-rank} to ${rank - 1}.` },
    );
  return normalized;
}

/** Resolves one -1 in a reshape. @throws SHAPE_MISMATCH */
export function resolveReshape(from: Shape, to: Shape): number[] {
  const total = numel(from);
  let known = 1;
  let unknown = 0;
  for (let i = 0; i < to.length; i++)
    if (to[i] === -1) unknown++;
    else known *= to[i]!;
  const resolved = [...to];
  if (unknown > 0) resolved[to.indexOf(-1)] = total / known;
  if (unknown > 1 || !resolved.every(Number.isInteger) || numel(resolved) !== total)
    throw new AttuneError(
      'SHAPE_MISMATCH',
      `reshape: ${formatShape(from)} (${total} elements) cannot become ${formatShape(to)}.`,
      { remedy: 'Keep the number of elements; at most one dimension may be -1.' },
    );
  return resolved;
}
