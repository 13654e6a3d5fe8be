import type { CrossEntropyOptions } from '../crossEntropyOptions.js';
import { defineOp, type TensorSpec } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { crossEntropyIntoOp, crossEntropyOp } from './crossEntropy.js';
import { forEachChunk, slopeScale } from './headChunks.js';
import { labelIsTopOp } from './labelIsTop.js';
import { matmulOp } from './matmul.js';

type LinearCrossEntropyAttrs = CrossEntropyOptions & {
  /** Also compute the gradient to `hidden`. */
  readonly toHidden: boolean;
  /** Also compute the gradient to `weight`. */
  readonly toWeight: boolean;
  /** Also count the labels with the largest logit. */
  readonly countCorrect: boolean;
};

/**
 * Inputs: hidden [R, D], weight [V, D], labels int32 [R]. Outputs: the summed loss [1], then the
 * gradients of that sum to hidden [R, D] and to weight [V, D], then the count of correct labels
 * [1], as the attributes ask.
 */
export const linearCrossEntropyOp = defineOp<LinearCrossEntropyAttrs>({
  name: 'linearCrossEntropy',
  infer: (inputs, { toHidden, toWeight, countCorrect }) => {
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
      'linearCrossEntropy',
      inputs,
      'Give float32 hidden [R, D], weight [V, D] and int32 labels [R]',
    );
    return [
      { shape: [1], dtype: 'float32' },
      ...(toHidden ? [{ shape: hidden.shape, dtype: 'float32' } as const] : []),
      ...(toWeight ? [{ shape: weight.shape, dtype: 'float32' } as const] : []),
      ...(countCorrect ? [{ shape: [1], dtype: 'float32' } as const] : []),
    ];
  },
  decompose: ([hidden, weight, labels], attrs, engine) => {
    const { toHidden, toWeight, countCorrect, ...options } = attrs;
    const [rows] = hidden!.shape as [number, number];
    const [vocabSize] = weight!.shape as [number, number];
    const nll = engine.empty([rows]);
    const isTop = countCorrect ? engine.empty([rows]) : null;
    const dHidden = toHidden ? engine.empty(hidden!.shape) : null;
    const dWeight = toWeight ? engine.empty(weight!.shape) : null;
    forEachChunk(engine, rows, vocabSize, (window, first) => {
      const chunk = window(hidden!);
      const logits = chunk.matmul(weight!, { transposeB: true }); // [C, V]
      const operands = [window(labels!)];
      if (!dHidden && !dWeight) {
        if (isTop) engine.runInto(labelIsTopOp, [logits, ...operands], [window(isTop)], {});
        const lse = engine.empty([chunk.shape[0]!]);
        engine.runInto(crossEntropyOp, [logits, ...operands], [window(nll), lse], options);
        return;
      }
      const gradScale = slopeScale(engine.computeDType);
      const attrs = { ...options, scale: gradScale };
      const targets = [logits, window(nll), ...(isTop ? [window(isTop)] : [])];
      engine.runInto(crossEntropyIntoOp, operands, targets, attrs); // logits: now gradScale dLogits
      const plain = {
        transposeA: false,
        transposeB: false,
        scale: 1 / gradScale,
        accumulate: false,
        compute: engine.computeDType,
      };
      if (dHidden) engine.runInto(matmulOp, [logits, weight!], [window(dHidden)], plain);
      if (dWeight) {
        const attrs = { ...plain, transposeA: true, accumulate: first > 0 };
        engine.runInto(matmulOp, [logits, chunk], [dWeight], attrs);
      }
    });
    const correct = isTop?.sum().reshape(1) ?? null;
    return [nll.sum().reshape(1), ...[dHidden, dWeight, correct].filter((t) => t !== null)];
  },
  vjp: ({ outputs, grads: [g], attrs, needs }) => {
    const [, ...held] = outputs;
    const dHidden = attrs.toHidden ? held.shift()! : null;
    const dWeight = attrs.toWeight ? held.shift()! : null;
    return [
      needs[0] && dHidden ? dHidden.mul(g!) : null,
      needs[1] && dWeight ? dWeight.mul(g!) : null,
      null,
    ];
  },
  saves: { inputs: [], outputs: [1, 2] },
});

/**
 * sum over rows of -log softmax(hidden weight^T)[label], rows with a negative label left out: the
 * output layer and the loss in one, a few rows at a time, so that the logits [R, V] never exist.
 * The gradients are computed with the loss (Hsu et al., Liger Kernel, arXiv:2410.10989), so that
 * the logits of a chunk are needed once.
 *
 * @param hidden float32 [R, D]
 * @param weight [V, D], any float dtype
 * @param labels int32 [R]
 * @param options forms of the loss: label smoothing, capped logits, dynamic fine-tuning
 * @returns [1]
 */
export const linearCrossEntropy = (
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: CrossEntropyOptions = {},
): Tensor => runFused([hidden, weight, labels], options, false)[0]!;

/**
 * The same with how many labels have the largest logit of their row (`labelIsTop`): the numerator
 * of the token accuracy, from the logits that are there anyway. Not differentiable.
 *
 * @returns both [1]
 */
export function linearCrossEntropyAndCorrect(
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: CrossEntropyOptions = {},
): { loss: Tensor; correct: Tensor } {
  const outputs = runFused([hidden, weight, labels], options, true);
  return { loss: outputs[0]!, correct: outputs.at(-1)! };
}

function runFused(
  inputs: readonly [hidden: Tensor, weight: Tensor, labels: Tensor],
  options: CrossEntropyOptions,
  countCorrect: boolean,
): readonly Tensor[] {
  const [hidden, weight] = inputs;
  const { engine } = hidden;
  return engine.run(linearCrossEntropyOp, inputs, {
    ...options,
    toHidden: engine.gradEnabled && hidden.requiresGrad,
    toWeight: engine.gradEnabled && weight.requiresGrad,
    countCorrect,
  });
}
