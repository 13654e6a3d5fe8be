import { numel, type OpCall, type Operand, ops } from '@attune/core';
import { defineKernel, f32, grid1d, type Kernel, type Param, type Stage, u32 } from './kernel.js';
import { laneReductions, shader } from './shader.js';

type Scratch = (elements: number, dtype: 'float32') => Operand;

/** Lanes of a workgroup; four elements a lane are a block of 8-bit moments. */
const LANES = 64;
/** Reductions through workgroup memory, whatever the subgroup: a block has its workgroup. */
const lanes64 = laneReductions({ subgroupSize: 0 });

/**
 * An update of n elements, each by itself. In the body `i` is the element, `g` its clipped gradient,
 * `w0` the parameter, `w1`, ... the state; T is f32 or vec4f. Nothing runs where the norm is not finite.
 */
function elementwiseUpdate(
  call: OpCall,
  numbers: Readonly<Record<string, number>>,
  body: string,
): Stage[] {
  const n = numel(call.outputs[0]!.shape);
  const vec4 = n % 4 === 0;
  const access = vec4 ? 'vec4' : 'float32';
  const count = vec4 ? n / 4 : n;
  return [
    {
      key: `${call.op}:${call.outputs.length}:${vec4}`,
      wgsl: () =>
        shader({
          reads: [access, 'float32'],
          writes: call.outputs.map(() => access),
          params: { n: 'u32', ...fields(numbers) },
          workgroup: LANES,
          declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};`,
          body: `  let i = gid;
  if (i >= p.n || x1(2u) == 0.0) { return; }
  let g = x0(i) * T(x1(1u));
${body}`,
        }),
      operands: [...call.inputs, ...call.outputs],
      reads: 2,
      params: [u32(count), ...Object.values(numbers).map(f32)],
      grid: grid1d(count, LANES),
    },
  ];
}

const fields = (numbers: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.keys(numbers).map((name) => [name, 'f32' as const]));

const sgdKernel = defineKernel({
  op: 'sgd',
  plan: (call) => {
    const { lr, momentum, dampening, nesterov, weightDecay, first } =
      call.attrs as unknown as ops.SgdAttrs;
    const numbers = { lr, weightDecay, momentum, take: 1 - dampening, first, nesterov };
    const decayed = '  let d = g + T(p.weightDecay) * w0[i];\n';
    return elementwiseUpdate(
      call,
      numbers,
      call.outputs.length === 1
        ? `${decayed}  w0[i] = w0[i] - T(p.lr) * d;`
        : `${decayed}  var held = d;
  if (p.first == 0.0) { held = T(p.momentum) * w1[i] + T(p.take) * d; }
  w1[i] = held;
  if (p.nesterov == 1.0) { held = d + T(p.momentum) * held; }
  w0[i] = w0[i] - T(p.lr) * held;`,
    );
  },
});

const lionKernel = defineKernel({
  op: 'lion',
  plan: (call) => {
    const { lr, beta1, beta2, weightDecay } = call.attrs as unknown as ops.LionAttrs;
    // Differences from one are taken in float64 here.
    const numbers = {
      lr,
      beta1,
      take1: 1 - beta1,
      beta2,
      take2: 1 - beta2,
      keep: 1 - lr * weightDecay,
    };
    return elementwiseUpdate(
      call,
      numbers,
      `  let m = w1[i];
  w0[i] = w0[i] * T(p.keep) - T(p.lr) * sign(T(p.beta1) * m + T(p.take1) * g);
  w1[i] = T(p.beta2) * m + T(p.take2) * g;`,
    );
  },
});

/** A workgroup a block of 256: a lane holds four elements and their words of codes. */
const adamw8bitKernel = defineKernel({
  op: 'adamw8bit',
  plan: (call) => {
    const a = call.attrs as unknown as ops.AdamWAttrs;
    const blocks = numel(call.inputs[0]!.shape) / ops.MOMENT_BLOCK;
    const numbers = {
      beta1: a.beta1,
      beta2: a.beta2,
      take1: 1 - a.beta1,
      take2: 1 - a.beta2,
      eps: a.eps,
      keep: 1 - a.lr * a.weightDecay,
      stepSize: a.lr / a.biasCorrection1,
      rootCorrection2: Math.sqrt(a.biasCorrection2),
    };
    return [
      {
        key: 'adamw8bit',
        wgsl: () =>
          shader({
            reads: ['vec4', 'float32', 'float32'],
            writes: ['vec4', 'uint32', 'float32'],
            params: { blocks: 'u32', ...fields(numbers) },
            workgroup: LANES,
            declarations: `${lanes64.declarations}
fn held(word: u32, map: u32, scale: f32) -> vec4f {
  let c = vec4u(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u);
  return vec4f(x2(map + c.x), x2(map + c.y), x2(map + c.z), x2(map + c.w)) * scale;
}
// Of the 256 ascending values from \`map\` on, the nearest to x; of two equally near, the lower.
fn nearest(x: f32, map: u32) -> u32 {
  var low = 0u;
  var high = 255u;
  while (low < high) {
    let middle = (low + high) >> 1u;
    if ((x2(map + middle) + x2(map + middle + 1u)) * 0.5 < x) { low = middle + 1u; } else { high = middle; }
  }
  return low;
}
fn coded(m: vec4f, map: u32, scale: f32) -> u32 {
  var x = vec4f(0.0);
  if (scale > 0.0) { x = m / scale; }
  return nearest(x.x, map) | (nearest(x.y, map) << 8u) | (nearest(x.z, map) << 16u) | (nearest(x.w, map) << 24u);
}
fn largest(m: vec4f) -> f32 { let a = abs(m); return max(max(a.x, a.y), max(a.z, a.w)); }`,
            // Every lane of a workgroup takes the same way: no barrier is missed.
            body: `  if (group >= p.blocks || x1(2u) == 0.0) { return; }
  let i = group * ${LANES}u + lane;
  let second = p.blocks * ${LANES}u + i;
  let g = x0(i) * x1(1u);
  let m = p.beta1 * held(w1[i], 0u, w2[group]) + p.take1 * g;
  let v = p.beta2 * held(w1[second], 256u, w2[p.blocks + group]) + p.take2 * g * g;
  w0[i] = w0[i] * p.keep - p.stepSize * m / (sqrt(v) / p.rootCorrection2 + p.eps);
  let top1 = laneMax(largest(m), lane);
  let top2 = laneMax(largest(v), lane);
  w1[i] = coded(m, 0u, top1);
  w1[second] = coded(v, 256u, top2);
  if (lane == 0u) { w2[group] = top1; w2[p.blocks + group] = top2; }`,
          }),
        operands: [...call.inputs, ...call.outputs],
        reads: 3,
        params: [u32(blocks), ...Object.values(numbers).map(f32)],
        grid: grid1d(blocks, 1),
      },
    ];
  },
});

const guardFiniteKernel = defineKernel({
  op: 'guardFinite',
  plan: (call) => {
    const { sticky, scaled } = call.attrs as unknown as ops.GuardAttrs;
    return [
      {
        key: 'guardFinite',
        wgsl: () =>
          shader({
            reads: ['float32'],
            writes: ['float32', 'float32'],
            params: { sticky: 'u32', scaled: 'u32' },
            workgroup: 1,
            // A bit test: comparisons with NaN and infinity may be folded away by a compiler.
            body: `  let lossBad = (bitcast<u32>(x0(0u)) & 0x7f800000u) == 0x7f800000u;
  let bad = lossBad || w0[2] == 0.0;
  if (bad || w1[0] == 1.0) { w0[2] = 0.0; }
  if (p.sticky == 1u && select(bad, lossBad, p.scaled == 1u)) { w1[0] = 1.0; }`,
          }),
        operands: [...call.inputs, ...call.outputs],
        reads: 1,
        params: [u32(sticky), u32(scaled)],
        grid: [1, 1, 1],
      },
    ];
  },
});

/** Partial sums of a column or of a whole tensor: enough workgroups for a device, few enough to add up. */
const PARTS = 64;

interface StageParts {
  readonly name: string;
  readonly reads: readonly Operand[];
  readonly writes: readonly Operand[];
  readonly params: Readonly<Record<string, Param>>;
  readonly body: string;
  readonly items: number;
  readonly perGroup: number;
}

function stage({ name, reads, writes, params, body, items, perGroup }: StageParts): Stage {
  return {
    key: `adafactor:${name}`,
    wgsl: () =>
      shader({
        reads: reads.map((o) => o.dtype),
        writes: writes.map((o) => o.dtype),
        params: Object.fromEntries(Object.entries(params).map(([key, [type]]) => [key, type])),
        workgroup: LANES,
        declarations: lanes64.declarations,
        body,
      }),
    operands: [...reads, ...writes],
    reads: reads.length,
    params: Object.values(params),
    grid: grid1d(items, perGroup),
  };
}

/** Row, column and their mean of a factored parameter: [row sums], [partial columns], [columns], [mean of rows]. */
function momentStages(call: OpCall, scratch: Scratch, beta2: number, eps: number) {
  const [grad, clip] = call.inputs as [Operand, Operand];
  const [parameter, row, column] = call.outputs as [Operand, Operand, Operand];
  const { batch, rows, columns } = ops.factors(parameter.shape);
  const decay = { beta2: f32(beta2), take: f32(1 - beta2) };
  const sizes = { batch: u32(batch), rows: u32(rows), columns: u32(columns) };
  const partial = scratch(batch * PARTS * columns, 'float32');
  const means = scratch(batch, 'float32');
  const stages = [
    stage({
      name: 'row',
      reads: [grad, clip],
      writes: [row],
      params: { ...sizes, ...decay, eps: f32(eps) },
      body: `  if (group >= p.batch * p.rows || x1(2u) == 0.0) { return; }
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += ${LANES}u) { let g = x0(group * p.columns + c) * x1(1u); sum += g * g + p.eps; }
  sum = laneSum(sum, lane);
  if (lane == 0u) { w0[group] = p.beta2 * w0[group] + p.take * sum / f32(p.columns); }`,
      items: batch * rows,
      perGroup: 1,
    }),
    stage({
      name: 'columnPart',
      reads: [grad, clip],
      writes: [partial],
      params: { ...sizes, eps: f32(eps) },
      // Element gid: column gid % columns of part gid / columns.
      body: `  if (gid >= p.batch * ${PARTS}u * p.columns) { return; }
  let c = gid % p.columns;
  let part = (gid / p.columns) % ${PARTS}u;
  let first = (gid / p.columns / ${PARTS}u) * p.rows;
  var sum = 0.0;
  for (var r = part; r < p.rows; r += ${PARTS}u) { let g = x0((first + r) * p.columns + c) * x1(1u); sum += g * g + p.eps; }
  w0[gid] = sum;`,
      items: batch * PARTS * columns,
      perGroup: LANES,
    }),
    stage({
      name: 'column',
      reads: [partial, clip],
      writes: [column],
      params: { ...sizes, ...decay },
      body: `  if (gid >= p.batch * p.columns || x1(2u) == 0.0) { return; }
  let first = (gid / p.columns) * ${PARTS}u * p.columns + gid % p.columns;
  var sum = 0.0;
  for (var part = 0u; part < ${PARTS}u; part++) { sum += x0(first + part * p.columns); }
  w0[gid] = p.beta2 * w0[gid] + p.take * sum / f32(p.rows);`,
      items: batch * columns,
      perGroup: LANES,
    }),
    stage({
      name: 'rowMean',
      reads: [row],
      writes: [means],
      params: sizes,
      body: `  if (group >= p.batch) { return; }
  var sum = 0.0;
  for (var r = lane; r < p.rows; r += ${LANES}u) { sum += x0(group * p.rows + r); }
  sum = laneSum(sum, lane);
  if (lane == 0u) { w0[group] = sum / f32(p.rows); }`,
      items: batch,
      perGroup: 1,
    }),
  ];
  return { stages, sizes, means };
}

function vectorStage(call: OpCall, beta2: number, eps: number): Stage {
  const [grad, clip] = call.inputs as [Operand, Operand];
  const second = call.outputs[1]!;
  const n = numel(second.shape);
  return stage({
    name: 'vector',
    reads: [grad, clip],
    writes: [second],
    params: { n: u32(n), beta2: f32(beta2), take: f32(1 - beta2), eps: f32(eps) },
    body: `  if (gid >= p.n || x1(2u) == 0.0) { return; }
  let g = x0(gid) * x1(1u);
  w0[gid] = p.beta2 * w0[gid] + p.take * (g * g + p.eps);`,
    items: n,
    perGroup: LANES,
  });
}

/** Moments; sums of squares of direction and parameter; the factors that follow; the update. */
const adafactorKernel = defineKernel({
  op: 'adafactor',
  plan: (call, _facts, scratch) => {
    const a = call.attrs as unknown as ops.AdafactorAttrs;
    const [grad, clip] = call.inputs as [Operand, Operand];
    const [parameter, ...state] = call.outputs as [Operand, ...Operand[]];
    const n = numel(parameter.shape);
    const factored = ops.isFactored(parameter.shape);
    const kind = factored ? 'matrix' : 'vector';
    const first = state[factored ? 2 : 1];
    const moments = factored ? momentStages(call, scratch, a.beta2, a.eps) : null;
    const second = moments ? [state[0]!, state[1]!, moments.means] : [state[0]!];
    const sizes = moments?.sizes ?? {};
    // Inputs 0 and 1 are gradient and clip, then come the second moments.
    const direction = factored
      ? `  let r = i / p.columns; let b = r / p.rows;
  let d = x0(i) * x1(1u) * inverseSqrt(x2(r) / x4(b)) * inverseSqrt(x3(b * p.columns + i % p.columns));`
      : '  let d = x0(i) * x1(1u) * inverseSqrt(x2(i));';
    const at = 2 + second.length;
    const partial = scratch(2 * PARTS, 'float32');
    const scales = scratch(2, 'float32');
    return [
      ...(moments?.stages ?? [vectorStage(call, a.beta2, a.eps)]),
      stage({
        name: `squares:${kind}`,
        reads: [grad, clip, ...second, parameter],
        writes: [partial],
        params: { n: u32(n), ...sizes },
        body: `  var sum = 0.0;
  var own = 0.0;
  for (var i = gid; i < p.n; i += ${PARTS * LANES}u) {
  ${direction}
    sum += d * d;
    own += x${at}(i) * x${at}(i);
  }
  sum = laneSum(sum, lane);
  own = laneSum(own, lane);
  if (lane == 0u) { w0[group] = sum; w0[${PARTS}u + group] = own; }`,
        items: PARTS,
        perGroup: 1,
      }),
      stage({
        name: 'scales',
        reads: [partial],
        writes: [scales],
        params: {
          n: u32(n),
          lr: f32(a.lr),
          clipThreshold: f32(a.clipThreshold),
          paramScale: f32(a.paramScale),
        },
        body: `  let sum = laneSum(x0(lane), lane);
  let own = laneSum(x0(${PARTS}u + lane), lane);
  if (lane != 0u) { return; }
  var rate = p.lr;
  if (p.paramScale >= 0.0) { rate *= max(p.paramScale, sqrt(own / f32(p.n))); }
  w0[0] = rate;
  w0[1] = rate / max(1.0, sqrt(sum / f32(p.n)) / p.clipThreshold);`,
        items: 1,
        perGroup: 1,
      }),
      stage({
        name: `update:${kind}${first ? ':first' : ''}`,
        reads: [grad, clip, ...second, scales],
        writes: [parameter, ...(first ? [first] : [])],
        params: {
          n: u32(n),
          ...sizes,
          weightDecay: f32(a.weightDecay),
          ...(first && { beta1: f32(a.beta1), take1: f32(1 - a.beta1) }),
        },
        body: `  let i = gid;
  if (i >= p.n || x1(2u) == 0.0) { return; }
${direction}
  var change = x${at}(1u) * d;
${first ? '  change = p.beta1 * w1[i] + p.take1 * change;\n  w1[i] = change;' : ''}
  w0[i] = w0[i] * (1.0 - x${at}(0u) * p.weightDecay) - change;`,
        items: n,
        perGroup: LANES,
      }),
    ];
  },
});

export const optimizerKernels: readonly Kernel[] = [
  sgdKernel,
  lionKernel,
  adamw8bitKernel,
  adafactorKernel,
  guardFiniteKernel,
];
