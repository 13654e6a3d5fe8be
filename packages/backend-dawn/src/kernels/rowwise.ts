import { numel, type OpCall, type Operand } from '@attune/core';
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
import { laneReductions, shader } from './shader.js';

/** Kernels in which one workgroup owns one row of the last axis: softmax, norms. */
function rowKernel(
  call: OpCall,
  facts: DeviceFacts,
  name: string,
  options: {
    width: number;
    rows: number;
    body: (lanes: number) => string;
    params?: Readonly<Record<string, 'u32' | 'f32'>>;
    values?: readonly Param[];
  },
): Stage[] {
  const { width, rows, body, params = {}, values = [] } = options;
  const lanes = laneReductions(facts);
  return [
    {
      key: `${name}:${call.inputs.map((o) => o.dtype).join()}`,
      wgsl: () =>
        shader({
          reads: call.inputs.map((o) => o.dtype),
          writes: call.outputs.map((o) => o.dtype),
          params: { rows: 'u32', width: 'u32', ...params },
          ...lanes,
          body: `  if (group >= p.rows) { return; }
  let first = group * p.width;
${body(lanes.workgroup)}`,
        }),
      operands: [...call.inputs, ...call.outputs],
      reads: call.inputs.length,
      params: [u32(rows), u32(width), ...values],
      grid: grid1d(rows, 1),
    },
  ];
}

const lastAxis = (x: Operand) => ({ width: x.shape.at(-1)!, rows: numel(x.shape.slice(0, -1)) });
const loop = (lanes: number, body: string) =>
  `  for (var i = lane; i < p.width; i += ${lanes}u) { ${body} }\n`;

const rowMaximum = (lanes: number) =>
  `  var top = -3.4e38;\n${loop(lanes, 'top = max(top, x0(first + i));')}  top = laneMax(top, lane);\n`;
const rowLogSumExp = (lanes: number) =>
  `${rowMaximum(lanes)}  var total = 0.0;\n${loop(lanes, 'total += exp(x0(first + i) - top);')}  total = laneSum(total, lane);\n`;

const softmaxKernel = defineKernel({
  op: 'softmax',
  plan: (call, facts) =>
    rowKernel(call, facts, 'softmax', {
      ...lastAxis(call.inputs[0]!),
      body: (lanes) =>
        rowLogSumExp(lanes) + loop(lanes, 'w0[first + i] = exp(x0(first + i) - top) / total;'),
    }),
});

const logSoftmaxKernel = defineKernel({
  op: 'logSoftmax',
  plan: (call, facts) =>
    rowKernel(call, facts, 'logSoftmax', {
      ...lastAxis(call.inputs[0]!),
      body: (lanes) =>
        `${rowLogSumExp(lanes)}  let offset = top + log(total);\n${loop(lanes, 'w0[first + i] = x0(first + i) - offset;')}`,
    }),
});

const softmaxGradKernel = defineKernel({
  op: 'softmaxGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, 'softmaxGrad', {
      ...lastAxis(call.inputs[0]!),
      body: (lanes) =>
        `  var dot = 0.0;\n${loop(lanes, 'dot = fma(x0(first + i), x1(first + i), dot);')}  dot = laneSum(dot, lane);\n${loop(lanes, 'w0[first + i] = x0(first + i) * (x1(first + i) - dot);')}`,
    }),
});

const rmsNormKernel = defineKernel({
  op: 'rmsNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'rmsNorm', {
      ...lastAxis(call.inputs[0]!),
      params: { eps: 'f32' },
      values: [f32(call.attrs.eps as number)],
      body: (lanes) =>
        `  var squares = 0.0;\n${loop(lanes, 'let v = x0(first + i); squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'w0[first + i] = x0(first + i) * rstd * x1(i);')}  if (lane == 0u) { w1[group] = rstd; }`,
    }),
});

const addRmsNormKernel = defineKernel({
  op: 'addRmsNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'addRmsNorm', {
      ...lastAxis(call.inputs[0]!),
      params: { eps: 'f32' },
      values: [f32(call.attrs.eps as number)],
      // A lane reads back only what it wrote itself.
      body: (lanes) =>
        `  var squares = 0.0;\n${loop(lanes, 'let v = x0(first + i) + x1(first + i); w0[first + i] = v; squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'w1[first + i] = w0[first + i] * rstd * x2(i);')}  if (lane == 0u) { w2[group] = rstd; }`,
    }),
});

const rmsNormGradKernel = defineKernel({
  op: 'rmsNormGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, `rmsNormGrad${call.inputs[4] ? ':carry' : ''}`, {
      ...lastAxis(call.inputs[0]!),
      // Inputs: x, weight, rstd, g, and what is added.
      body: (lanes) =>
        `  let rstd = x2(group);
  var dot = 0.0;\n${loop(lanes, 'dot = fma(x3(first + i) * x1(i), x0(first + i), dot);')}  dot = laneSum(dot, lane) / f32(p.width) * rstd * rstd;
${loop(lanes, `w0[first + i] = (x3(first + i) * x1(i) - x0(first + i) * dot) * rstd${call.inputs[4] ? ' + x4(first + i)' : ''};`)}`,
    }),
});

/** The mean first, then the squares around it: no cancellation in rows far from zero. */
const layerNormKernel = defineKernel({
  op: 'layerNorm',
  plan: (call, facts) =>
    rowKernel(call, facts, 'layerNorm', {
      ...lastAxis(call.inputs[0]!),
      params: { eps: 'f32' },
      values: [f32(call.attrs.eps as number)],
      // Inputs: x, weight, bias. Outputs: y, mean, 1 / deviation.
      body: (lanes) =>
        `  var total = 0.0;\n${loop(lanes, 'total += x0(first + i);')}  let mean = laneSum(total, lane) / f32(p.width);
  var squares = 0.0;\n${loop(lanes, 'let v = x0(first + i) - mean; squares = fma(v, v, squares);')}  squares = laneSum(squares, lane);
  let rstd = inverseSqrt(squares / f32(p.width) + p.eps);
${loop(lanes, 'w0[first + i] = fma((x0(first + i) - mean) * rstd, x1(i), x2(i));')}  if (lane == 0u) { w1[group] = mean; w2[group] = rstd; }`,
    }),
});

/** rstd (g w - mean(g w) - xhat mean(g w xhat)), xhat = (x - mean) rstd. */
const layerNormGradKernel = defineKernel({
  op: 'layerNormGrad',
  plan: (call, facts) =>
    rowKernel(call, facts, 'layerNormGrad', {
      ...lastAxis(call.inputs[0]!),
      // Inputs: x, weight, mean, rstd, g.
      body: (lanes) =>
        `  let mean = x2(group);
  let rstd = x3(group);
  var sum = 0.0;
  var dot = 0.0;\n${loop(lanes, 'let gw = x4(first + i) * x1(i); sum += gw; dot = fma(gw, (x0(first + i) - mean) * rstd, dot);')}  sum = laneSum(sum, lane) / f32(p.width);
  dot = laneSum(dot, lane) / f32(p.width);
${loop(lanes, 'w0[first + i] = rstd * (x4(first + i) * x1(i) - sum - (x0(first + i) - mean) * rstd * dot);')}`,
    }),
});

/** Rows that one lane sums on a GPU, where one lane a column would leave most of it idle. */
const ROWS_PER_LANE = 64;

const rmsNormWeightGradKernel = defineKernel({
  op: 'rmsNormWeightGrad',
  plan: (call, facts, scratch) => {
    const [x, rstd, g] = call.inputs as [Operand, Operand, Operand];
    const { width, rows } = lastAxis(x);
    const slices = facts.software ? 1 : Math.max(1, Math.ceil(rows / ROWS_PER_LANE));
    const perSlice = Math.ceil(rows / slices);
    const out = call.outputs[0]!;
    const partial = slices === 1 ? out : scratch(slices * width, 'float32');
    const stage: Stage = {
      key: `rmsNormWeightGrad:${x.dtype}`,
      wgsl: () =>
        shader({
          reads: [x.dtype, 'float32', g.dtype],
          writes: ['float32'],
          params: { n: 'u32', width: 'u32', rows: 'u32', perSlice: 'u32' },
          workgroup: 64,
          body: `  if (gid >= p.n) { return; }
  let column = gid % p.width;
  let start = gid / p.width * p.perSlice;
  var total = 0.0;
  for (var row = start; row < min(start + p.perSlice, p.rows); row++) {
    let i = row * p.width + column;
    total = fma(x2(i) * x0(i), x1(row), total);
  }
  w0[gid] = total;`,
        }),
      operands: [x, rstd, g, partial],
      reads: 3,
      params: [u32(slices * width), u32(width), u32(rows), u32(perSlice)],
      grid: grid1d(slices * width, 64),
    };
    return slices === 1 ? [stage] : [stage, sumSlices(partial, out, slices)];
  },
});

/** out[i] = sum over slices of partial[slice * n + i], in order. */
function sumSlices(partial: Operand, out: Operand, slices: number): Stage {
  const n = numel(out.shape);
  return {
    key: 'sumSlices',
    wgsl: () =>
      shader({
        reads: ['float32'],
        writes: ['float32'],
        params: { n: 'u32', slices: 'u32' },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  var total = 0.0;
  for (var s = 0u; s < p.slices; s++) { total += x0(s * p.n + gid); }
  w0[gid] = total;`,
      }),
    operands: [partial, out],
    reads: 1,
    params: [u32(n), u32(slices)],
    grid: grid1d(n, 64),
  };
}

const labelIsTopKernel = defineKernel({
  op: 'labelIsTop',
  plan: (call, facts) =>
    rowKernel(call, facts, 'labelIsTop', {
      ...lastAxis(call.inputs[0]!),
      body: (lanes) => `  let label = x1(group);
  let mine = x0(first + u32(max(label, 0)));
  var beaten = 0.0;
${loop(lanes, 'let v = x0(first + i); if (v > mine || (v == mine && i32(i) < label)) { beaten = 1.0; }')}  beaten = laneMax(beaten, lane);
  if (lane == 0u) { w0[group] = select(1.0 - beaten, 0.0, label < 0); }`,
    }),
});

/** Turns 1 or 2 tensors [B, T, H, D] of one head size: queries, or queries and keys. */
function ropeStage(
  op: string,
  turned: readonly Operand[],
  tables: readonly Operand[],
  outputs: readonly Operand[],
  inverse: boolean,
): Stage {
  const [cos, , positions] = tables as [Operand, Operand, Operand];
  const heads = turned.map((x) => x.shape[2]!);
  const allHeads = heads.reduce((n, h) => n + h, 0);
  const depth = turned[0]!.shape[3]!;
  const half = cos.shape[1]!;
  // A lane turns one pair; features beyond 2 * half pass through.
  const perHead = Math.max(half, depth - half);
  const n = numel(positions.shape) * allHeads * perHead;
  const names = { cos: turned.length, sin: turned.length + 1, positions: turned.length + 2 };
  const body = (t: number) => `
    if (i < p.half_) {
      let at = u32(x${names.positions}(token)) * p.half_ + i;
      let c = x${names.cos}(at);
      let s = x${names.sin}(at) * p.turn;
      let a = x${t}(first + i);
      let b = x${t}(first + i + p.half_);
      w${t}[first + i] = a * c - b * s;
      w${t}[first + i + p.half_] = b * c + a * s;
    }
    if (beyond < p.depth) { w${t}[first + beyond] = x${t}(first + beyond); }`;
  const first = `let first = (token * p.heads + head) * p.depth;${body(0)}`;
  const second = `let first = (token * (p.allHeads - p.heads) + head - p.heads) * p.depth;${body(1)}`;
  return {
    key: op,
    wgsl: () =>
      shader({
        reads: [...turned.map(() => 'float32' as const), 'float32', 'float32', 'int32'],
        writes: turned.map(() => 'float32'),
        params: {
          n: 'u32',
          heads: 'u32',
          allHeads: 'u32',
          depth: 'u32',
          half_: 'u32',
          perHead: 'u32',
          turn: 'f32',
        },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let i = gid % p.perHead;
  let beyond = i + 2u * p.half_;
  let head = gid / p.perHead % p.allHeads;
  let token = gid / p.perHead / p.allHeads;
  ${turned.length === 1 ? first : `if (head < p.heads) { ${first} } else { ${second} }`}`,
      }),
    operands: [...turned, ...tables, ...outputs],
    reads: turned.length + 3,
    params: [
      u32(n),
      u32(heads[0]!),
      u32(allHeads),
      u32(depth),
      u32(half),
      u32(perHead),
      f32(inverse ? -1 : 1),
    ],
    grid: grid1d(n, 64),
  };
}

const ropeKernel = defineKernel({
  op: 'rope',
  plan: ({ inputs: [x, ...tables], outputs, attrs }) => [
    ropeStage('rope', [x!], tables, outputs, attrs.inverse as boolean),
  ],
});

const ropePairKernel = defineKernel({
  op: 'ropePair',
  accepts: ({ inputs: [q, k] }) => q!.shape[3] === k!.shape[3],
  plan: ({ inputs: [q, k, ...tables], outputs, attrs }) => [
    ropeStage('ropePair', [q!, k!], tables, outputs, attrs.inverse as boolean),
  ],
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
  ropeKernel,
  ropePairKernel,
];
