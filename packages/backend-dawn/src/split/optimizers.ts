import { numel, ops } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';
import type { Splitter } from './splitter.js';
import { rangesOf, windowOf } from './window.js';

const BLOCK = ops.MOMENT_BLOCK;
/** Words of the codes of a block. */
const WORDS = BLOCK / 4;

/** Blocks by themselves; their scales, 1/128 of the parameter, are bound as a whole. */
export const adamw8bit: Splitter = (call, { limit }) => {
  const [grad, clip, values] = call.inputs as [Operand, Operand, Operand];
  const [w, codes, scales] = call.outputs as [Operand, Operand, Operand];
  const blocks = numel(grad.shape) / BLOCK;
  const ranges = rangesOf(blocks, limit, { windows: [4 * BLOCK, 4 * WORDS] });
  if (!ranges) return null;
  return ranges.map(({ first, count }): OpCall => {
    const numbers = (o: Operand) => windowOf(o, first * BLOCK, [count * BLOCK]);
    const words = (from: number) => windowOf(codes, (from + first) * WORDS, [count * WORDS]);
    return {
      op: 'adamw8bitRange',
      inputs: [numbers(grad), clip, values],
      outputs: [numbers(w), words(0), scales, words(blocks)],
      attrs: { ...call.attrs, first },
    };
  });
};
