import { numel } from '@attune/core';
import type { Attrs, OpCall, Operand } from '@attune/core/backend';
import type { Splitter } from './splitter.js';
import { rangesOf, rowBytes, rowsOf } from './window.js';

/** Each range of a table gives the rows of the ids in it, and leaves the others of the result. */
export const embedding: Splitter = ({ inputs, outputs }, { limit }) => {
  const [weight, ids] = inputs as [Operand, Operand];
  const ranges = rangesOf(weight.shape[0]!, limit, { windows: [rowBytes(weight)] });
  if (!ranges || ranges.length < 2) return null;
  return ranges.map((range) => ({
    op: 'embeddingRows',
    inputs: [rowsOf(weight, range), ids],
    outputs,
    attrs: { first: range.first },
  }));
};

/** Equal ids are chained once; then each range of the result sums the chains of its rows. */
export const embeddingGrad: Splitter = ({ inputs, outputs, attrs }, { limit, scratch }) => {
  const [ids, g] = inputs as [Operand, Operand];
  const out = outputs[0]!;
  const ranges = rangesOf(out.shape[0]!, limit, { windows: [rowBytes(out)] });
  if (!ranges || ranges.length < 2) return null;
  const links = scratch(numel(ids.shape), 'int32');
  const chain = { op: 'embeddingLinks', inputs: [ids], outputs: [links], attrs: {} };
  const { paddingIdx } = attrs as { paddingIdx: number };
  return [
    chain,
    ...ranges.flatMap((range) => {
      const outputs = [rowsOf(out, range)];
      const sums = { first: range.first, paddingIdx };
      return [
        { op: 'fill', inputs: [], outputs, attrs: { value: 0 } },
        { op: 'embeddingGradRows', inputs: [ids, links, g], outputs, attrs: sums },
      ];
    }),
  ];
};

/** Columns of many rows: the rows are windows. Rows: a window is copied as it lies. */
export const slice: Splitter = (call, { limit }) => {
  const { axis, start } = call.attrs as { axis: number; start: number };
  const [x, out] = [call.inputs[0]!, call.outputs[0]!];
  if (axis === 0) {
    const source = rowsOf(x, { first: start, count: out.shape[0]! });
    if (source.byteOffset % 256 !== 0) return null;
    return [{ op: 'assign', inputs: [source], outputs: [out], attrs: {} }];
  }
  return eachRow(call, [x, out], limit);
};

/** target[:, start : start + T] = source, for ranges of the first axis. */
export const writeRows: Splitter = ({ op, inputs, outputs, attrs }, { limit }) => {
  if (inputs.length === 1) return eachRow({ op, attrs }, [inputs[0]!, outputs[0]!], limit);
  return inputs.map((source, i) => ({ op, inputs: [source], outputs: [outputs[i]!], attrs }));
};

function eachRow(
  { op, attrs }: { op: string; attrs: Attrs },
  [source, target]: readonly [Operand, Operand],
  limit: number,
): OpCall[] | null {
  const ranges = rangesOf(source.shape[0]!, limit, {
    windows: [rowBytes(source), rowBytes(target)],
  });
  if (!ranges || ranges.length < 2) return null;
  return ranges.map((range) => ({
    op,
    inputs: [rowsOf(source, range)],
    outputs: [rowsOf(target, range)],
    attrs,
  }));
}
