import type { Engine } from '../engine.js';
import { defineOp, type TensorSpec } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { type CrossEntropyOptions, crossEntropyIntoOp, crossEntropyOp } from './crossEntropy.js';
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

/** Rows of a chunk start where WebGPU can bind: 64 rows of float32 are a multiple of 256 bytes. */
const CHUNK_UNIT = 64;
/** Logits of one chunk take at most this much, if 64 rows fit into it. */
const MAX_CHUNK_BYTES = 64 * 2 ** 20;

/**
 * Probabilities of 1e-5 are too small for float16; this many times as large they are not, and the
 * largest is still far from its limit. A power of two: undone without rounding.
 */
const HALF_SCALE = 4096;

/**
 * Rows of logits that exist at one time: less than a tenth of all, in powers of two from 64 on.
 *
 * @param maxBytes the largest buffer of the device
 */
export function chunkRows(rows: number, vocabSize: number, maxBytes: number): number {
  if (rows <= CHUNK_UNIT) return rows;
  const budget = Math.min(MAX_CHUNK_BYTES, maxBytes) / (4 * vocabSize);
  let chunk = CHUNK_UNIT;
  while (chunk * 2 < rows / 10 && chunk * 2 <= budget) chunk *= 2;
  return chunk;
}

/**
 * Inputs: hidden [R, D], weight [V, D], labels int32 [R]. Outputs: the summed loss [1], then the
 * gradients of that sum to hidden [R, D] and to weight [V, D], then the count of correct labels [1], as the
 * attributes ask.
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
    const size = chunkRows(rows, vocabSize, engine.backend.limits.maxBufferBytes);
    const nll = engine.empty([rows]);
    const isTop = countCorrect ? engine.empty([rows]) : null;
    const dHidden = toHidden ? engine.empty(hidden!.shape) : null;
    const dWeight = toWeight ? engine.empty(weight!.shape) : null;
    for (let first = 0; first < rows; first += size)
      engine.scope('chunk', () => {
        const window = rowWindow(engine, first, Math.min(size, rows - first));
        const chunk = window(hidden!);
        const logits = chunk.matmul(weight!, { transposeB: true }); // [C, V]
        const operands = [window(labels!)];
        if (!dHidden && !dWeight) {
          if (isTop) engine.runInto(labelIsTopOp, [logits, ...operands], [window(isTop)], {});
          const lse = engine.empty([chunk.shape[0]!]);
          engine.runInto(crossEntropyOp, [logits, ...operands], [window(nll), lse], options);
          return;
        }
        const gradScale = engine.computeDType === 'float16' ? HALF_SCALE : 1;
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

/** Views of `count` rows from `first` on. */
const rowWindow =
  (engine: Engine, first: number, count: number) =>
  (x: Tensor): Tensor => {
    const [, ...rest] = x.shape;
    const stride = rest.reduce((n, axis) => n * axis, 1);
    return engine.window(x, first * stride, [count, ...rest]);
  };

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
 * The same with how many labels have the largest logit of their row (`labelIsTop`): the numerator of the
 * token accuracy, from the logits that are there anyway. Not differentiable.
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
