import { numel } from '@attune/core';
import { bytesPerElement, type OpCall, type Operand } from '@attune/core/backend';
import type { Splitter } from './splitter.js';
import { rangesOf, rowBytes, rowsOf, windowOf } from './window.js';

const operandsOf = ({ inputs, outputs }: OpCall): readonly Operand[] => [...inputs, ...outputs];

/** Each element by itself: operands of n elements in windows, the others whole. */
export const elements: Splitter = (call, { limit }) => {
  const n = Math.max(...operandsOf(call).map(({ shape }) => numel(shape)));
  const isLong = ({ shape }: Operand) => numel(shape) === n;
  const long = operandsOf(call).filter(isLong);
  const ranges = rangesOf(n, limit, { windows: long.map(({ dtype }) => bytesPerElement[dtype]) });
  return (
    ranges?.map(({ first, count }) => {
      const part = (o: Operand) => (isLong(o) ? windowOf(o, first, [count]) : o);
      return { ...bare(call), inputs: call.inputs.map(part), outputs: call.outputs.map(part) };
    }) ?? null
  );
};

/** The same of two operands that are stretched: by elements, or by rows of the result. */
export const stretched: Splitter = (call, room) => {
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const scalars = call.inputs.map((o) => (numel(o.shape) === 1 ? windowOf(o, 0, []) : o));
  if (scalars.every(({ shape }) => shape.length === 0 || numel(shape) === n))
    return elements({ ...bare(call), inputs: scalars, outputs: call.outputs }, room);
  const { length } = out.shape;
  const hasRows = ({ shape }: Operand) => shape.length === length && shape[0] === out.shape[0];
  return byRows(call, room.limit, hasRows);
};

/** A call of operands [rows, ...], each row by itself; those without rows are whole. */
export const rows: Splitter = (call, { limit }) => {
  const count = (call.outputs[0] ?? call.inputs[0]!).shape[0];
  return byRows(call, limit, ({ shape }) => shape[0] === count);
};

/** The same where the last axis alone matters. */
export const lastAxis: Splitter = (call, room) => {
  const flat = (o: Operand) => windowOf(o, 0, [numel(o.shape.slice(0, -1)), o.shape.at(-1)!]);
  const { inputs, outputs } = call;
  return rows({ ...bare(call), inputs: inputs.map(flat), outputs: outputs.map(flat) }, room);
};

function byRows(
  call: OpCall,
  limit: number,
  hasRows: (operand: Operand) => boolean,
): OpCall[] | null {
  const long = operandsOf(call).filter(hasRows);
  const ranges = rangesOf(long[0]?.shape[0] ?? 0, limit, { windows: long.map(rowBytes) });
  if (!ranges || ranges.length < 2) return null;
  return ranges.map((range) => {
    const part = (o: Operand) => (hasRows(o) ? rowsOf(o, range) : o);
    return { ...bare(call), inputs: call.inputs.map(part), outputs: call.outputs.map(part) };
  });
}

/** Without what a backend kept in it: a part is another call. */
const bare = ({ op, attrs }: OpCall) => ({ op, attrs });
