import { type DType, isFloat, numel, type OpCall, ops } from '@attune/core';
import { defineKernel, f32, grid1d, type Kernel, type Param, type Stage, u32 } from './kernel.js';
import { perLane, type ShaderSource, shader, storeEach } from './shader.js';

const isVec4 = (call: OpCall): boolean =>
  [...call.inputs, ...call.outputs].every((o) => o.dtype === 'float32') &&
  numel(call.outputs[0]!.shape) % 4 === 0;

/** A stage over n elements, one output. In the declarations `T` is f32 or vec4f, and `U` its bits. */
function pointwise(
  call: OpCall,
  name: string,
  options: {
    vec4: boolean;
    params?: Readonly<Record<string, 'u32' | 'f32'>>;
    values?: readonly Param[];
    /** Declares `value(i)`. */
    declarations: string;
    /** Reads w0 as well: an update in place. */
    body?: string;
  },
): Stage[] {
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const { vec4, params = {}, values = [], declarations, body } = options;
  const width = vec4 ? 4 : perLane(out.dtype);
  const source: ShaderSource = {
    reads: call.inputs.map((o) => (vec4 ? 'vec4' : o.dtype)),
    writes: [vec4 ? 'vec4' : out.dtype],
    params: { n: 'u32', ...params },
    workgroup: 64,
    declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};\nalias U = ${vec4 ? 'vec4u' : 'u32'};\n${declarations}`,
    body: body ?? (vec4 ? storeEach('float32') : storeEach(out.dtype)),
  };
  return [
    {
      key: `${name}:${source.reads.join()}>${source.writes.join()}`,
      wgsl: () => shader(source),
      operands: [...call.inputs, out],
      reads: call.inputs.length,
      params: [u32(vec4 ? n / 4 : n), ...values],
      grid: grid1d(n / width, 64),
    },
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
        declarations: `${helpers}\nfn value(i: u32) -> T { let x = T(x0(i)); return ${expression}; }`,
      }),
  }),
);

const affineKernel = defineKernel({
  op: 'affine',
  plan: (call) =>
    pointwise(call, 'affine', {
      vec4: isVec4(call),
      params: { scale: 'f32', shift: 'f32' },
      values: [f32(call.attrs.scale as number), f32(call.attrs.shift as number)],
      declarations: 'fn value(i: u32) -> T { return T(x0(i)) * T(p.scale) + T(p.shift); }',
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
        declarations: vec4
          ? 'fn value(i: u32) -> T { return x0(i); }'
          : `fn value(i: u32) -> ${to} { return ${to}(x0(i)); }`,
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
      params: { number: type },
      values: [[type, call.attrs.value as number]],
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
      params: { scale: 'f32' },
      values: [f32(call.attrs.scale as number)],
      declarations: 'fn value(i: u32) -> T { return w0[i] + T(p.scale) * T(x0(i)); }',
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

/** WGSL that turns a flat output index `i` into operand offsets `at0`, `at1`, ... over up to `rank` axes. */
export function stridedOffsets(
  rank: number,
  operands: number,
): {
  params: Record<string, 'u32'>;
  code: string;
} {
  const params: Record<string, 'u32'> = {};
  const names = Array.from({ length: operands }, (_, o) => o);
  let code = `  var rest = i;\n${names.map((o) => `  var at${o} = 0u;`).join('\n')}\n`;
  for (let d = rank - 1; d >= 0; d--) {
    const outermost = d === 0;
    if (!outermost) params[`size${d}`] = 'u32';
    for (const o of names) params[`step${d}_${o}`] = 'u32';
    const index = outermost ? 'rest' : `rest % p.size${d}`;
    code += names.map((o) => `  at${o} += (${index}) * p.step${d}_${o};\n`).join('');
    if (!outermost) code += `  rest /= p.size${d};\n`;
  }
  return { params, code };
}

export function stridedValues(axes: readonly MergedAxis[], operands: number): Param[] {
  const values: Param[] = [];
  for (let d = axes.length - 1; d >= 0; d--) {
    if (d > 0) values.push(u32(axes[d]!.size));
    for (let o = 0; o < operands; o++) values.push(u32(axes[d]!.steps[o]!));
  }
  return values;
}

const binaryKernels = Object.entries(binaryExpressions).map(([op, expression]) =>
  defineKernel({
    op,
    plan: (call) => {
      const [a, b] = call.inputs;
      const { shape } = call.outputs[0]!;
      const n = numel(shape);
      if (numel(a!.shape) === n && numel(b!.shape) === n)
        return pointwise(call, op, {
          vec4: isVec4(call),
          declarations: `fn value(i: u32) -> T { let a = T(x0(i)); let b = T(x1(i)); return ${expression}; }`,
        });
      const axes = mergeAxes(shape, [
        ops.broadcastStrides(a!.shape, shape),
        ops.broadcastStrides(b!.shape, shape),
      ]);
      const { params, code } = stridedOffsets(axes.length, 2);
      return pointwise(call, `${op}:strided${axes.length}`, {
        vec4: false,
        params,
        values: stridedValues(axes, 2),
        declarations: `fn value(i: u32) -> T {\n${code}  let a = T(x0(at0)); let b = T(x1(at1)); return ${expression};\n}`,
      });
    },
  }),
);

const swigluKernel = defineKernel({
  op: 'swiglu',
  plan: (call) =>
    pointwise(call, 'swiglu', {
      vec4: isVec4(call),
      declarations: `${sigmoidDeclaration}\nfn value(i: u32) -> T { let x = x0(i); return x * sigmoid_(x) * x1(i); }`,
    }),
});

/** The gradients of a gated activation. Inputs: gate `x`, up, and `g`; all are in scope of the body. */
function twoGradients(
  call: OpCall,
  name: string,
  { declarations, body }: { declarations: string; body: string },
): Stage[] {
  const n = numel(call.outputs[0]!.shape);
  const vec4 = isVec4(call);
  const access = vec4 ? 'vec4' : 'float32';
  const source: ShaderSource = {
    reads: vec4 ? ['vec4', 'vec4', 'vec4'] : call.inputs.map((o) => o.dtype),
    writes: [access, access],
    params: { n: 'u32' },
    workgroup: 64,
    declarations: `alias T = ${vec4 ? 'vec4f' : 'f32'};\n${declarations}`,
    body: `  if (gid >= p.n) { return; }
  let x = x0(gid);
  let g = x2(gid);
${body}`,
  };
  return [
    {
      key: `${name}:${source.reads.join()}`,
      wgsl: () => shader(source),
      operands: [...call.inputs, ...call.outputs],
      reads: 3,
      params: [u32(vec4 ? n / 4 : n)],
      grid: grid1d(vec4 ? n / 4 : n, 64),
    },
  ];
}

const swigluGradKernel = defineKernel({
  op: 'swigluGrad',
  plan: (call) =>
    twoGradients(call, 'swigluGrad', {
      declarations: sigmoidDeclaration,
      body: `  let s = sigmoid_(x);
  w0[gid] = g * x1(gid) * s * (T(1.0) + x * (T(1.0) - s));
  w1[gid] = g * x * s;`,
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
      declarations: `${geluFunctions(approximate)}\nfn value(i: u32) -> T { return gelu_(x0(i)) * x1(i); }`,
    });
  },
});

const gegluGradKernel = defineKernel({
  op: 'gegluGrad',
  plan: (call) => {
    const approximate = call.attrs.approximate as string;
    return twoGradients(call, `gegluGrad:${approximate}`, {
      declarations: geluFunctions(approximate),
      body: `  w0[gid] = g * x1(gid) * slope_(x);
  w1[gid] = g * gelu_(x);`,
    });
  },
});

/** util/rng.ts of core, word for word. */
const philoxDeclaration = `
fn mulHigh(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
  let mid = ah * bl + ((al * bl) >> 16u);
  let mid2 = al * bh + (mid & 0xffffu);
  return ah * bh + (mid >> 16u) + (mid2 >> 16u);
}
fn philox(counter: vec4u, key: vec2u) -> vec4u {
  var c = counter;
  var k = key;
  for (var round = 0; round < 10; round++) {
    let highA = mulHigh(0xd2511f53u, c.x);
    let highB = mulHigh(0xcd9e8d57u, c.z);
    c = vec4u(highB ^ c.y ^ k.x, 0xcd9e8d57u * c.z, highA ^ c.w ^ k.y, 0xd2511f53u * c.x);
    k += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}`;

const dropoutKernel = defineKernel({
  op: 'dropout',
  plan: (call) => {
    const n = numel(call.outputs[0]!.shape);
    const source: ShaderSource = {
      reads: [call.inputs[0]!.dtype],
      writes: ['float32'],
      params: { n: 'u32', seed: 'u32', draw: 'u32', p: 'f32', scale: 'f32' },
      workgroup: 64,
      declarations: philoxDeclaration,
      body: `  let first = gid * 4u;
  if (first >= p.n) { return; }
  let words = philox(vec4u(gid, p.draw, 0u, 1u), vec2u(p.seed, 0u));
  for (var j = 0u; j < min(4u, p.n - first); j++) {
    let keep = f32(words[j] >> 8u) * 5.9604644775390625e-8 >= p.p;
    w0[first + j] = select(0.0, x0(first + j) * p.scale, keep);
  }`,
    };
    const { p, seed, draw } = call.attrs as { p: number; seed: number; draw: number };
    return [
      {
        key: `dropout:${call.inputs[0]!.dtype}`,
        wgsl: () => shader(source),
        operands: [call.inputs[0]!, call.outputs[0]!],
        reads: 1,
        params: [u32(n), u32(seed), u32(draw), f32(p), f32(1 / (1 - p))],
        grid: grid1d(Math.ceil(n / 4), 64),
      },
    ];
  },
});

const addNoiseKernel = defineKernel({
  op: 'addNoise',
  plan: (call) => {
    const n = numel(call.outputs[0]!.shape);
    const { magnitude, seed, draw } = call.attrs as unknown as ops.NoiseAttrs;
    return [
      {
        key: `addNoise:${call.inputs[0]!.dtype}`,
        wgsl: () =>
          shader({
            reads: [call.inputs[0]!.dtype],
            writes: ['float32'],
            params: { n: 'u32', seed: 'u32', draw: 'u32', magnitude: 'f32' },
            workgroup: 64,
            declarations: philoxDeclaration,
            body: `  let first = gid * 4u;
  if (first >= p.n) { return; }
  let words = philox(vec4u(gid, p.draw, 0u, 2u), vec2u(p.seed, 0u));
  for (var j = 0u; j < min(4u, p.n - first); j++) {
    w0[first + j] = x0(first + j) + p.magnitude * (f32(words[j] >> 8u) * 1.1920928955078125e-7 - 1.0);
  }`,
          }),
        operands: [call.inputs[0]!, call.outputs[0]!],
        reads: 1,
        params: [u32(n), u32(seed), u32(draw), f32(magnitude)],
        grid: grid1d(Math.ceil(n / 4), 64),
      },
    ];
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
  dropoutKernel,
  addNoiseKernel,
];
