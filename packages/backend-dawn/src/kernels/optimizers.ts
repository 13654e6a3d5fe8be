import { numel, ops } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';
import {
  computed,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Param,
  type Stage,
  u32,
} from './kernel.js';
import { laneReductions } from './shader.js';
import { named, readAs, stage } from './stage.js';

/** Lanes of a workgroup; four elements a lane are a block of 8-bit moments. */
const LANES = 64;
/** Reductions through workgroup memory, whatever the subgroup: a block has its workgroup. */
const lanes64 = laneReductions({ subgroupSize: 0 });

/**
 * An update of n elements, each by itself. In the body `i` is the element, `g` its clipped
 * gradient, `w` the parameter; T is f32 or vec4f. Nothing runs where the norm is not finite.
 *
 * @param state names of the other outputs
 */
function elementwiseUpdate(
  call: OpCall,
  numbers: Readonly<Record<string, Param>>,
  { state, body }: { state: readonly string[]; body: string },
): Stage[] {
  const [grad, clip] = [call.inputs[0]!, call.inputs[1]!];
  const n = numel(call.outputs[0]!.shape);
  const vec4 = n % 4 === 0;
  const access = vec4 ? 'vec4' : 'float32';
  const [reads, writes] = [{ grad }, named(call.outputs, 'w', ...state)];
  const count = vec4 ? n / 4 : n;
  return [
    stage({
      key: `${call.op}:${call.outputs.length}:${vec4}`,
      reads: { ...readAs(access, reads), clip },
      writes: readAs(access, writes),
      params: { n: u32(count), ...numbers },
      workgroup: LANES,
      declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};`,
      body: `  let i = gid;
  if (i >= p.n || clip(2u) == 0.0) { return; }
  let g = grad(i) * T(clip(1u));
${body}`,
      grid: grid1d(count, LANES),
    }),
  ];
}

const floats = (numbers: Readonly<Record<string, number>>): Record<string, Param> =>
  Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, f32(value)]));

const sgdKernel = defineKernel({
  op: 'sgd',
  plan: (call) => {
    const { lr, momentum, dampening, nesterov, weightDecay, first } =
      call.attrs as unknown as ops.SgdAttrs;
    const numbers = {
      lr: f32(lr, 'lr'),
      ...floats({ weightDecay, momentum, take: 1 - dampening }),
      first: f32(first, 'first'),
      ...floats({ nesterov }),
    };
    const decayed = '  let d = g + T(p.weightDecay) * w[i];\n';
    return elementwiseUpdate(call, numbers, {
      state: ['velocity'],
      body:
        call.outputs.length === 1
          ? `${decayed}  w[i] = w[i] - T(p.lr) * d;`
          : `${decayed}  var held = d;
  if (p.first == 0.0) { held = T(p.momentum) * velocity[i] + T(p.take) * d; }
  velocity[i] = held;
  if (p.nesterov == 1.0) { held = d + T(p.momentum) * held; }
  w[i] = w[i] - T(p.lr) * held;`,
    });
  },
});

const lionKernel = defineKernel({
  op: 'lion',
  plan: (call) => {
    const a = call.attrs as unknown as ops.LionAttrs;
    const { lr, beta1, beta2 } = a;
    // Differences from one are taken in float64 here.
    const numbers = {
      lr: f32(lr, 'lr'),
      ...floats({ beta1, take1: 1 - beta1, beta2, take2: 1 - beta2 }),
      keep: computed(a, ['lr', 'weightDecay'], (of) => 1 - of.lr * of.weightDecay),
    };
    return elementwiseUpdate(call, numbers, {
      state: ['moment'],
      body: `  let m = moment[i];
  w[i] = w[i] * T(p.keep) - T(p.lr) * sign(T(p.beta1) * m + T(p.take1) * g);
  moment[i] = T(p.beta2) * m + T(p.take2) * g;`,
    });
  },
});

/**
 * Differences from one are taken in float64 here: 1 - 0.999 in float32 is off in the fifth digit.
 */
const adamwNumbers = (a: ops.AdamWAttrs): Record<string, Param> => ({
  ...floats({
    beta1: a.beta1,
    beta2: a.beta2,
    take1: 1 - a.beta1,
    take2: 1 - a.beta2,
    eps: a.eps,
  }),
  keep: computed(a, ['lr', 'weightDecay'], ({ lr, weightDecay }) => 1 - lr * weightDecay),
  stepSize: computed(
    a,
    ['lr', 'biasCorrection1'],
    ({ lr, biasCorrection1 }) => lr / biasCorrection1,
  ),
  rootCorrection2: computed(a, ['biasCorrection2'], ({ biasCorrection2 }) =>
    Math.sqrt(biasCorrection2),
  ),
});

const adamwKernel = defineKernel({
  op: 'adamw',
  plan: (call) =>
    elementwiseUpdate(call, adamwNumbers(call.attrs as unknown as ops.AdamWAttrs), {
      state: ['moment1', 'moment2'],
      body: `  let m = T(p.beta1) * moment1[i] + T(p.take1) * g;
  let v = T(p.beta2) * moment2[i] + T(p.take2) * g * g;
  moment1[i] = m;
  moment2[i] = v;
  w[i] = w[i] * T(p.keep) - T(p.stepSize) * m / (sqrt(v) / T(p.rootCorrection2) + T(p.eps));`,
    }),
});

/**
 * A workgroup a block of 256: a lane holds four elements and their words of codes.
 *
 * Codes and scales of second moments lie behind those of the first. "adamw8bitRange" updates blocks
 * from `first` on: codes of both moments in windows of their own, the scales of all blocks.
 */
const adamw8bitKernels = ['adamw8bit', 'adamw8bitRange'].map((op) =>
  defineKernel({
    op,
    plan: (call) => {
      const a = call.attrs as unknown as ops.AdamWAttrs & { readonly first?: number };
      const isRange = op === 'adamw8bitRange';
      const blocks = numel(call.inputs[0]!.shape) / ops.MOMENT_BLOCK;
      const [grad, clip, values] = call.inputs as [Operand, Operand, Operand];
      const [w, codes, scales, codes2] = call.outputs as [Operand, Operand, Operand, Operand?];
      const apart = codes2 && { codes2 };
      const [second, ofSecond] = isRange ? ['i', 'codes2'] : [`p.blocks * ${LANES}u + i`, 'codes'];
      const [scale1, scale2] = isRange
        ? ['p.first + group', 'p.total + p.first + group']
        : ['group', 'p.blocks + group'];
      const range = isRange && { first: u32(a.first!), total: u32(numel(scales.shape) / 2) };
      return [
        stage({
          key: op,
          reads: { ...readAs('vec4', { grad }), clip, values },
          writes: { ...readAs('vec4', { w }), codes, scales, ...apart },
          params: { blocks: u32(blocks), ...adamwNumbers(a), ...range },
          workgroup: LANES,
          declarations: `${lanes64.declarations}
fn held(word: u32, map: u32, scale: f32) -> vec4f {
  let c = vec4u(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u);
  return vec4f(values(map + c.x), values(map + c.y), values(map + c.z), values(map + c.w)) * scale;
}
// The nearest to x of the 256 ascending values from \`map\` on; the lower of two equally near.
fn nearest(x: f32, map: u32) -> u32 {
  var low = 0u;
  var high = 255u;
  while (low < high) {
    let middle = (low + high) >> 1u;
    if ((values(map + middle) + values(map + middle + 1u)) * 0.5 < x) { low = middle + 1u; } else { high = middle; }
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
          body: `  if (group >= p.blocks || clip(2u) == 0.0) { return; }
  let i = group * ${LANES}u + lane;
  let second = ${second};
  let g = grad(i) * clip(1u);
  let m = p.beta1 * held(codes[i], 0u, scales[${scale1}]) + p.take1 * g;
  let v = p.beta2 * held(${ofSecond}[second], 256u, scales[${scale2}]) + p.take2 * g * g;
  w[i] = w[i] * p.keep - p.stepSize * m / (sqrt(v) / p.rootCorrection2 + p.eps);
  let top1 = laneMax(largest(m), lane);
  let top2 = laneMax(largest(v), lane);
  codes[i] = coded(m, 0u, top1);
  ${ofSecond}[second] = coded(v, 256u, top2);
  if (lane == 0u) { scales[${scale1}] = top1; scales[${scale2}] = top2; }`,
          grid: grid1d(blocks, 1),
        }),
      ];
    },
  }),
);

/** The updates of optimizers whose state is as large as the parameter. */
export const optimizerKernels: readonly Kernel[] = [
  sgdKernel,
  lionKernel,
  adamwKernel,
  adamw8bitKernels[0]!,
];

/** The update of some blocks of a parameter larger than a binding. */
export const adamw8bitRangeKernel: Kernel = adamw8bitKernels[1]!;
