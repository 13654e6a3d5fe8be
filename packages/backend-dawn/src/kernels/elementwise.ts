import { type DType, isFloat, numel, type OpCall, type Operand, ops } from '@attune/core';
import { defineKernel, f32, grid1d, type Kernel, type Param, type Stage, u32 } from './kernel.js';
import { perLane, storeEach } from './shader.js';
import { type Bound, named, readAs, stage } from './stage.js';

const isVec4 = (call: OpCall): boolean =>
  [...call.inputs, ...call.outputs].every((o) => o.dtype === 'float32') &&
  numel(call.outputs[0]!.shape) % 4 === 0;

/** A stage over n elements of one output, `out`. In the declarations `T` is f32 or vec4f, and `U` its bits. */
function pointwise(
  call: OpCall,
  name: string,
  options: {
    vec4: boolean;
    reads: Readonly<Record<string, Operand>>;
    params?: Readonly<Record<string, Param>>;
    /** Declares `value(i)`. */
    declarations: string;
  },
): Stage[] {
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const { vec4, reads, params = {}, declarations } = options;
  const accesses = (operands: readonly Operand[]) =>
    operands.map(({ dtype }) => (vec4 ? 'vec4' : dtype)).join();
  const bound = (operands: Readonly<Record<string, Operand>>): Record<string, Bound> =>
    vec4 ? readAs('vec4', operands) : operands;
  return [
    stage({
      key: `${name}:${accesses(Object.values(reads))}>${accesses([out])}`,
      reads: bound(reads),
      writes: bound({ out }),
      params: { n: u32(vec4 ? n / 4 : n), ...params },
      workgroup: 64,
      declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};\nalias U = ${vec4 ? 'vec4u' : 'u32'};\n${declarations}`,
      body: storeEach(vec4 ? 'float32' : out.dtype),
      grid: grid1d(n / (vec4 ? 4 : perLane(out.dtype)), 64),
    }),
  ];
}

const scalarType = (dtype: DType): string =>
  dtype === 'int32' ? 'i32' : dtype === 'uint32' ? 'u32' : 'f32';

// ---- one operand

const erfDeclaration = `
fn erf_(x: T) -> T {
  // erfcc of Numerical Recipes (Press et al.), 1.2e-7 at worst; Abramowitz and Stegun 7.1.26 is too coarse.
  let a = abs(x);
  let t = T(1.0) / (T(1.0) + T(0.5) * a);
  let poly = T(-1.26551223) + t * (T(1.00002368) + t * (T(0.37409196) + t * (T(0.09678418) + t * (T(-0.18628806)
    + t * (T(0.27886807) + t * (T(-1.13520398) + t * (T(1.48851587) + t * (T(-0.82215223) + t * T(0.17087277)))))))));
  let r = T(1.0) - t * exp(-a * a + poly);
  return select(-r, r, x >= T(0.0));
}`;
const sigmoidDeclaration = 'fn sigmoid_(x: T) -> T { return T(1.0) / (T(1.0) + exp(-x)); }';
// tanh overflows in some drivers for large arguments. Not clamp: it may turn NaN into a number.
const tanhDeclaration =
  'fn tanh_(x: T) -> T { return select(tanh(x), sign(x), abs(x) > T(15.0)); }';
const tanhInner = 'T(0.7978845608028654) * (x + T(0.044715) * x * x * x)';

/** op name -> [expression in x, declarations it needs] */
const unaryExpressions: Readonly<Record<string, readonly [string, string?]>> = {
  exp: ['exp(x)'],
  log: ['log(x)'],
  sqrt: ['sqrt(x)'],
  rsqrt: ['inverseSqrt(x)'],
  square: ['x * x'],
  abs: ['abs(x)'],
  sign: ['sign(x)'],
  sin: ['sin(x)'],
  cos: ['cos(x)'],
  tanh: ['tanh_(x)', tanhDeclaration],
  sigmoid: ['sigmoid_(x)', sigmoidDeclaration],
  logSigmoid: ['min(x, T(0.0)) - log(T(1.0) + exp(-abs(x)))'],
  // Not max: it may turn NaN into 0, and a broken step would look sound.
  relu: ['select(x, T(0.0), x < T(0.0))'],
  silu: ['x * sigmoid_(x)', sigmoidDeclaration],
  siluGrad: ['sigmoid_(x) * (T(1.0) + x * (T(1.0) - sigmoid_(x)))', sigmoidDeclaration],
  gelu: ['T(0.5) * x * (T(1.0) + erf_(x * T(0.7071067811865476)))', erfDeclaration],
  geluGrad: [
    'T(0.5) * (T(1.0) + erf_(x * T(0.7071067811865476))) + x * exp(T(-0.5) * x * x) * T(0.3989422804014327)',
    erfDeclaration,
  ],
  geluTanh: [`T(0.5) * x * (T(1.0) + tanh_(${tanhInner}))`, tanhDeclaration],
  geluTanhGrad: [
    `T(0.5) * (T(1.0) + tanh_(${tanhInner})) + T(0.5) * x * (T(1.0) - tanh_(${tanhInner}) * tanh_(${tanhInner})) * T(0.7978845608028654) * (T(1.0) + T(0.134145) * x * x)`,
    tanhDeclaration,
  ],
};

const unaryKernels = Object.entries(unaryExpressions).map(([op, [expression, helpers = '']]) =>
  defineKernel({
    op,
    plan: (call) =>
      pointwise(call, op, {
        vec4: isVec4(call),
        reads: named(call.inputs, 'input'),
        declarations: `${helpers}\nfn value(i: u32) -> T { let x = T(input(i)); return ${expression}; }`,
      }),
  }),
);

const affineKernel = defineKernel({
  op: 'affine',
  plan: (call) =>
    pointwise(call, 'affine', {
      vec4: isVec4(call),
      reads: named(call.inputs, 'input'),
      params: { scale: f32(call.attrs.scale as number), shift: f32(call.attrs.shift as number) },
      declarations: 'fn value(i: u32) -> T { return T(input(i)) * T(p.scale) + T(p.shift); }',
    }),
});

/** cast and assign: the same values in the output's dtype. */
const convertKernels = ['cast', 'assign'].map((op) =>
  defineKernel({
    op,
    plan: (call) => {
      const to = scalarType(call.outputs[0]!.dtype);
      const vec4 = isVec4(call);
      return pointwise(call, 'convert', {
        vec4,
        reads: named(call.inputs, 'input'),
        declarations: vec4
          ? 'fn value(i: u32) -> T { return input(i); }'
          : `fn value(i: u32) -> ${to} { return ${to}(input(i)); }`,
      });
    },
  }),
);

const fillKernel = defineKernel({
  op: 'fill',
  plan: (call) => {
    const { dtype } = call.outputs[0]!;
    const type = isFloat(dtype) ? 'f32' : 'u32'; // an integer beyond 2^24 has no float32
    return pointwise(call, 'fill', {
      vec4: isVec4(call),
      reads: {},
      params: { number: [type, call.attrs.value as number] },
      declarations: isVec4(call)
        ? 'fn value(i: u32) -> T { return T(p.number); }'
        : `fn value(i: u32) -> ${scalarType(dtype)} { return ${scalarType(dtype)}(p.number); }`,
    });
  },
});

const accumulateKernel = defineKernel({
  op: 'accumulate',
  plan: (call) =>
    pointwise(call, 'accumulate', {
      vec4: isVec4(call),
      reads: named(call.inputs, 'input'),
      params: { scale: f32(call.attrs.scale as number) },
      declarations: 'fn value(i: u32) -> T { return out[i] + T(p.scale) * T(input(i)); }',
    }),
});

// ---- two operands

/** WGSL's max and min may drop a NaN; here, as in torch, it must show. Bits, because `x != x` may be folded away. */
const keepsNan = (expression: string): string =>
  `select(${expression}, a + b, max(bitcast<U>(a) & U(0x7fffffffu), bitcast<U>(b) & U(0x7fffffffu)) > U(0x7f800000u))`;

const binaryExpressions: Readonly<Record<string, string>> = {
  add: 'a + b',
  sub: 'a - b',
  mul: 'a * b',
  div: 'a / b',
  maximum: keepsNan('max(a, b)'),
  minimum: keepsNan('min(a, b)'),
  equal: 'select(T(0.0), T(1.0), a == b)',
  greater: 'select(T(0.0), T(1.0), a > b)',
  less: 'select(T(0.0), T(1.0), a < b)',
};

/** One axis after merging: its size, and the element stride of each operand along it. */
interface MergedAxis {
  size: number;
  steps: number[];
}

/** Merges neighbouring axes that every operand walks evenly: most broadcasts become two axes. */
export function mergeAxes(
  shape: readonly number[],
  steps: readonly (readonly number[])[],
): MergedAxis[] {
  const axes: MergedAxis[] = [];
  for (let d = 0; d < shape.length; d++) {
    const size = shape[d]!;
    if (size === 1) continue;
    const here = steps.map((s) => s[d]!);
    const last = axes.at(-1);
    if (last?.steps.every((s, i) => s === here[i]! * size)) {
      last.size *= size;
      last.steps = here;
    } else axes.push({ size, steps: here });
  }
  return axes;
}

/** WGSL that turns a flat output index `i` into operand offsets `at0`, `at1`, ... over merged axes. */
export function stridedOffsets(
  axes: readonly MergedAxis[],
  operands: number,
): {
  params: Record<string, Param>;
  code: string;
} {
  const params: Record<string, Param> = {};
  const names = Array.from({ length: operands }, (_, o) => o);
  let code = `  var rest = i;\n${names.map((o) => `  var at${o} = 0u;`).join('\n')}\n`;
  for (let d = axes.length - 1; d >= 0; d--) {
    const outermost = d === 0;
    const { size, steps } = axes[d]!;
    if (!outermost) params[`size${d}`] = u32(size);
    for (const o of names) params[`step${d}_${o}`] = u32(steps[o]!);
    const index = outermost ? 'rest' : `rest % p.size${d}`;
    code += names.map((o) => `  at${o} += (${index}) * p.step${d}_${o};\n`).join('');
    if (!outermost) code += `  rest /= p.size${d};\n`;
  }
  return { params, code };
}

const binaryKernels = Object.entries(binaryExpressions).map(([op, expression]) =>
  defineKernel({
    op,
    plan: (call) => {
      const [a, b] = call.inputs;
      const { shape } = call.outputs[0]!;
      const n = numel(shape);
      const reads = named(call.inputs, 'left', 'right');
      if (numel(a!.shape) === n && numel(b!.shape) === n)
        return pointwise(call, op, {
          vec4: isVec4(call),
          reads,
          declarations: `fn value(i: u32) -> T { let a = T(left(i)); let b = T(right(i)); return ${expression}; }`,
        });
      const axes = mergeAxes(shape, [
        ops.broadcastStrides(a!.shape, shape),
        ops.broadcastStrides(b!.shape, shape),
      ]);
      const { params, code } = stridedOffsets(axes, 2);
      return pointwise(call, `${op}:strided${axes.length}`, {
        vec4: false,
        reads,
        params,
        declarations: `fn value(i: u32) -> T {\n${code}  let a = T(left(at0)); let b = T(right(at1)); return ${expression};\n}`,
      });
    },
  }),
);

const swigluKernel = defineKernel({
  op: 'swiglu',
  plan: (call) =>
    pointwise(call, 'swiglu', {
      vec4: isVec4(call),
      reads: named(call.inputs, 'gate', 'up'),
      declarations: `${sigmoidDeclaration}\nfn value(i: u32) -> T { let x = gate(i); return x * sigmoid_(x) * up(i); }`,
    }),
});

/** The gradients `dGate` and `dUp` of a gated activation. In scope of the body: the gate `x`, `up(gid)`, and `g`. */
function twoGradients(
  call: OpCall,
  name: string,
  { declarations, body }: { declarations: string; body: string },
): Stage[] {
  const n = numel(call.outputs[0]!.shape);
  const vec4 = isVec4(call);
  const reads = named(call.inputs, 'gate', 'up', 'dOut');
  const writes = named(call.outputs, 'dGate', 'dUp');
  const count = vec4 ? n / 4 : n;
  return [
    stage({
      key: `${name}:${call.inputs.map(({ dtype }) => (vec4 ? 'vec4' : dtype)).join()}`,
      reads: vec4 ? readAs('vec4', reads) : reads,
      writes: vec4 ? readAs('vec4', writes) : writes,
      params: { n: u32(count) },
      workgroup: 64,
      declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};\n${declarations}`,
      body: `  if (gid >= p.n) { return; }
  let x = gate(gid);
  let g = dOut(gid);
${body}`,
      grid: grid1d(count, 64),
    }),
  ];
}

const swigluGradKernel = defineKernel({
  op: 'swigluGrad',
  plan: (call) =>
    twoGradients(call, 'swigluGrad', {
      declarations: sigmoidDeclaration,
      body: `  let s = sigmoid_(x);
  dGate[gid] = g * up(gid) * s * (T(1.0) + x * (T(1.0) - s));
  dUp[gid] = g * x * s;`,
    }),
});

/** GELU and its slope as functions of T. */
function geluFunctions(approximate: string): string {
  const suffix = approximate === 'tanh' ? 'Tanh' : '';
  const [value, helpers = ''] = unaryExpressions[`gelu${suffix}`]!;
  const [slope] = unaryExpressions[`gelu${suffix}Grad`]!;
  return `${helpers}
fn gelu_(x: T) -> T { return ${value}; }
fn slope_(x: T) -> T { return ${slope}; }`;
}

const gegluKernel = defineKernel({
  op: 'geglu',
  plan: (call) => {
    const approximate = call.attrs.approximate as string;
    return pointwise(call, `geglu:${approximate}`, {
      vec4: isVec4(call),
      reads: named(call.inputs, 'gate', 'up'),
      declarations: `${geluFunctions(approximate)}\nfn value(i: u32) -> T { return gelu_(gate(i)) * up(i); }`,
    });
  },
});

const gegluGradKernel = defineKernel({
  op: 'gegluGrad',
  plan: (call) => {
    const approximate = call.attrs.approximate as string;
    return twoGradients(call, `gegluGrad:${approximate}`, {
      declarations: geluFunctions(approximate),
      body: `  dGate[gid] = g * up(gid) * slope_(x);
  dUp[gid] = g * gelu_(x);`,
    });
  },
});

export const elementwiseKernels: readonly Kernel[] = [
  ...unaryKernels,
  affineKernel,
  ...convertKernels,
  fillKernel,
  accumulateKernel,
  ...binaryKernels,
  swigluKernel,
  swigluGradKernel,
  gegluKernel,
  gegluGradKernel,
];
