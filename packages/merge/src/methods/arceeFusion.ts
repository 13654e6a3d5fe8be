import { orderStatistics, type ValuePass } from '../arithmetic/orderStatistics.js';
import {
  defineMergeMethod,
  type MergeArithmetic,
  type MergeGroup,
} from '../contract/mergeMethod.js';

/** Added to probabilities. */
const EPS = 1e-8;

/**
 * Takes those elements of the model that matter most, the others of the base:
 *
 *     importance_i = |model_i - base_i| KL(softmax(model row) || softmax(base row))
 *     model_i where importance_i >= median + 1.5 (q3 - q1), else base_i
 *
 * Rows run along the last axis. Quartiles are exact, the elements at floor(q (n - 1)) in order;
 * mergekit estimates those of tensors above a million elements from a random sample. Divergences
 * are summed in float64: in float32, as mergekit has it, those of small changes are noise.
 *
 * @see github.com/arcee-ai/mergekit, "Arcee Fusion"
 */
export const arceeFusion = defineMergeMethod({
  name: 'arcee_fusion',
  title: 'Arcee Fusion',
  reference: 'https://arcee.ai',
  base: 'required',
  inputs: { min: 2, max: 2 },
  parameters: {},
  chunks: 'rows',
  merge: (group, _parameters, arithmetic) => {
    const { round } = arithmetic;
    const divergences = divergencesOf(group, arithmetic);
    const importanceOf = (model: number, base: number, row: number) =>
      round(round(Math.abs(model - base)) * divergences[row]!);
    const { columns, length } = group;

    let memory = new Float32Array(0);
    const places = [0.25, 0.5, 0.75].map((q) => Math.floor(q * (length - 1)));
    const pass: ValuePass = (take) => {
      for (const { start, length: count, base, models } of group.chunks()) {
        if (memory.length < count) memory = new Float32Array(count);
        const values = memory.subarray(0, count);
        for (let i = 0, row = start / columns; i < count; row++)
          for (const end = i + columns; i < end; i++)
            values[i] = importanceOf(models[0]![i]!, base![i]!, row);
        take(values);
      }
    };
    const [q1, median, q3] = orderStatistics(pass, places);
    const threshold = round(median! + round(1.5 * round(q3! - q1!)));

    if (arithmetic.kept) {
      let count = 0;
      pass((values) => {
        for (let i = 0; i < values.length; i++) if (values[i]! >= threshold) count++;
      });
      arithmetic.kept([count / length]);
    }

    return ({ start, base, models }, out) => {
      const model = models[0]!;
      for (let i = 0, row = start / columns; i < out.length; row++)
        for (const end = i + columns; i < end; i++) {
          const m = model[i]!;
          const b = base![i]!;
          out[i] = importanceOf(m, b, row) >= threshold ? b + round(m - b) : b;
        }
    };
  },
});

/** KL(softmax(model) || softmax(base)) of each row. */
function divergencesOf(group: MergeGroup, { dtype, round }: MergeArithmetic): Float64Array {
  const { columns } = group;
  const held = dtype === 'float32' ? (value: number) => value : round;
  const divergences = new Float64Array(group.length / columns);
  const [p, q] = [new Float64Array(columns), new Float64Array(columns)];
  for (const { start, length, base, models } of group.chunks())
    for (let i = 0, row = start / columns; i < length; i += columns, row++) {
      softmax(models[0]!, i, p, held);
      softmax(base!, i, q, held);
      let sum = 0;
      for (let j = 0; j < columns; j++) {
        const share = p[j]!;
        sum += held(share * held(Math.log(held(share / q[j]!))));
      }
      divergences[row] = round(sum);
    }
  return divergences;
}

/** Shares of a row that begins at `start`, EPS added to each. */
function softmax(
  values: Float32Array,
  start: number,
  out: Float64Array,
  held: (value: number) => number,
): void {
  let largest = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < out.length; j++) largest = Math.max(largest, values[start + j]!);
  let sum = 0;
  for (let j = 0; j < out.length; j++) sum += out[j] = Math.exp(values[start + j]! - largest);
  for (let j = 0; j < out.length; j++) out[j] = held(held(out[j]! / sum) + held(EPS));
}
