import { AttuneError } from '../../util/errors.js';
import { defineOp, type ReferenceArray } from '../op.js';
import {
  broadcastShapes,
  formatShape,
  normalizeAxis,
  numel,
  type Shape,
  sameShape,
  strides,
} from '../shape.js';
import type { Tensor } from '../tensor.js';
import { broadcastStrides, forEachRow, sumTo } from './elementwise.js';

/** out[index] = x[sum(index * steps)]: permute, expand and slice are three choices of steps. */
function readStrided(
  x: ReferenceArray,
  out: ReferenceArray,
  steps: readonly number[],
  start = 0,
): void {
  const along = steps.at(-1) ?? 0;
  const [from, to] = [x.data, out.data];
  forEachRow(out.shape, [steps], (at, length, [first]) => {
    for (let j = 0, i = start + first!; j < length; j++, i += along) to[at + j] = from[i]!;
  });
}

export const permuteOp = defineOp<{ order: readonly number[] }>({
  name: 'permute',
  infer: ([x], { order }) => [{ shape: order.map((d) => x!.shape[d]!), dtype: x!.dtype }],
  reference: ({ inputs: [x], outputs: [out], attrs }) => {
    const own = strides(x!.shape);
    readStrided(
      x!,
      out!,
      attrs.order.map((d) => own[d]!),
    );
  },
  vjp: ({ grads, attrs }) => [
    permute(
      grads[0]!,
      attrs.order.map((_, i) => attrs.order.indexOf(i)),
    ),
  ],
  saves: {},
});

/** Axis i of the result is axis order[i] of x. */
export function permute(x: Tensor, order: readonly number[]): Tensor {
  const axes = order.map((d) => normalizeAxis(d, x.rank, 'permute'));
  if (axes.length !== x.rank || new Set(axes).size !== x.rank)
    throw new AttuneError(
      'AXIS_OUT_OF_RANGE',
      `permute: [${order}] is not an order of ${x.rank} axes.`,
      {
        remedy: 'Name each axis once.',
      },
    );
  if (axes.every((d, i) => d === i)) return x;
  return x.engine.run(permuteOp, [x], { order: axes })[0]!;
}

export const expandOp = defineOp<{ shape: readonly number[] }>({
  name: 'expand',
  infer: ([x], { shape }) => {
    if (!sameShape(broadcastShapes(x!.shape, shape, 'expand'), shape))
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `expand: ${formatShape(x!.shape)} does not stretch to ${formatShape(shape)}.`,
        { remedy: 'Only axes of size 1 (or missing in front) stretch.' },
      );
    return [{ shape, dtype: x!.dtype }];
  },
  reference: ({ inputs: [x], outputs: [out] }) =>
    readStrided(x!, out!, broadcastStrides(x!.shape, out!.shape)),
  vjp: ({ inputs, grads }) => [sumTo(grads[0]!, inputs[0]!.shape)],
  saves: {},
});

/** Repeats axes of size 1 up to `shape`. */
export const expand = (x: Tensor, shape: Shape): Tensor =>
  sameShape(x.shape, shape) ? x : x.engine.run(expandOp, [x], { shape: [...shape] })[0]!;

export const sliceOp = defineOp<{ axis: number; start: number; end: number }>({
  name: 'slice',
  infer: ([x], { axis, start, end }) => [
    { shape: x!.shape.map((d, i) => (i === axis ? end - start : d)), dtype: x!.dtype },
  ],
  reference: ({ inputs: [x], outputs: [out], attrs }) => {
    const own = strides(x!.shape);
    readStrided(x!, out!, own, attrs.start * own[attrs.axis]!);
  },
  vjp: ({ inputs, grads, attrs, engine }) => {
    const x = inputs[0]!;
    const side = (size: number) =>
      engine.zeros(x.shape.map((d, i) => (i === attrs.axis ? size : d)));
    const parts: Tensor[] = [];
    if (attrs.start > 0) parts.push(side(attrs.start));
    parts.push(grads[0]!);
    const after = x.shape[attrs.axis]! - attrs.end;
    if (after > 0) parts.push(side(after));
    return [concat(parts, attrs.axis)];
  },
  saves: {},
});

/** Elements start..end-1 along an axis; negative bounds count from the end. */
export function slice(x: Tensor, axis: number, start: number, end: number): Tensor {
  const at = normalizeAxis(axis, x.rank, 'slice');
  const size = x.shape[at]!;
  const from = start < 0 ? start + size : start;
  const to = end < 0 ? end + size : end;
  if (from < 0 || to > size || from > to)
    throw new AttuneError(
      'AXIS_OUT_OF_RANGE',
      `slice: ${start}..${end} leaves axis ${axis} of size ${size}.`,
      {
        remedy: 'Keep 0 <= start <= end <= size.',
      },
    );
  if (from === 0 && to === size) return x;
  return x.engine.run(sliceOp, [x], { axis: at, start: from, end: to })[0]!;
}

export const concatOp = defineOp<{ axis: number }>({
  name: 'concat',
  infer: (inputs, { axis }) => {
    const [first] = inputs;
    for (const t of inputs)
      if (
        t.dtype !== first!.dtype ||
        t.shape.length !== first!.shape.length ||
        t.shape.some((d, i) => i !== axis && d !== first!.shape[i])
      )
        throw new AttuneError(
          'SHAPE_MISMATCH',
          `concat: ${t.dtype} ${formatShape(t.shape)} does not join ${first!.dtype} ${formatShape(first!.shape)} along axis ${axis}.`,
          { remedy: 'All other axes must agree, and the dtypes: cast() to one.' },
        );
    const size = inputs.reduce((n, t) => n + t.shape[axis]!, 0);
    return [{ shape: first!.shape.map((d, i) => (i === axis ? size : d)), dtype: first!.dtype }];
  },
  reference: ({ inputs, outputs: [out], attrs }) => {
    const outer = numel(out!.shape.slice(0, attrs.axis));
    const outWidth = numel(out!.shape.slice(attrs.axis));
    let offset = 0;
    for (const x of inputs) {
      const width = numel(x.shape.slice(attrs.axis));
      for (let o = 0; o < outer; o++)
        out!.data.set(x.data.subarray(o * width, (o + 1) * width), o * outWidth + offset);
      offset += width;
    }
  },
  vjp: ({ inputs, grads, attrs, needs }) => {
    let start = 0;
    return inputs.map((t, i) => {
      const end = start + t.shape[attrs.axis]!;
      const part = needs[i] ? slice(grads[0]!, attrs.axis, start, end) : null;
      start = end;
      return part;
    });
  },
  saves: {},
});

/** Joins tensors along an axis; at most four in one dispatch, more in a tree of them. */
export function concat(parts: readonly Tensor[], axis: number): Tensor {
  if (parts.length === 0)
    throw new AttuneError('SHAPE_MISMATCH', 'concat: no tensors were given.', {
      remedy: 'Give at least one.',
    });
  const at = normalizeAxis(axis, parts[0]!.rank, 'concat');
  let level = parts;
  while (level.length > 1) {
    const next: Tensor[] = [];
    for (let i = 0; i < level.length; i += 4) {
      const group = level.slice(i, i + 4);
      next.push(
        group.length === 1 ? group[0]! : group[0]!.engine.run(concatOp, group, { axis: at })[0]!,
      );
    }
    level = next;
  }
  return level[0]!;
}
