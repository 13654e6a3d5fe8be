import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Every number of a step, as data. */
export interface AdafactorAttrs extends Record<string, number> {
  /** Before it is scaled by the parameter. */
  readonly lr: number;
  /** Decay rate of the second moment in this update: 1 - step^decayRate. */
  readonly beta2: number;
  /** Decay rate of the first moment; without one of no meaning. */
  readonly beta1: number;
  /** Added to each squared gradient. */
  readonly eps: number;
  /** Largest root mean square of an update. */
  readonly clipThreshold: number;
  readonly weightDecay: number;
  /** Below 0: the rate is not scaled; else by max(paramScale, RMS of the parameter). */
  readonly paramScale: number;
}

/** The sizes of a factored parameter: `batch` matrices [rows, columns]; the last two axes. */
export function factors(shape: readonly number[]): {
  batch: number;
  rows: number;
  columns: number;
} {
  const [columns, rows] = [shape.at(-1)!, shape.at(-2)!];
  return { batch: numel(shape) / (rows * columns), rows, columns };
}

/** Whether a parameter of this shape has a row and a column of state instead of a second moment. */
export const isFactored = (shape: readonly number[]): boolean => shape.length >= 2;

/**
 * Inputs: grad, of the parameter's shape, and clip [norm, coefficient, finite]. Updates: parameter
 * [..., R, C], row [..., R] and column [..., C] (of a vector: parameter [n] and second moment [n]),
 * and last, if there is a first moment, that one.
 */
export const adafactorOp = defineOp<AdafactorAttrs>({
  name: 'adafactor',
  infer: (specs) => {
    const [grad, clip, parameter, ...state] = specs;
    const { shape } = parameter!;
    const sizes = isFactored(shape)
      ? [numel(shape) / shape.at(-1)!, numel(shape) / shape.at(-2)!]
      : [numel(shape)];
    const fits =
      numel(clip!.shape) === 3 &&
      numel(grad!.shape) === numel(shape) &&
      sizes.every((size, i) => numel(state[i]!.shape) === size) &&
      (state.length === sizes.length || numel(state.at(-1)!.shape) === numel(shape));
    requireFit(
      fits,
      'adafactor',
      specs,
      'Give gradient and parameter [..., R, C], row, column, clip [3]',
    );
    return [];
  },
  reference: ({ inputs: [grad, clip], outputs: [parameter, ...state], attrs }) => {
    const [, coefficient, finite] = clip!.data;
    if (!finite) return;
    const { lr, beta1, beta2, eps, clipThreshold, weightDecay, paramScale } = attrs;
    const p = parameter!.data;
    const g = Float64Array.from(grad!.data, (x) => x * coefficient!);
    const factored = isFactored(parameter!.shape);
    const first = state[factored ? 2 : 1]?.data;
    const direction = factored
      ? factoredDirection(g, parameter!.shape, state[0]!.data, state[1]!.data, beta2, eps)
      : g.map((x, i) => {
          const v = state[0]!.data;
          v[i] = beta2 * v[i]! + (1 - beta2) * (x * x + eps);
          return x / Math.sqrt(v[i]!);
        });
    const rate = lr * (paramScale >= 0 ? Math.max(paramScale, rms(p)) : 1);
    const scale = rate / Math.max(1, rms(direction) / clipThreshold);
    for (let i = 0; i < p.length; i++) {
      let change = scale * direction[i]!;
      if (first) {
        change = beta1 * first[i]! + (1 - beta1) * change;
        first[i] = change;
      }
      p[i] = p[i]! * (1 - rate * weightDecay) - change;
    }
  },
});

const rms = (x: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i]! * x[i]!;
  return Math.sqrt(sum / x.length);
};

/** Moves row and column; g over the root of the second moment that they stand for. */
function factoredDirection(
  g: Float64Array,
  shape: readonly number[],
  row: { [i: number]: number },
  column: { [i: number]: number },
  beta2: number,
  eps: number,
): Float64Array {
  const { batch, rows, columns } = factors(shape);
  const direction = new Float64Array(g.length);
  for (let b = 0; b < batch; b++) {
    const at = (r: number, c: number) => (b * rows + r) * columns + c;
    const square = (r: number, c: number) => g[at(r, c)]! ** 2 + eps;
    const mean = (n: number, value: (i: number) => number) => {
      let sum = 0;
      for (let i = 0; i < n; i++) sum += value(i);
      return sum / n;
    };
    const move = (state: { [i: number]: number }, i: number, value: number) => {
      state[i] = beta2 * state[i]! + (1 - beta2) * value;
    };
    for (let r = 0; r < rows; r++)
      move(
        row,
        b * rows + r,
        mean(columns, (c) => square(r, c)),
      );
    for (let c = 0; c < columns; c++)
      move(
        column,
        b * columns + c,
        mean(rows, (r) => square(r, c)),
      );
    const rowMean = mean(rows, (r) => row[b * rows + r]!);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        const moment = (row[b * rows + r]! / rowMean) * column[b * columns + c]!;
        direction[at(r, c)] = g[at(r, c)]! / Math.sqrt(moment);
      }
  }
  return direction;
}

/**
 * One Adafactor update in place (Shazeer and Stern 2018, arXiv:1804.04235), skipped where the norm
 * is not finite.
 */
export function adafactor(
  state: { parameter: Tensor; second: readonly Tensor[]; first: Tensor | null },
  grad: Tensor,
  clip: Tensor,
  attrs: AdafactorAttrs,
): void {
  const { parameter, second, first } = state;
  const outputs = [parameter, ...second, ...(first ? [first] : [])];
  grad.engine.runInto(adafactorOp, [grad, clip], outputs, attrs);
}
