import type { ComputeDType } from '../../backend/dtype.js';
import type { CrossEntropyOptions } from '../crossEntropyOptions.js';
import type { Engine } from '../engine.js';
import { defineOp, type TensorSpec } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { crossEntropyIntoOp, crossEntropyOp } from './crossEntropy.js';
import { forEachChunk, slopeScale } from './headChunks.js';
import { labelIsTopOp } from './labelIsTop.js';
import { matmulOp } from './matmul.js';
import { rowStatisticsOp } from './rowStatistics.js';

export type LinearCrossEntropyRowsAttrs = CrossEntropyOptions & {
  /** Also compute the gradient of each row's loss to its hidden state. */
  readonly toHidden: boolean;
  /** Also say of each label whether it has the largest logit. */
  readonly ranked: boolean;
  /** Also give `rowStatistics`. */
  readonly statistics: boolean;
  /** What products round their operands to, in the backward pass as in the forward pass. */
  readonly compute: ComputeDType;
};

/**
 * Inputs: hidden [R, D], weight [V, D], labels int32 [R]. Outputs: the loss of each row [R]; then,
 * as the attributes ask, its gradient to hidden [R, D], `labelIsTop` [R], `rowStatistics` [R, 3].
 *
 * A row's loss reads its own hidden state alone, so one pass makes the gradients to `hidden` with
 * the losses, and an upstream gradient multiplies rows. The gradient to `weight` mixes rows by
 * their upstream gradients, which are not known before: the backward pass computes the logits
 * again, chunk by chunk.
 */
export const linearCrossEntropyRowsOp = defineOp<LinearCrossEntropyRowsAttrs>({
  name: 'linearCrossEntropyRows',
  infer: (inputs, { toHidden, ranked, statistics }) => {
    const [hidden, weight, labels] = inputs as [TensorSpec, TensorSpec, TensorSpec];
    const fits =
      hidden.shape.length === 2 &&
      weight.shape.length === 2 &&
      hidden.shape[1] === weight.shape[1] &&
      hidden.dtype === 'float32' &&
      labels.dtype === 'int32' &&
      labels.shape.join() === String(hidden.shape[0]);
    requireFit(
      fits,
      'linearCrossEntropyRows',
      inputs,
      'Give float32 hidden [R, D], weight [V, D] and int32 labels [R]',
    );
    const each = { shape: labels.shape, dtype: 'float32' } as const;
    return [
      each,
      ...(toHidden ? [{ shape: hidden.shape, dtype: 'float32' } as const] : []),
      ...(ranked ? [each] : []),
      ...(statistics ? [{ shape: [hidden.shape[0]!, 3], dtype: 'float32' } as const] : []),
    ];
  },
  decompose: ([hidden, weight, labels], attrs, engine) => {
    const { toHidden, ranked, statistics, compute, ...options } = attrs;
    const { softcap = 0 } = options;
    const [rows] = hidden!.shape as [number, number];
    const losses = engine.empty([rows]);
    const dHidden = toHidden ? engine.empty(hidden!.shape) : null;
    const isTop = ranked ? engine.empty([rows]) : null;
    const told = statistics ? engine.empty([rows, 3]) : null;
    forEachChunk(engine, rows, weight!.shape[0]!, (window) => {
      const logits = logitsOf(engine, window(hidden!), weight!, compute); // [C, V]
      const operands = [window(labels!)];
      if (told) engine.runInto(rowStatisticsOp, [logits, ...operands], [window(told)], { softcap });
      if (!dHidden) {
        if (isTop) engine.runInto(labelIsTopOp, [logits, ...operands], [window(isTop)], {});
        const lse = engine.empty([logits.shape[0]!]);
        engine.runInto(crossEntropyOp, [logits, ...operands], [window(losses), lse], options);
        return;
      }
      const scale = slopeScale(compute);
      const targets = [logits, window(losses), ...(isTop ? [window(isTop)] : [])];
      engine.runInto(crossEntropyIntoOp, operands, targets, { ...options, scale }); // logits: now scale dLogits
      const product = { ...plain, scale: 1 / scale, compute };
      engine.runInto(matmulOp, [logits, weight!], [window(dHidden)], product);
    });
    return [losses, dHidden, isTop, told].filter((t) => t !== null);
  },
  vjp: ({ engine, inputs, outputs, grads: [g], attrs, needs }) => {
    if (!g) return [null, null, null]; // of what else is told there is none
    return [
      needs[0] && attrs.toHidden ? outputs[1]!.mul(g.unsqueeze(1)) : null,
      needs[1] ? weightGradient(engine, inputs, g, attrs) : null,
      null,
    ];
  },
  saves: { inputs: [0, 1, 2], outputs: [1] },
});

const plain = { transposeA: false, transposeB: false, scale: 1, accumulate: false };

const logitsOf = (engine: Engine, hidden: Tensor, weight: Tensor, compute: ComputeDType): Tensor =>
  engine.withCompute(compute, () => hidden.matmul(weight, { transposeB: true }));

/**
 * sum over rows of g dLoss/dLogits hidden^T, [V, D]. The upstream gradients multiply hidden states,
 * of which there are fewer numbers than logits. For float16 they are brought to at most 1 before
 * and back after: a loss scale is among them.
 */
function weightGradient(
  engine: Engine,
  [hidden, weight, labels]: readonly Tensor[],
  g: Tensor,
  { toHidden: _, ranked: __, statistics: ___, compute, ...options }: LinearCrossEntropyRowsAttrs,
): Tensor {
  const [rows] = hidden!.shape as [number, number];
  const scale = slopeScale(compute);
  const largest = compute === 'float16' ? g.abs().max(0).maximum(engine.full([], 1e-30)) : null;
  const weighted = hidden!.mul((largest ? g.div(largest) : g).unsqueeze(1)); // [R, D]
  const dWeight = engine.empty(weight!.shape);
  const unused = engine.empty([rows]);
  forEachChunk(engine, rows, weight!.shape[0]!, (window, first) => {
    const logits = logitsOf(engine, window(hidden!), weight!, compute);
    const targets = [logits, window(unused)];
    engine.runInto(crossEntropyIntoOp, [window(labels!)], targets, { ...options, scale });
    const product = {
      ...plain,
      ...{ transposeA: true, scale: 1 / scale, accumulate: first > 0, compute },
    };
    engine.runInto(matmulOp, [logits, window(weighted)], [dWeight], product);
  });
  return largest ? dWeight.mul(largest) : dWeight;
}

/** What `linearCrossEntropyRows` gives. */
export interface RowLosses {
  /** [R] */
  readonly losses: Tensor;
  /** [R]: `labelIsTop` of each label; null where it was not asked for. Not differentiable. */
  readonly isTop: Tensor | null;
  /** [R, 3]: `rowStatistics`; null where they were not asked for. Not differentiable. */
  readonly statistics: Tensor | null;
}

/** What `linearCrossEntropyRows` tells of rows beside their losses. */
export interface RowQuestions {
  /** Whether each label has the largest logit. Default false. */
  readonly ranked?: boolean;
  /** Entropy, mean and concentration of the logits. Default false. */
  readonly statistics?: boolean;
}

/**
 * -log softmax(hidden weight^T)[label] of each row, 0 where the label is negative:
 * `linearCrossEntropy` before the sum, for losses that weigh rows by what they become (preference
 * losses, policy gradients). The logits [R, V] never exist.
 *
 * @param hidden float32 [R, D]
 * @param weight [V, D], any float dtype
 * @param labels int32 [R]
 * @param options forms of the loss, and what else is told, from the logits that are there anyway
 */
export function linearCrossEntropyRows(
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  { ranked = false, statistics = false, ...form }: CrossEntropyOptions & RowQuestions = {},
): RowLosses {
  const { engine } = hidden;
  const outputs = engine.run(linearCrossEntropyRowsOp, [hidden, weight, labels], {
    ...form,
    toHidden: engine.gradEnabled && hidden.requiresGrad,
    ranked,
    statistics,
    compute: engine.computeDType,
  });
  const [losses, ...others] = outputs;
  const told = statistics ? others.pop()! : null;
  return { losses: losses!, isTop: ranked ? others.pop()! : null, statistics: told };
}
