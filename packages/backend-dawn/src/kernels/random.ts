import { numel, type ops } from '@attune/core';
import type { OpCall } from '@attune/core/backend';
import { defineKernel, f32, grid1d, type Kernel, type Param, type Stage, u32 } from './kernel.js';
import { stage } from './stage.js';

/** util/rng.ts of core, word for word. */
export const philoxDeclaration = `
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

/** Four numbers a lane, of one call of Philox; `stream` tells the ops apart that draw. */
function drawing(
  call: OpCall,
  numbers: Readonly<Record<string, Param>>,
  { stream, body }: { stream: number; body: string },
): Stage[] {
  const [input, out] = [call.inputs[0]!, call.outputs[0]!];
  const n = numel(out.shape);
  return [
    stage({
      key: `${call.op}:${input.dtype}`,
      reads: { input },
      writes: { out },
      params: { n: u32(n), ...numbers },
      workgroup: 64,
      declarations: philoxDeclaration,
      body: `  let first = gid * 4u;
  if (first >= p.n) { return; }
  let words = philox(vec4u(gid, p.draw, 0u, ${stream}u), vec2u(p.seed, 0u));
  for (var j = 0u; j < min(4u, p.n - first); j++) {
${body}
  }`,
      grid: grid1d(Math.ceil(n / 4), 64),
    }),
  ];
}

const dropoutKernel = defineKernel({
  op: 'dropout',
  plan: (call) => {
    const { p, seed, draw } = call.attrs as { p: number; seed: number; draw: number };
    const numbers = {
      seed: u32(seed),
      draw: u32(draw, 'draw'),
      p: f32(p),
      scale: f32(1 / (1 - p)),
    };
    return drawing(call, numbers, {
      stream: 1,
      body: `    let keep = f32(words[j] >> 8u) * 5.9604644775390625e-8 >= p.p;
    out[first + j] = select(0.0, input(first + j) * p.scale, keep);`,
    });
  },
});

const addNoiseKernel = defineKernel({
  op: 'addNoise',
  plan: (call) => {
    const { magnitude, seed, draw } = call.attrs as unknown as ops.NoiseAttrs;
    const numbers = { seed: u32(seed), draw: u32(draw, 'draw'), magnitude: f32(magnitude) };
    return drawing(call, numbers, {
      stream: 2,
      body: '    out[first + j] = input(first + j) + p.magnitude * (f32(words[j] >> 8u) * 1.1920928955078125e-7 - 1.0);',
    });
  },
});

/** Kernels that draw random numbers. */
export const randomKernels: readonly Kernel[] = [dropoutKernel, addNoiseKernel];
