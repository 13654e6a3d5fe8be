import { type DType, numel, type OpCall, ops } from '@attune/core';
import {
  type DeviceFacts,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Stage,
  u32,
} from './kernel.js';
import { laneReductions, shader } from './shader.js';

type Scratch = (elements: number, dtype: DType) => OpCall['inputs'][number];

/** How a sum-like reduction starts, takes a value in, and joins lanes. `first` is the index of a value of its own. */
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
  start: (first) => `f32(x0(${first}))`,
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
  return {
    key: `${r.name}:rows:${x.dtype}`,
    wgsl: () =>
      shader({
        reads: [x.dtype],
        writes: ['float32'],
        params: { n: 'u32', reduced: 'u32', size: 'u32' },
        ...lanes,
        // The last row may be short: a whole tensor is reduced in rows of equal length but the last.
        body: `  if (group >= p.n) { return; }
  let first = group * p.reduced;
  let end = min(first + p.reduced, p.size);
  var a = ${r.start('min(first + lane, end - 1u)')};
  for (var i = first + lane; i < end; i += ${lanes.workgroup}u) { a = ${r.take('a', 'f32(x0(i))')}; }
  a = ${r.join}(a, lane);
  if (lane == 0u) { w0[group] = a; }`,
      }),
    operands: [x, out],
    reads: 1,
    params: [u32(count), u32(reduced), u32(numel(x.shape))],
    grid: grid1d(count, 1),
  };
}

/** One lane a column: neighbours read neighbours. */
function columns(r: Reduction, call: OpCall, reduced: number, inner: number): Stage {
  const [x, out] = [call.inputs[0]!, call.outputs[0]!];
  const n = numel(out.shape);
  return {
    key: `${r.name}:columns:${x.dtype}`,
    wgsl: () =>
      shader({
        reads: [x.dtype],
        writes: ['float32'],
        params: { n: 'u32', reduced: 'u32', inner: 'u32' },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let first = (gid / p.inner) * p.reduced * p.inner + gid % p.inner;
  var a = ${r.start('first')};
  for (var j = 0u; j < p.reduced; j++) { a = ${r.take('a', 'f32(x0(first + j * p.inner))')}; }
  w0[gid] = a;`,
      }),
    operands: [x, out],
    reads: 1,
    params: [u32(n), u32(reduced), u32(inner)],
    grid: grid1d(n, 64),
  };
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
      {
        key: `argmax:${x.dtype}`,
        wgsl: () =>
          shader({
            reads: [x.dtype],
            writes: ['int32'],
            params: { n: 'u32', reduced: 'u32', inner: 'u32' },
            workgroup: 64,
            body: `  if (gid >= p.n) { return; }
  let first = (gid / p.inner) * p.reduced * p.inner + gid % p.inner;
  var best = x0(first);
  var at = 0u;
  for (var j = 1u; j < p.reduced; j++) {
    let v = x0(first + j * p.inner);
    if (v > best) { best = v; at = j; }
  }
  w0[gid] = i32(at);`,
          }),
        operands: [x, out],
        reads: 1,
        params: [u32(n), u32(reduced), u32(inner)],
        grid: grid1d(n, 64),
      },
    ];
  },
});

const clipFactorKernel = defineKernel({
  op: 'clipFactor',
  plan: ({ inputs, outputs, attrs }) => [
    {
      key: `clipFactor${inputs[1] ? ':scaled' : ''}`,
      wgsl: () =>
        shader({
          reads: inputs.map(() => 'float32'),
          writes: ['float32'],
          params: { n: 'u32', maxNorm: 'f32' },
          workgroup: 1,
          // A bit test: comparisons with NaN and infinity may be folded away by a compiler.
          body: `  var total = 0.0;
  for (var i = 0u; i < p.n; i++) { total += x0(i); }
  let scale = ${inputs[1] ? 'x1(0u)' : '1.0'};
  let norm = sqrt(total) / scale;
  let finite = (bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u;
  w0[0] = norm;
  w0[1] = select(1.0, min(1.0, p.maxNorm / (norm + 1e-6)), p.maxNorm > 0.0) / scale;
  w0[2] = select(0.0, 1.0, finite);`,
        }),
      operands: [...inputs, outputs[0]!],
      reads: inputs.length,
      params: [u32(numel(inputs[0]!.shape)), f32(attrs.maxNorm as number)],
      grid: [1, 1, 1],
    },
  ],
});

const updateLossScaleKernel = defineKernel({
  op: 'updateLossScale',
  plan: ({ inputs, outputs, attrs }) => {
    const { growth, backoff, interval } = attrs as unknown as ops.LossScaleAttrs;
    return [
      {
        key: 'updateLossScale',
        wgsl: () =>
          shader({
            reads: ['float32'],
            writes: ['float32'],
            params: { growth: 'f32', backoff: 'f32', interval: 'f32' },
            workgroup: 1,
            body: `  let finite = x0(2u) == 1.0;
  let grows = finite && w0[1] + 1.0 >= p.interval;
  w0[0] = w0[0] * select(p.backoff, select(1.0, p.growth, grows), finite);
  w0[1] = select(0.0, w0[1] + 1.0, finite && !grows);`,
          }),
        operands: [inputs[0]!, outputs[0]!],
        reads: 1,
        params: [f32(growth), f32(backoff), f32(interval)],
        grid: [1, 1, 1],
      },
    ];
  },
});

const adamwKernel = defineKernel({
  op: 'adamw',
  plan: (call) => {
    const n = numel(call.outputs[0]!.shape);
    const vec4 = n % 4 === 0;
    const a = call.attrs as unknown as ops.AdamWAttrs;
    return [
      {
        key: `adamw:${vec4}`,
        wgsl: () =>
          shader({
            reads: [vec4 ? 'vec4' : 'float32', 'float32'],
            writes: vec4 ? ['vec4', 'vec4', 'vec4'] : ['float32', 'float32', 'float32'],
            params: {
              n: 'u32',
              beta1: 'f32',
              beta2: 'f32',
              oneMinusBeta1: 'f32',
              oneMinusBeta2: 'f32',
              eps: 'f32',
              keep: 'f32',
              stepSize: 'f32',
              rootCorrection2: 'f32',
            },
            workgroup: 64,
            declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};`,
            body: `  if (gid >= p.n || x1(2u) == 0.0) { return; }
  let g = x0(gid) * T(x1(1u));
  let m = T(p.beta1) * w1[gid] + T(p.oneMinusBeta1) * g;
  let v = T(p.beta2) * w2[gid] + T(p.oneMinusBeta2) * g * g;
  w1[gid] = m;
  w2[gid] = v;
  w0[gid] = w0[gid] * T(p.keep) - T(p.stepSize) * m / (sqrt(v) / T(p.rootCorrection2) + T(p.eps));`,
          }),
        operands: [...call.inputs, ...call.outputs],
        reads: 2,
        // Differences from one are taken in float64 here: 1 - 0.999 in float32 is off in the fifth digit.
        params: [
          u32(vec4 ? n / 4 : n),
          f32(a.beta1),
          f32(a.beta2),
          f32(1 - a.beta1),
          f32(1 - a.beta2),
          f32(a.eps),
          f32(1 - a.lr * a.weightDecay),
          f32(a.lr / a.biasCorrection1),
          f32(Math.sqrt(a.biasCorrection2)),
        ],
        grid: grid1d(vec4 ? n / 4 : n, 64),
      },
    ];
  },
});

export const reduceKernels: readonly Kernel[] = [
  reduceKernel(total),
  reduceKernel(largest),
  sumSquaresKernel,
  argmaxKernel,
  clipFactorKernel,
  updateLossScaleKernel,
  adamwKernel,
];
