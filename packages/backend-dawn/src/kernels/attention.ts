import { numel, type OpCall, type Operand } from '@attune/core';
import { defineKernel, f32, grid1d, type Kernel, type Param, type Stage, u32 } from './kernel.js';
import { type Access, shader } from './shader.js';

/**
 * Attention without a [T, T] buffer: the softmax is taken online while the keys go by
 * (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135).
 *
 * One lane owns one query (or one key, in the backward pass to keys and values); the lanes of a
 * workgroup share a head, so that they read the same keys at the same time.
 */

interface Sizes {
  b: number;
  t: number;
  h: number;
  d: number;
  s: number;
  hKey: number;
}

function sizesOf(q: Operand, k: Operand): Sizes {
  const [b, t, h, d] = q.shape as [number, number, number, number];
  return { b, t, h, d, s: k.shape[1]!, hKey: k.shape[2]! };
}

const vectorised = (d: number) => d % 4 === 0;

/** The head's features as `N` registers of type V. */
const vectors = (d: number) =>
  vectorised(d) ? { type: 'vec4f', count: d / 4 } : { type: 'f32', count: d };

const dotDeclaration = (d: number) =>
  vectorised(d)
    ? 'fn dot_(a: V, b: V) -> f32 { return dot(a, b); }'
    : 'fn dot_(a: V, b: V) -> f32 { return a * b; }';

const commonParams = {
  t: 'u32',
  s: 'u32',
  h: 'u32',
  hKey: 'u32',
  groups: 'u32',
  offset: 'u32',
  window: 'u32',
  scale: 'f32',
} as const;

function commonValues({ t, h, s, hKey }: Sizes, call: OpCall, groups: number): Param[] {
  const { queryOffset, window, scale } = call.attrs as Record<string, number>;
  return [
    u32(t),
    u32(s),
    u32(h),
    u32(hKey),
    u32(groups),
    u32(queryOffset!),
    u32(window!),
    f32(scale!),
  ];
}

/** WGSL: may the query at `position` see key `j`? `segments` names the loader of segment ids. */
const visible = (causal: boolean, segments: string | null) =>
  [
    causal ? 'j <= position' : 'true',
    '(p.window == 0u || j + p.window > position)',
    segments ? `${segments}(b * p.s + j) == segment` : 'true',
  ].join(' && ');

const LANES = 64;

function structure(call: OpCall, sizes: Sizes, segments: Operand | undefined) {
  const causal = call.attrs.causal as boolean;
  const access: Access = vectorised(sizes.d) ? 'vec4' : 'float32';
  return {
    causal,
    access,
    key: `d${sizes.d}:${causal ? 'causal' : 'full'}:${segments ? 'segments' : 'plain'}`,
  };
}

const attentionKernel = defineKernel({
  op: 'attention',
  plan: (call) => {
    const [q, k, v, segments] = call.inputs as [Operand, Operand, Operand, Operand?];
    const sizes = sizesOf(q, k);
    const { causal, access, key } = structure(call, sizes, segments);
    const { type, count } = vectors(sizes.d);
    const groups = Math.ceil(sizes.t / LANES);
    return [
      {
        key: `attention:${key}`,
        wgsl: () =>
          shader({
            reads: [access, access, access, ...(segments ? (['int32'] as const) : [])],
            writes: [access, 'float32'],
            params: commonParams,
            workgroup: LANES,
            declarations: `alias V = ${type};\nconst N = ${count}u;\n${dotDeclaration(sizes.d)}`,
            body: `  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${LANES}u;
  let row = first + lane;
  let position = p.offset + min(row, p.t - 1u);
  let headKey = head / (p.h / p.hKey);
  let at = ((b * p.t + min(row, p.t - 1u)) * p.h + head) * N;
  ${segments ? 'let segment = x3(b * p.s + position);' : ''}
  var query: array<V, N>;
  var out: array<V, N>;
  for (var i = 0u; i < N; i++) { query[i] = x0(at + i) * p.scale; out[i] = V(0.0); }
  var top = -3.0e38;
  var total = 0.0;
  let last = ${causal ? `min(p.offset + min(first + ${LANES}u, p.t), p.offset + p.t)` : 'p.offset + p.t'};
  for (var j = 0u; j < last; j++) {
    if (${visible(causal, segments ? 'x3' : null)}) {
      let key = ((b * p.s + j) * p.hKey + headKey) * N;
      var score = 0.0;
      for (var i = 0u; i < N; i++) { score += dot_(query[i], x1(key + i)); }
      let newTop = max(top, score);
      let shrink = exp(top - newTop);
      let weight = exp(score - newTop);
      total = total * shrink + weight;
      for (var i = 0u; i < N; i++) { out[i] = out[i] * shrink + weight * x2(key + i); }
      top = newTop;
    }
  }
  if (row < p.t) {
    for (var i = 0u; i < N; i++) { w0[at + i] = out[i] / total; }
    w1[(b * p.h + head) * p.t + row] = top + log(total);
  }`,
          }),
        operands: [...call.inputs, ...call.outputs],
        reads: call.inputs.length,
        params: commonValues(sizes, call, groups),
        grid: grid1d(sizes.b * sizes.h * groups, 1),
      },
    ];
  },
});

/** delta[b, h, t] = sum(g * out): what the softmax's backward pass subtracts. */
function deltaStage(out: Operand, g: Operand, delta: Operand, { b, t, h, d }: Sizes): Stage {
  return {
    key: 'attentionGrad:delta',
    wgsl: () =>
      shader({
        reads: ['float32', 'float32'],
        writes: ['float32'],
        params: { n: 'u32', t: 'u32', h: 'u32', d: 'u32' },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let row = gid % p.t;
  let head = (gid / p.t) % p.h;
  let first = ((gid / p.t / p.h * p.t + row) * p.h + head) * p.d;
  var total = 0.0;
  for (var i = 0u; i < p.d; i++) { total = fma(x0(first + i), x1(first + i), total); }
  w0[gid] = total;`,
      }),
    operands: [out, g, delta],
    reads: 2,
    params: [u32(numel(delta.shape)), u32(t), u32(h), u32(d)],
    grid: grid1d(b * h * t, 64),
  };
}

const attentionGradKernel = defineKernel({
  op: 'attentionGrad',
  plan: (call, _facts, scratch) => {
    const [q, k, v, out, lse, g, segments] = call.inputs as [
      Operand,
      Operand,
      Operand,
      Operand,
      Operand,
      Operand,
      Operand?,
    ];
    const [dq, dk, dv] = call.outputs as [Operand, Operand, Operand];
    const sizes = sizesOf(q, k);
    const { causal, access, key } = structure(call, sizes, segments);
    const { type, count } = vectors(sizes.d);
    const delta = {
      ...scratch(sizes.b * sizes.h * sizes.t, 'float32'),
      shape: [sizes.b, sizes.h, sizes.t],
    };
    const reads: Access[] = [access, access, access, access, 'float32', 'float32'];
    if (segments) reads.push('int32');
    const operands = [q, k, v, g, lse, delta, ...(segments ? [segments] : [])];
    const declarations = `alias V = ${type};\nconst N = ${count}u;\n${dotDeclaration(sizes.d)}`;
    const queryGroups = Math.ceil(sizes.t / LANES);
    const keyGroups = Math.ceil(sizes.s / LANES);

    const toQueries: Stage = {
      key: `attentionGrad:q:${key}`,
      wgsl: () =>
        shader({
          reads,
          writes: [access],
          params: commonParams,
          workgroup: LANES,
          declarations,
          body: `  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${LANES}u;
  let row = min(first + lane, p.t - 1u);
  let position = p.offset + row;
  let headKey = head / (p.h / p.hKey);
  let at = ((b * p.t + row) * p.h + head) * N;
  ${segments ? 'let segment = x6(b * p.s + position);' : ''}
  let lse = x4((b * p.h + head) * p.t + row);
  let delta = x5((b * p.h + head) * p.t + row);
  var query: array<V, N>;
  var dOut: array<V, N>;
  var dQuery: array<V, N>;
  for (var i = 0u; i < N; i++) { query[i] = x0(at + i) * p.scale; dOut[i] = x3(at + i); dQuery[i] = V(0.0); }
  let last = ${causal ? `p.offset + min(first + ${LANES}u, p.t)` : 'p.offset + p.t'};
  for (var j = 0u; j < last; j++) {
    if (${visible(causal, segments ? 'x6' : null)}) {
      let key = ((b * p.s + j) * p.hKey + headKey) * N;
      var score = 0.0;
      var dP = 0.0;
      for (var i = 0u; i < N; i++) { score += dot_(query[i], x1(key + i)); dP += dot_(dOut[i], x2(key + i)); }
      let dS = exp(score - lse) * (dP - delta) * p.scale;
      for (var i = 0u; i < N; i++) { dQuery[i] += dS * x1(key + i); }
    }
  }
  if (first + lane < p.t) { for (var i = 0u; i < N; i++) { w0[at + i] = dQuery[i]; } }`,
        }),
      operands: [...operands, dq],
      reads: reads.length,
      params: commonValues(sizes, call, queryGroups),
      grid: grid1d(sizes.b * sizes.h * queryGroups, 1),
    };

    const toKeys: Stage = {
      key: `attentionGrad:kv:${key}`,
      wgsl: () =>
        shader({
          reads,
          writes: [access, access],
          params: commonParams,
          workgroup: LANES,
          declarations,
          body: `  let headKey = (group / p.groups) % p.hKey;
  let b = group / p.groups / p.hKey;
  let j = (group % p.groups) * ${LANES}u + lane;
  if (j >= p.s) { return; }
  let at = ((b * p.s + j) * p.hKey + headKey) * N;
  let perKey = p.h / p.hKey;
  ${segments ? 'let own = x6(b * p.s + j);' : ''}
  var key: array<V, N>;
  var value: array<V, N>;
  var dKey: array<V, N>;
  var dValue: array<V, N>;
  for (var i = 0u; i < N; i++) { key[i] = x1(at + i); value[i] = x2(at + i); dKey[i] = V(0.0); dValue[i] = V(0.0); }
  if (j < p.offset + p.t) {
    for (var row = ${causal ? 'select(0u, j - p.offset, j > p.offset)' : '0u'}; row < p.t; row++) {
      let position = p.offset + row;
      ${segments ? 'let segment = x6(b * p.s + position);' : ''}
      if (${[
        causal ? 'j <= position' : 'true',
        '(p.window == 0u || j + p.window > position)',
        segments ? 'own == segment' : 'true',
      ].join(' && ')}) {
        for (var head = headKey * perKey; head < (headKey + 1u) * perKey; head++) {
          let query = ((b * p.t + row) * p.h + head) * N;
          let statistic = (b * p.h + head) * p.t + row;
          var score = 0.0;
          var dP = 0.0;
          for (var i = 0u; i < N; i++) { score += dot_(x0(query + i), key[i]); dP += dot_(x3(query + i), value[i]); }
          let weight = exp(score * p.scale - x4(statistic));
          let dS = weight * (dP - x5(statistic)) * p.scale;
          for (var i = 0u; i < N; i++) { dKey[i] += dS * x0(query + i); dValue[i] += weight * x3(query + i); }
        }
      }
    }
  }
  for (var i = 0u; i < N; i++) { w0[at + i] = dKey[i]; w1[at + i] = dValue[i]; }`,
        }),
      operands: [...operands, dk, dv],
      reads: reads.length,
      params: commonValues(sizes, call, keyGroups),
      grid: grid1d(sizes.b * sizes.hKey * keyGroups, 1),
    };
    return [deltaStage(out, g, delta, sizes), toQueries, toKeys];
  },
});

export const attentionKernels: readonly Kernel[] = [attentionKernel, attentionGradKernel];
