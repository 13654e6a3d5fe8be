import { type DType, numel, ops } from '@attune/core';
import type { OpCall } from '@attune/core/backend';
import { type DeviceFacts, defineKernel, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { laneReductions } from './shader.js';
import { stage } from './stage.js';

type Scratch = (elements: number, dtype: DType) => OpCall['inputs'][number];

/**
 * How a sum-like reduction starts, takes a value in, and joins lanes. `first` is the index of a
 * value of its own.
 */
interface Reduction {
  readonly name: string;
  readonly start: (first: string) => string;
  readonly take: (accumulator: string, value: string) => string;
  readonly join: 'laneSum' | 'laneMax';
}

const total: Reduction = {
  name: 'sum',
  start: () => '0.0',
  take: (a, v) => `${a} + ${v}`,
  join: 'laneSum',
};
const squares: Reduction = {
  name: 'sumSquares',
  start: () => '0.0',
  take: (a, v) => `fma(${v}, ${v}, ${a})`,
  join: 'laneSum',
};
const largest: Reduction = {
  name: 'max',
  // WGSL cannot write -infinity, and a row of nothing else must stay that.
  start: (first) => `f32(x(${first}))`,
  take: (a, v) => `max(${a}, ${v})`,
  join: 'laneMax',
};

/** One workgroup a row of `reduced` neighbouring values. */
function rows(
  r: Reduction,
  facts: DeviceFacts,
  x: OpCall['inputs'][number],
  out: OpCall['inputs'][number],
  count: number,
  reduced: number,
): Stage {
  const lanes = laneReductions(facts);
  return stage({
    key: `${r.name}:rows:${x.dtype}`,
    reads: { x },
    writes: { out },
    params: { n: u32(count), reduced: u32(reduced), size: u32(numel(x.shape)) },
    ...lanes,
    // The last row may be short: a whole tensor is reduced in rows of equal length but the last.
    body: () => `  if (group >= p.n) { return; }
  let first = group * p.reduced;
  let end = min(first + p.reduced, p.size);
  var a = ${r.start('min(first + lane, end - 1u)')};
  for (var i = first + lane; i < end; i += ${lanes.workgroup}u) { a = ${r.take('a', 'f32(x(i))')}; }
  a = ${r.join}(a, lane);
  if (lane == 0u) { out[group] = a; }`,
    grid: grid1d(count, 1),
  });
}

/** One lane a column: neighbours read neighbours. */
function columns(r: Reduction, call: OpCall, reduced: number, inner: number): Stage {
  const [x, out] = [call.inputs[0]!, call.outputs[0]!];
  const n = numel(out.shape);
  return stage({
    key: `${r.name}:columns:${x.dtype}`,
    reads: { x },
    writes: { out },
    params: { n: u32(n), reduced: u32(reduced), inner: u32(inner) },
    workgroup: 64,
    body: () => `  if (gid >= p.n) { return; }
  let first = (gid / p.inner) * p.reduced * p.inner + gid % p.inner;
  var a = ${r.start('first')};
  for (var j = 0u; j < p.reduced; j++) { a = ${r.take('a', 'f32(x(first + j * p.inner))')}; }
  out[gid] = a;`,
    grid: grid1d(n, 64),
  });
}

const LONG_ROW = 16384;

/** A long single row is cut into pieces first, so that the whole device takes part. */
function reduceRows(
  r: Reduction,
  call: OpCall,
  count: number,
  reduced: number,
  facts: DeviceFacts,
  scratch: Scratch,
): Stage[] {
  const [x, out] = [call.inputs[0]!, call.outputs[0]!];
  if (count > 1 || reduced <= LONG_ROW) return [rows(r, facts, x, out, count, reduced)];
  const pieces = Math.min(256, Math.ceil(reduced / 4096));
  const partial = scratch(pieces, 'float32');
  const join = r === squares ? total : r;
  return [
    rows(r, facts, x, partial, pieces, Math.ceil(reduced / pieces)),
    rows(join, facts, partial, out, 1, pieces),
  ];
}

const reduceKernel = (r: Reduction): Kernel =>
  defineKernel({
    op: r.name,
    plan: (call, facts, scratch) => {
      const { outer, reduced, inner } = ops.splitAxes(
        call.inputs[0]!.shape,
        call.attrs as ops.ReduceAttrs,
      );
      if (inner === 1) return reduceRows(r, call, outer, reduced, facts, scratch);
      return [columns(r, call, reduced, inner)];
    },
  });

const sumSquaresKernel = defineKernel({
  op: 'sumSquares',
  plan: (call, facts, scratch) =>
    reduceRows(squares, call, 1, numel(call.inputs[0]!.shape), facts, scratch),
});

const argmaxKernel = defineKernel({
  op: 'argmax',
  plan: (call) => {
    const [x, out] = [call.inputs[0]!, call.outputs[0]!];
    const { reduced, inner } = ops.splitAxes(x.shape, call.attrs as ops.ReduceAttrs);
    const n = numel(out.shape);
    return [
      stage({
        key: `argmax:${x.dtype}`,
        reads: { x },
        writes: { out },
        params: { n: u32(n), reduced: u32(reduced), inner: u32(inner) },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let first = (gid / p.inner) * p.reduced * p.inner + gid % p.inner;
  var best = x(first);
  var at = 0u;
  for (var j = 1u; j < p.reduced; j++) {
    let v = x(first + j * p.inner);
    if (v > best) { best = v; at = j; }
  }
  out[gid] = i32(at);`,
        grid: grid1d(n, 64),
      }),
    ];
  },
});

export const reduceKernels: readonly Kernel[] = [
  reduceKernel(total),
  reduceKernel(largest),
  sumSquaresKernel,
  argmaxKernel,
];
