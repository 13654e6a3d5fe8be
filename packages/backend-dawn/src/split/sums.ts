import { numel, ops } from '@attune/core';
import { bytesPerElement, type OpCall, type Operand } from '@attune/core/backend';
import { rows } from './elementwise.js';
import type { Room, Splitter } from './splitter.js';
import { rangesOf, windowOf } from './window.js';

/** A partial sum starts where a window may: so many float32 lie between two. */
const STRIDE = 64;

/** A sum over everything: of each range of elements, then of those. */
function inRanges(call: OpCall, x: Operand, out: Operand, { limit, scratch }: Room) {
  const ranges = rangesOf(numel(x.shape), limit, { windows: [bytesPerElement[x.dtype]] });
  if (!ranges) return null;
  const partial = scratch(ranges.length * STRIDE, 'float32');
  const zero = { op: 'fill', inputs: [], outputs: [partial], attrs: { value: 0 } };
  const whole = { start: 0, end: 1 };
  const sums = ranges.map(({ first, count }, i) => ({
    op: call.op,
    inputs: [windowOf(x, first, [count])],
    outputs: [windowOf(partial, i * STRIDE, out.shape)],
    attrs: call.op === 'sum' ? whole : call.attrs,
  }));
  return [zero, ...sums, { op: 'sum', inputs: [partial], outputs: [out], attrs: whole }];
}

export const sumSquares: Splitter = (call, room) =>
  inRanges(call, call.inputs[0]!, call.outputs[0]!, room);

/** Sums and the like: over everything, or of each row by itself. */
export const reduction: Splitter = (call, room) => {
  const x = call.inputs[0]!;
  const { outer, inner, reduced } = ops.splitAxes(x.shape, call.attrs as ops.ReduceAttrs);
  if (outer === 1 && inner === 1 && call.op === 'sum')
    return inRanges(call, x, call.outputs[0]!, room);
  if (outer === 1) return null;
  return rows(
    {
      op: call.op,
      inputs: [windowOf(x, 0, [outer, reduced, inner])],
      outputs: [windowOf(call.outputs[0]!, 0, [outer, inner])],
      attrs: { start: 1, end: 2 },
    },
    room,
  );
};
