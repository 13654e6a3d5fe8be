import { numel } from '@attune/core';
import type { OpCall } from '@attune/core/backend';
import { defineKernel, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { isVec4, pointwise } from './pointwise.js';
import { named, readAs, stage } from './stage.js';
import { sigmoidDeclaration, unaryExpressions } from './unary.js';

const swigluKernel = defineKernel({
  op: 'swiglu',
  plan: (call) =>
    pointwise(call, 'swiglu', {
      vec4: isVec4(call),
      reads: named(call.inputs, 'gate', 'up'),
      declarations: `${sigmoidDeclaration}\nfn value(i: u32) -> T { let x = gate(i); return x * sigmoid_(x) * up(i); }`,
    }),
});

/**
 * The gradients `dGate` and `dUp` of a gated activation. In scope of the body: the gate `x`,
 * `up(gid)`, and `g`.
 */
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

/** A gate through its activation, times what it gates. */
export const gatedKernels: readonly Kernel[] = [
  swigluKernel,
  swigluGradKernel,
  gegluKernel,
  gegluGradKernel,
];
