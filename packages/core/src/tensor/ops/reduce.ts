import type { DType } from '../../backend/dtype.js';
import { defineOp, type ReferenceArray, type TensorSpec } from '../op.js';
import { normalizeAxis, numel, requireFit, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { equal } from './elementwise.js';
import { expand } from './movement.js';

/** A reduction works on a run of neighbouring axes: [outer, reduced, inner] -> [outer, inner]. */
export interface ReduceAttrs extends Record<string, number> {
  readonly start: number;
  readonly end: number;
}

export function splitAxes(shape: Shape, { start, end }: ReduceAttrs) {
  return {
    outer: numel(shape.slice(0, start)),
    reduced: numel(shape.slice(start, end)),
    inner: numel(shape.slice(end)),
  };
}

const reducedSpec = (dtype: DType) => (inputs: readonly TensorSpec[], attrs: ReduceAttrs) => [
  {
    shape: [...inputs[0]!.shape.slice(0, attrs.start), ...inputs[0]!.shape.slice(attrs.end)],
    dtype,
  },
];

/** Nothing has no largest value. */
const nonEmpty =
  (op: string, dtype: DType) => (inputs: readonly TensorSpec[], attrs: ReduceAttrs) => {
    const fits = splitAxes(inputs[0]!.shape, attrs).reduced > 0;
    requireFit(fits, op, inputs, 'Give an axis with at least one element');
    return reducedSpec(dtype)(inputs, attrs);
  };

function forEachGroup(
  x: ReferenceArray,
  attrs: ReduceAttrs,
  visit: (output: number, values: Float64Array) => void,
): void {
  const { outer, reduced, inner } = splitAxes(x.shape, attrs);
  const values = new Float64Array(reduced);
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) {
      for (let r = 0; r < reduced; r++) values[r] = x.data[(o * reduced + r) * inner + i]!;
      visit(o * inner + i, values);
    }
}

/** The reduced tensor with size-1 axes where they were, then stretched back. */
const restore = (reduced: Tensor, shape: Shape, { start, end }: ReduceAttrs): Tensor =>
  expand(reduced.reshape(...shape.map((d, i) => (i >= start && i < end ? 1 : d))), shape);

export const sumOp = defineOp<ReduceAttrs>({
  name: 'sum',
  infer: reducedSpec('float32'),
  reference: ({ inputs, outputs, attrs }) =>
    forEachGroup(inputs[0]!, attrs, (at, values) => {
      let total = 0;
      for (let i = 0; i < values.length; i++) total += values[i]!;
      outputs[0]!.data[at] = total;
    }),
  vjp: ({ inputs, grads, attrs }) => [restore(grads[0]!, inputs[0]!.shape, attrs)],
  saves: {},
});

export const maxOp = defineOp<ReduceAttrs>({
  name: 'max',
  infer: nonEmpty('max', 'float32'),
  reference: ({ inputs, outputs, attrs }) =>
    forEachGroup(inputs[0]!, attrs, (at, values) => {
      let best = Number.NEGATIVE_INFINITY;
      for (const v of values) best = Math.max(best, v);
      outputs[0]!.data[at] = best;
    }),
  // Ties share the gradient evenly, as torch.amax.
  vjp: ({ inputs, outputs, grads, attrs }) => {
    const x = inputs[0]!;
    const ties = equal(x, restore(outputs[0]!, x.shape, attrs));
    const count = x.engine.run(sumOp, [ties], attrs)[0]!;
    return [ties.mul(restore(grads[0]!.div(count), x.shape, attrs))];
  },
  saves: { inputs: [0], outputs: [0] },
});

export const argmaxOp = defineOp<ReduceAttrs>({
  name: 'argmax',
  infer: nonEmpty('argmax', 'int32'),
  reference: ({ inputs, outputs, attrs }) =>
    forEachGroup(inputs[0]!, attrs, (at, values) => {
      let best = 0;
      for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
      outputs[0]!.data[at] = best;
    }),
  vjp: () => [null],
  saves: {},
});

/** Neighbouring axes in one pass; separate runs in several, from the last. */
export function sum(x: Tensor, axes?: number | readonly number[], keepDim = false): Tensor {
  const list =
    axes === undefined ? x.shape.map((_, i) => i) : typeof axes === 'number' ? [axes] : axes;
  const sorted = [...new Set(list.map((a) => normalizeAxis(a, x.rank, 'sum')))].sort(
    (a, b) => a - b,
  );
  const keptShape = x.shape.map((d, i) => (sorted.includes(i) ? 1 : d));
  let out = x;
  for (let i = sorted.length - 1; i >= 0; i--) {
    let first = i;
    while (first > 0 && sorted[first - 1] === sorted[first]! - 1) first--;
    out = out.engine.run(sumOp, [out], { start: sorted[first]!, end: sorted[i]! + 1 })[0]!;
    i = first;
  }
  return keepDim ? out.reshape(...keptShape) : out;
}

export function mean(x: Tensor, axes?: number | readonly number[], keepDim = false): Tensor {
  const total = sum(x, axes, keepDim);
  return total.mul(total.size / x.size);
}

export function max(x: Tensor, axis: number, keepDim = false): Tensor {
  const at = normalizeAxis(axis, x.rank, 'max');
  const out = x.engine.run(maxOp, [x], { start: at, end: at + 1 })[0]!;
  return keepDim ? out.unsqueeze(at) : out;
}

/** Index of the first largest value along an axis, int32. */
export function argmax(x: Tensor, axis = -1): Tensor {
  const at = normalizeAxis(axis, x.rank, 'argmax');
  return x.engine.run(argmaxOp, [x], { start: at, end: at + 1 })[0]!;
}
