import { numel } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';
import {
  type DeviceFacts,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Param,
  type Stage,
  u32,
} from './kernel.js';
import { laneReductions } from './shader.js';
import { named, stage } from './stage.js';

/** Kernels in which one workgroup owns one row of the last axis: softmax, norms. */
function rowKernel(
  call: OpCall,
  facts: DeviceFacts,
  name: string,
  options: {
    width: number;
    rows: number;
    /** Names of the inputs in the body, in the op's order. */
    reads: readonly string[];
    /** Names of the outputs. Default: one, `out`. */
    writes?: readonly string[];
    body: (lanes: number) => string;
    params?: Readonly<Record<string, Param>>;
  },
): Stage[] {
  const { width, rows, reads, writes = ['out'], body, params = {} } = options;
  const lanes = laneReductions(facts);
  return [
    stage({
      key: `${name}:${call.inputs.map((o) => o.dtype).join()}`,
      reads: named(call.inputs, ...reads),
      writes: named(call.outputs, ...writes),
      params: { rows: u32(rows), width: u32(width), ...params },
      ...lanes,
      body: () => `  if (group >= p.rows) { return; }
  let first = group * p.width;
${body(lanes.workgroup)}`,
      grid: grid1d(rows, 1),
    }),
  ];
}

const lastAxis = (x: Operand) => ({ width: x.shape.at(-1)!, rows: numel(x.shape.slice(0, -1)) });
const loop = (lanes: number, body: string) =>
  `  for (var i = lane; i < p.width; i += ${lanes}u) { ${body} }\n`;

const rowMaximum = (lanes: number) =>
  `  var top = -3.4e38;\n${loop(lanes, 'top = max(top, x(first + i));')}  top = laneMax(top, lane);\n`;
const rowLogSumExp = (lanes: number) =>
  `${rowMaximum(lanes)}  var total = 0.0;\n${loop(lanes, 'total += exp(x(first + i) - top);')}  total = laneSum(total, lane);\n`;

const softmaxKernel = defineKernel({
  op: 'softmax',
  plan: (call, facts) =>
    rowKernel(call, facts, 'softmax', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x'],
      body: (lanes) =>
        rowLogSumExp(lanes) + loop(lanes, 'out[first + i] = exp(x(first + i) - top) / total;'),
    }),
});

const logSoftmaxKernel = defineKernel({
  op: 'logSoftmax',
  plan: (call, facts) =>
    rowKernel(call, facts, 'logSoftmax', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x'],
      body: (lanes) =>
        `${rowLogSumExp(lanes)}  let offset = top + log(total);\n${loop(lanes, 'out[first + i] = x(first + i) - offset;')}`,
    }),
});

const softmaxGradKernel = defineKernel({
  op: 'softmaxGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, 'softmaxGrad', {
      ...lastAxis(call.inputs[0]!),
      reads: ['y', 'g'],
      body: (lanes) =>
        `  var dot = 0.0;\n${loop(lanes, 'dot = fma(y(first + i), g(first + i), dot);')}  dot = laneSum(dot, lane);\n${loop(lanes, 'out[first + i] = y(first + i) * (g(first + i) - dot);')}`,
    }),
});

const rmsNormKernel = defineKernel({
  op: 'rmsNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'rmsNorm', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x', 'weight'],
      writes: ['out', 'rstds'],
      params: { eps: f32(call.attrs.eps as number) },
      body: (lanes) =>
        `  var squares = 0.0;\n${loop(lanes, 'let v = x(first + i); squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'out[first + i] = x(first + i) * rstd * weight(i);')}  if (lane == 0u) { rstds[group] = rstd; }`,
    }),
});

const addRmsNormKernel = defineKernel({
  op: 'addRmsNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'addRmsNorm', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x', 'addend', 'weight'],
      writes: ['sum', 'out', 'rstds'],
      params: { eps: f32(call.attrs.eps as number) },
      // A lane reads back only what it wrote itself.
      body: (lanes) =>
        `  var squares = 0.0;\n${loop(lanes, 'let v = x(first + i) + addend(first + i); sum[first + i] = v; squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'out[first + i] = sum[first + i] * rstd * weight(i);')}  if (lane == 0u) { rstds[group] = rstd; }`,
    }),
});

const rmsNormGradKernel = defineKernel({
  op: 'rmsNormGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, `rmsNormGrad${call.inputs[4] ? ':carry' : ''}`, {
      ...lastAxis(call.inputs[0]!),
      reads: ['x', 'weight', 'rstds', 'g', 'carry'],
      body: (lanes) =>
        `  let rstd = rstds(group);
  var dot = 0.0;\n${loop(lanes, 'dot = fma(g(first + i) * weight(i), x(first + i), dot);')}  dot = laneSum(dot, lane) / f32(p.width) * rstd * rstd;
${loop(lanes, `out[first + i] = (g(first + i) * weight(i) - x(first + i) * dot) * rstd${call.inputs[4] ? ' + carry(first + i)' : ''};`)}`,
    }),
});

/** The mean first, then the squares around it: no cancellation in rows far from zero. */
const layerNormKernel = defineKernel({
  op: 'layerNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'layerNorm', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x', 'weight', 'bias'],
      writes: ['out', 'means', 'rstds'],
      params: { eps: f32(call.attrs.eps as number) },
      body: (lanes) =>
        `  var total = 0.0;\n${loop(lanes, 'total += x(first + i);')}  let mean = laneSum(total, lane) / f32(p.width);
  var squares = 0.0;\n${loop(lanes, 'let v = x(first + i) - mean; squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'out[first + i] = fma((x(first + i) - mean) * rstd, weight(i), bias(i));')}  if (lane == 0u) { means[group] = mean; rstds[group] = rstd; }`,
    }),
});

/** rstd (g w - mean(g w) - xhat mean(g w xhat)), xhat = (x - mean) rstd. */
const layerNormGradKernel = defineKernel({
  op: 'layerNormGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, 'layerNormGrad', {
      ...lastAxis(call.inputs[0]!),
      reads: ['x', 'weight', 'means', 'rstds', 'g'],
      body: (lanes) =>
        `  let mean = means(group);
  let rstd = rstds(group);
  var sum = 0.0;
  var dot = 0.0;\n${loop(lanes, 'let gw = g(first + i) * weight(i); sum += gw; dot = fma(gw, (x(first + i) - mean) * rstd, dot);')}  sum = laneSum(sum, lane) / f32(p.width);
  dot = laneSum(dot, lane) / f32(p.width);
${loop(lanes, 'out[first + i] = rstd * (g(first + i) * weight(i) - sum - (x(first + i) - mean) * rstd * dot);')}`,
    }),
});

/** Rows that one lane sums on a GPU, where one lane a column would leave most of it idle. */
const ROWS_PER_LANE = 64;

const rmsNormWeightGradKernel = defineKernel({
  op: 'rmsNormWeightGrad',
  plan: (call, facts, scratch) => {
    const [x, rstds, g] = call.inputs as [Operand, Operand, Operand];
    const { width, rows } = lastAxis(x);
    const slices = facts.software ? 1 : Math.max(1, Math.ceil(rows / ROWS_PER_LANE));
    const perSlice = Math.ceil(rows / slices);
    const out = call.outputs[0]!;
    const partial = slices === 1 ? out : scratch(slices * width, 'float32');
    const sums = stage({
      key: `rmsNormWeightGrad:${x.dtype}`,
      reads: { x, rstds, g },
      writes: { out: partial },
      params: {
        n: u32(slices * width),
        width: u32(width),
        rows: u32(rows),
        perSlice: u32(perSlice),
      },
      workgroup: 64,
      body: `  if (gid >= p.n) { return; }
  let column = gid % p.width;
  let start = gid / p.width * p.perSlice;
  var total = 0.0;
  for (var row = start; row < min(start + p.perSlice, p.rows); row++) {
    let i = row * p.width + column;
    total = fma(g(i) * x(i), rstds(row), total);
  }
  out[gid] = total;`,
      grid: grid1d(slices * width, 64),
    });
    return slices === 1 ? [sums] : [sums, sumSlices(partial, out, slices)];
  },
});

/** out[i] = sum over slices of partial[slice * n + i], in order. */
function sumSlices(partial: Operand, out: Operand, slices: number): Stage {
  const n = numel(out.shape);
  return stage({
    key: 'sumSlices',
    reads: { partial },
    writes: { out },
    params: { n: u32(n), slices: u32(slices) },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  var total = 0.0;
  for (var s = 0u; s < p.slices; s++) { total += partial(s * p.n + gid); }
  out[gid] = total;`,
    grid: grid1d(n, 64),
  });
}

const labelIsTopKernel = defineKernel({
  op: 'labelIsTop',
  plan: (call, facts) =>
    rowKernel(call, facts, 'labelIsTop', {
      ...lastAxis(call.inputs[0]!),
      reads: ['logits', 'labels'],
      body: (lanes) => `  let label = labels(group);
  let mine = logits(first + u32(max(label, 0)));
  var beaten = 0.0;
${loop(lanes, 'let v = logits(first + i); if (v > mine || (v == mine && i32(i) < label)) { beaten = 1.0; }')}  beaten = laneMax(beaten, lane);
  if (lane == 0u) { out[group] = select(1.0 - beaten, 0.0, label < 0); }`,
    }),
});

export const rowwiseKernels: readonly Kernel[] = [
  softmaxKernel,
  logSoftmaxKernel,
  softmaxGradKernel,
  rmsNormKernel,
  addRmsNormKernel,
  rmsNormGradKernel,
  rmsNormWeightGradKernel,
  layerNormKernel,
  layerNormGradKernel,
  labelIsTopKernel,
];
