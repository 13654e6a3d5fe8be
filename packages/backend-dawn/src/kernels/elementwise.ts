import { type DType, numel, ops } from '@attune/core';
import { isFloat } from '@attune/core/backend';
import { defineKernel, f32, type Kernel, u32 } from './kernel.js';
import { isVec4, pointwise } from './pointwise.js';
import { named } from './stage.js';
import { mergeAxes, stridedOffsets } from './strides.js';

const scalarType = (dtype: DType): string =>
  dtype === 'int32' ? 'i32' : dtype === 'uint32' ? 'u32' : 'f32';

const affineKernel = defineKernel({
  op: 'affine',
  plan: (call) =>
    pointwise(call, 'affine', {
      vec4: isVec4(call),
      reads: named(call.inputs, 'input'),
      params: {
        scale: f32(call.attrs.scale as number, 'scale'),
        shift: f32(call.attrs.shift as number, 'shift'),
      },
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
    const number = isFloat(dtype) ? f32 : u32; // an integer beyond 2^24 has no float32
    return pointwise(call, 'fill', {
      vec4: isVec4(call),
      reads: {},
      params: { number: number(call.attrs.value as number, 'value') },
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
      params: { scale: f32(call.attrs.scale as number, 'scale') },
      declarations: 'fn value(i: u32) -> T { return out[i] + T(p.scale) * T(input(i)); }',
    }),
});

/**
 * WGSL's max and min may drop a NaN; here, as in torch, it must show. Bits, because `x != x` may be
 * folded away.
 */
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

export const elementwiseKernels: readonly Kernel[] = [
  affineKernel,
  ...convertKernels,
  fillKernel,
  accumulateKernel,
  ...binaryKernels,
];
