import type { OpCall } from '@attune/core/backend';
import { elementwiseKernels } from '../kernels/elementwise.js';
import { gatedKernels } from '../kernels/gated.js';
import { unaryKernels } from '../kernels/unary.js';
import { elements, lastAxis, rows, stretched } from './elementwise.js';
import { adamw8bit } from './optimizers.js';
import { dequantize, matmul, quantizedMatmul } from './products.js';
import type { Room, Splitter } from './splitter.js';
import { reduction, sumSquares } from './sums.js';
import { embedding, embeddingGrad, slice, writeRows } from './tables.js';
import { bytesOf } from './window.js';

export type { Room } from './splitter.js';

const named = (ops: readonly string[], splitter: Splitter): [string, Splitter][] =>
  ops.map((op) => [op, splitter]);
const opsOf = (kernels: readonly { readonly op: string }[]) => kernels.map(({ op }) => op);

/**
 * How calls on tensors larger than a binding become calls on windows of them. What is here covers
 * tables, heads, their gradients, optimizer state and quantised forms; other ops are refused.
 */
const splitters: ReadonlyMap<string, Splitter> = new Map([
  ...named(opsOf([...unaryKernels, ...gatedKernels]), elements),
  ...named(opsOf(elementwiseKernels), stretched),
  ...named(['affine', 'cast', 'assign', 'fill', 'accumulate'], elements),
  ...named(['sgd', 'lion', 'adamw'], elements),
  ...named(['sum', 'max', 'argmax'], reduction),
  ...named(['softmax', 'logSoftmax', 'softmaxGrad'], lastAxis),
  ...named(['crossEntropy', 'crossEntropyGrad', 'crossEntropyInto', 'labelIsTop'], rows),
  ...named(['rowStatistics'], rows),
  ...Object.entries({
    ...{ embedding, embeddingGrad, slice, writeRows },
    ...{ matmul, quantizedMatmul, dequantize, sumSquares, adamw8bit },
  }),
]);

/** Whether a kernel can bind every operand of a call, and what it writes down meanwhile. */
export function fits(call: OpCall, { limit, isStaged }: Omit<Room, 'scratch'>): boolean {
  for (const operand of call.inputs) if (bytesOf(operand) > limit) return false;
  for (const operand of call.outputs) if (bytesOf(operand) > limit) return false;
  if (call.op !== 'quantizedMatmul' || !isStaged) return true;
  const { outFeatures, inFeatures } = call.attrs as { outFeatures: number; inFeatures: number };
  return 4 * outFeatures * inFeatures <= limit;
}

/** A call that does not fit, as several that fit better; null where there are none. */
export const splitCall: Splitter = (call, room) => splitters.get(call.op)?.(call, room) ?? null;
