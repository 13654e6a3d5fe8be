import { numel, type OpCall, type Operand, ops } from '@attune/core';
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
import { type Access, shader } from './shader.js';

/**
 * Attention without a [T, T] buffer: the softmax is taken online while the keys go by
 * (Milakov and Gimelshein, arXiv:1805.02867; Dao et al., arXiv:2205.14135).
 *
 * One lane owns one query (or one key, in the backward pass to keys and values); the lanes of a
 * workgroup share a head, so that they want the same keys at the same time.
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

/** A head's features as named registers: `each` writes one line for every register. */
function registers(d: number) {
  const width = vectorised(d) ? 4 : 1;
  const count = d / width;
  const each = (line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join(' ');
  return {
    type: width === 4 ? 'vec4f' : 'f32',
    count,
    each,
    /** sum over all features of a_i * b_i, as an expression. */
    dot: (a: string, b: string) =>
      Array.from({ length: count }, (_, i) =>
        width === 4 ? `dot(${a}${i}, ${b}${i})` : `${a}${i} * ${b}${i}`,
      ).join(' + '),
  };
}

/**
 * What moves a lane's own row between memory and registers. On a software device one load or store is
 * a few hundred instructions, which take longer to compile than to run: there `step` of them are
 * written out, and a loop that the compiler cannot see the end of turns the registers round.
 */
function ownRow(facts: DeviceFacts, d: number) {
  const { type, count, each } = registers(d);
  const step = count % 2 === 0 ? 2 : 1;
  const some = (line: (i: number) => string) =>
    Array.from({ length: step }, (_, i) => line(i)).join(' ');
  const turned = (name: string) =>
    each((i) => (i + step < count ? `${name}${i} = ${name}${i + step};` : ''));
  const loop = (body: string) => `for (var i = 0u; i < p.width; i += ${step}u) { ${body} }`;
  return {
    /** @param loads register name -> the expression that loads number `i` of the row */
    load(loads: Readonly<Record<string, (i: string) => string>>): string {
      const entries = Object.entries(loads);
      if (!facts.software)
        return entries
          .map(([name, of]) => each((i) => `let ${name}${i} = ${of(`${i}u`)};`))
          .join('\n  ');
      return `${entries.map(([name]) => each((i) => `var ${name}${i} = ${type}();`)).join('\n  ')}
  ${loop(
    entries
      .map(
        ([name, of]) =>
          `${some((i) => `let ${name}Next${i} = ${of(`(i + ${i}u)`)};`)} ${turned(name)} ${some((i) => `${name}${count - step + i} = ${name}Next${i};`)}`,
      )
      .join('\n    '),
  )}`;
    },
    /** @param stores register name -> the statement that stores `value` as number `i`; the registers are lost */
    store(stores: Readonly<Record<string, (i: string, value: string) => string>>): string {
      const entries = Object.entries(stores);
      if (!facts.software)
        return entries.map(([name, to]) => each((i) => to(`${i}u`, `${name}${i}`))).join('\n    ');
      return loop(
        entries
          .map(([name, to]) => `${some((i) => to(`(i + ${i}u)`, `${name}${i}`))} ${turned(name)}`)
          .join('\n    '),
      );
    },
  };
}

/** Lanes that load one row together; a block of rows is what a subgroup loads at once. */
export function lanesPerRow(count: number, subgroupSize: number): number {
  let lanes = subgroupSize / 2;
  while (lanes > 1 && count % lanes !== 0) lanes /= 2;
  return Math.max(1, lanes);
}

/** Which lane holds register `i` of the block's row `turn`, and as its how-manieth. */
export const holder = (turn: number, i: number, perRow: number) => ({
  lane: turn * perRow + (i % perRow),
  slot: Math.floor(i / perRow),
});

/**
 * A loop over neighbouring rows that all lanes want: `rows[j]` for j in [from, to). With subgroups
 * some lanes load a row of a block together and shuffles hand it round (a load costs more than a
 * shuffle); without, every lane loads the same row.
 *
 * @param names registers to fill for row j, with the expression that loads number `i` of row `r`
 * @param numbers one number of each row, with the expression that loads it
 */
function overRows(
  facts: DeviceFacts,
  d: number,
  range: { from: string; to: string },
  names: Readonly<Record<string, (row: string, i: string) => string>>,
  numbers: Readonly<Record<string, (row: string) => string>>,
  body: string,
): string {
  const { count, each } = registers(d);
  const entries = Object.entries(names);
  const single = Object.entries(numbers);
  const S = facts.subgroupSize;
  if (S === 0)
    return `for (var j = ${range.from}; j < ${range.to}; j++) {
    ${entries.map(([name, load]) => each((i) => `let ${name}${i} = ${load('j', `${i}u`)};`)).join('\n    ')}
    ${single.map(([name, load]) => `let ${name} = ${load('j')};`).join(' ')}
    ${body}
  }`;
  const perRow = lanesPerRow(count, S);
  const rows = S / perRow;
  const slots = Array.from({ length: count / perRow }, (_, slot) => slot);
  const shuffled = (name: string) =>
    each((i) => {
      const { lane, slot } = holder(0, i, perRow);
      return `let ${name}${i} = subgroupShuffle(${name}Mine${slot}, source + ${lane}u);`;
    });
  return `for (var block = ${range.from}; block < ${range.to}; block += ${rows}u) {
    let mine = min(block + lane / ${perRow}u, ${range.to} - 1u);
    let part = lane % ${perRow}u;
    ${entries
      .map(([name, load]) =>
        slots
          .map((slot) => `let ${name}Mine${slot} = ${load('mine', `(part + ${slot * perRow}u)`)};`)
          .join(' '),
      )
      .join('\n    ')}
    ${single.map(([name, load]) => `let ${name}Mine = ${load('mine')};`).join(' ')}
    let steps = min(${rows}u, ${range.to} - block);
    for (var turn = 0u; turn < steps; turn++) {
      let j = block + turn;
      let source = turn * ${perRow}u;
      ${entries.map(([name]) => shuffled(name)).join('\n      ')}
      ${single.map(([name]) => `let ${name} = subgroupShuffle(${name}Mine, source);`).join(' ')}
      ${body}
    }
  }`;
}

const commonParams = {
  t: 'u32',
  s: 'u32',
  h: 'u32',
  hKey: 'u32',
  groups: 'u32',
  count: 'u32',
  offset: 'u32',
  window: 'u32',
  scale: 'f32',
  width: 'u32',
  softcap: 'f32',
  stride: 'u32',
} as const;

/**
 * @param groups workgroups for each head @param count workgroups that have work: a folded grid may hold more
 * @param segments of which each batch row has `stride` numbers
 */
function commonValues(
  { t, h, s, hKey, d }: Sizes,
  call: OpCall,
  groups: number,
  count: number,
  segments: Operand | undefined,
): Param[] {
  const { queryOffset, window, scale, softcap } = call.attrs as Record<string, number>;
  return [
    u32(t),
    u32(s),
    u32(h),
    u32(hKey),
    u32(groups),
    u32(count),
    u32(queryOffset!),
    u32(window!),
    f32(scale!),
    u32(registers(d).count),
    f32(softcap!),
    u32(segments?.shape[1] ?? s),
  ];
}

const isEvery = (segment: string) => `${segment} == ${ops.EVERY_SEGMENT}`;

/**
 * WGSL: may the query at `position` see key `j`, whose segment is `other`? With places, the window of keys that
 * every segment sees counts from the query's `place`.
 */
const visible = (causal: boolean, segments: boolean, placed: boolean) =>
  [
    causal ? 'j <= position' : 'true',
    `(p.window == 0u || j + p.window > ${placed ? `select(position, place, ${isEvery('other')})` : 'position'})`,
    segments ? `(other == segment || ${isEvery('other')})` : 'true',
  ].join(' && ');

/** WGSL: the cap of a score. A tanh far out is 1 but overflows in some drivers; NaN stays NaN. */
const capDeclaration = `fn cap(score: f32) -> f32 {
  let x = score / p.softcap;
  return p.softcap * select(tanh(x), sign(x), abs(x) > 15.0);
}`;

/** Lanes of a workgroup: one subgroup, so that shuffles reach all of them. */
const lanesOf = (facts: DeviceFacts): number => facts.subgroupSize || 64;

function structure(call: OpCall, sizes: Sizes, segments: Operand | undefined) {
  const causal = call.attrs.causal as boolean;
  const capped = (call.attrs.softcap as number) > 0;
  const access: Access = vectorised(sizes.d) ? 'vec4' : 'float32';
  const placed = segments !== undefined && segments.shape[1]! > sizes.s;
  return {
    causal,
    access,
    placed,
    key: `d${sizes.d}:${causal ? 'causal' : 'full'}:${placed ? 'placed' : segments ? 'segments' : 'plain'}${capped ? ':capped' : ''}`,
    /** Module-level WGSL that `capOf` and `slope` need. */
    declarations: capped ? { declarations: capDeclaration } : {},
    /** The score that the softmax sees, of one before the cap. */
    capOf: (score: string) => (capped ? `cap(${score})` : score),
    /** d cap / d score, from the capped score, as a factor. */
    slope: capped ? ' * (1.0 - (score / p.softcap) * (score / p.softcap))' : '',
  };
}

const attentionKernel = defineKernel({
  op: 'attention',
  plan: (call, facts) => {
    const [q, k, , segments] = call.inputs as [Operand, Operand, Operand, Operand?];
    const sizes = sizesOf(q, k);
    const { causal, access, placed, key, capOf, declarations } = structure(call, sizes, segments);
    const { type, count, each, dot } = registers(sizes.d);
    const row = ownRow(facts, sizes.d);
    const lanes = lanesOf(facts);
    const groups = Math.ceil(sizes.t / lanes);
    const workgroups = sizes.b * sizes.h * groups;
    const keyRow = (row: string) => `((b * p.s + ${row}) * p.hKey + headKey) * ${count}u`;
    return [
      {
        key: `attention:${key}`,
        wgsl: () =>
          shader({
            reads: [access, access, access, ...(segments ? (['int32'] as const) : [])],
            writes: [access, 'float32'],
            params: commonParams,
            workgroup: lanes,
            ...declarations,
            subgroups: facts.subgroupSize > 0,
            body: `  if (group >= p.count) { return; }
  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${lanes}u;
  let row = min(first + lane, p.t - 1u);
  let position = p.offset + row;
  let headKey = head / (p.h / p.hKey);
  let at = ((b * p.t + row) * p.h + head) * ${count}u;
  ${segments ? 'let segment = x3(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(x3(b * p.stride + p.s + row));' : ''}
  ${row.load({ q: (i) => `x0(at + ${i}) * p.scale` })}
  ${each((i) => `var out${i} = ${type}(0.0);`)}
  var top = -3.0e38;
  var total = 0.0;
  let last = ${causal ? `p.offset + min(first + ${lanes}u, p.t)` : 'p.offset + p.t'};
  let begin = ${windowStart(causal, placed)};
  ${overRows(
    facts,
    sizes.d,
    { from: 'begin', to: 'last' },
    { k: (r, i) => `x1(${keyRow(r)} + ${i})`, v: (r, i) => `x2(${keyRow(r)} + ${i})` },
    segments ? { other: (r) => `x3(b * p.stride + ${r})` } : {},
    `if (${visible(causal, segments !== undefined, placed)}) {
        let score = ${capOf(dot('q', 'k'))};
        let newTop = max(top, score);
        let shrink = exp(top - newTop);
        let weight = exp(score - newTop);
        total = total * shrink + weight;
        ${each((i) => `out${i} = out${i} * shrink + weight * v${i};`)}
        top = newTop;
      }`,
  )}
  if (first + lane < p.t) {
    ${row.store({ out: (i, value) => `w0[at + ${i}] = ${value} / total;` })}
    w1[(b * p.h + head) * p.t + row] = top + log(total);
  }`,
          }),
        operands: [...call.inputs, ...call.outputs],
        reads: call.inputs.length,
        params: commonValues(sizes, call, groups, workgroups, segments),
        grid: grid1d(workgroups, 1),
      },
    ];
  },
});

/** First key that any lane of the workgroup can see: keys before the sliding window are skipped, unless their place counts. */
const windowStart = (causal: boolean, placed: boolean): string =>
  causal && !placed
    ? 'select(0u, p.offset + first + 1u - min(p.window, p.offset + first + 1u), p.window > 0u)'
    : '0u';

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
  // q, k, v, g, lse, delta, dk, dv, and the segments.
  accepts: ({ inputs }, { maxBindings }) => maxBindings >= (inputs[6] ? 9 : 8),
  plan: (call, facts, scratch) => {
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
    const shape = structure(call, sizes, segments);
    const { causal, access, placed, key, capOf, slope, declarations } = shape;
    const { type, count, each, dot } = registers(sizes.d);
    const row = ownRow(facts, sizes.d);
    const lanes = lanesOf(facts);
    const subgroups = facts.subgroupSize > 0;
    const delta = {
      ...scratch(sizes.b * sizes.h * sizes.t, 'float32'),
      shape: [sizes.b, sizes.h, sizes.t],
    };
    const reads: Access[] = [access, access, access, access, 'float32', 'float32'];
    if (segments) reads.push('int32');
    const operands = [q, k, v, g, lse, delta, ...(segments ? [segments] : [])];
    const queryGroups = Math.ceil(sizes.t / lanes);
    const keyGroups = Math.ceil(sizes.s / lanes);
    const queryCount = sizes.b * sizes.h * queryGroups;
    const keyCount = sizes.b * sizes.hKey * keyGroups;
    const keyRow = (row: string) => `((b * p.s + ${row}) * p.hKey + headKey) * ${count}u`;
    const queryRow = (row: string) => `((b * p.t + ${row}) * p.h + head) * ${count}u`;

    const toQueries: Stage = {
      key: `attentionGrad:q:${key}`,
      wgsl: () =>
        shader({
          reads,
          writes: [access],
          params: commonParams,
          workgroup: lanes,
          ...declarations,
          subgroups,
          body: `  if (group >= p.count) { return; }
  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${lanes}u;
  let row = min(first + lane, p.t - 1u);
  let position = p.offset + row;
  let headKey = head / (p.h / p.hKey);
  let at = ${queryRow('row')};
  ${segments ? 'let segment = x6(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(x6(b * p.stride + p.s + row));' : ''}
  let lse = x4((b * p.h + head) * p.t + row);
  let delta = x5((b * p.h + head) * p.t + row);
  ${row.load({ q: (i) => `x0(at + ${i}) * p.scale`, g: (i) => `x3(at + ${i})` })}
  ${each((i) => `var dQ${i} = ${type}(0.0);`)}
  let last = ${causal ? `p.offset + min(first + ${lanes}u, p.t)` : 'p.offset + p.t'};
  let begin = ${windowStart(causal, placed)};
  ${overRows(
    facts,
    sizes.d,
    { from: 'begin', to: 'last' },
    { k: (r, i) => `x1(${keyRow(r)} + ${i})`, v: (r, i) => `x2(${keyRow(r)} + ${i})` },
    segments ? { other: (r) => `x6(b * p.stride + ${r})` } : {},
    `if (${visible(causal, segments !== undefined, placed)}) {
        let score = ${capOf(dot('q', 'k'))};
        let dP = ${dot('g', 'v')};
        let dS = exp(score - lse) * (dP - delta) * p.scale${slope};
        ${each((i) => `dQ${i} += dS * k${i};`)}
      }`,
  )}
  if (first + lane < p.t) {
    ${row.store({ dQ: (i, value) => `w0[at + ${i}] = ${value};` })}
  }`,
        }),
      operands: [...operands, dq],
      reads: reads.length,
      params: commonValues(sizes, call, queryGroups, queryCount, segments),
      grid: grid1d(queryCount, 1),
    };

    const toKeys: Stage = {
      key: `attentionGrad:kv:${key}`,
      wgsl: () =>
        shader({
          reads,
          writes: [access, access],
          params: commonParams,
          workgroup: lanes,
          ...declarations,
          subgroups,
          body: `  if (group >= p.count) { return; }
  let headKey = (group / p.groups) % p.hKey;
  let b = group / p.groups / p.hKey;
  let first = (group % p.groups) * ${lanes}u;
  let key = min(first + lane, p.s - 1u);
  let at = ${keyRow('key')};
  let perKey = p.h / p.hKey;
  ${segments ? 'let segment = x6(b * p.stride + key);' : ''}
  ${row.load({ k: (i) => `x1(at + ${i})`, v: (i) => `x2(at + ${i})` })}
  ${each((i) => `var dK${i} = ${type}(0.0); var dV${i} = ${type}(0.0);`)}
  // The first query of the workgroup that can see any of its keys.
  let begin = ${causal ? 'select(0u, first - p.offset, first > p.offset)' : '0u'};
  let end = ${causal && !placed ? `select(p.t, min(p.t, first + ${lanes}u + p.window - min(p.offset, first + ${lanes}u + p.window)), p.window > 0u)` : 'p.t'};
  for (var head = headKey * perKey; head < (headKey + 1u) * perKey; head++) {
    ${overRows(
      facts,
      sizes.d,
      { from: 'begin', to: 'end' },
      { q: (r, i) => `x0(${queryRow(r)} + ${i})`, g: (r, i) => `x3(${queryRow(r)} + ${i})` },
      {
        lse: (r) => `x4((b * p.h + head) * p.t + ${r})`,
        delta: (r) => `x5((b * p.h + head) * p.t + ${r})`,
        ...(segments && { other: (r) => `x6(b * p.stride + p.offset + ${r})` }),
        ...(placed && { place: (r) => `u32(x6(b * p.stride + p.s + ${r}))` }),
      },
      `let position = p.offset + j;
      if (${[
        causal ? 'key <= position' : 'key < p.offset + p.t',
        `(p.window == 0u || key + p.window > ${placed ? `select(position, place, ${isEvery('segment')})` : 'position'})`,
        segments ? `(other == segment || ${isEvery('segment')})` : 'true',
      ].join(' && ')}) {
        let score = ${capOf(`(${dot('q', 'k')}) * p.scale`)};
        let dP = ${dot('g', 'v')};
        let weight = exp(score - lse);
        let dS = weight * (dP - delta) * p.scale${slope};
        ${each((i) => `dK${i} += dS * q${i}; dV${i} += weight * g${i};`)}
      }`,
    )}
  }
  if (first + lane < p.s) {
    ${row.store({
      dK: (i, value) => `w0[at + ${i}] = ${value};`,
      dV: (i, value) => `w1[at + ${i}] = ${value};`,
    })}
  }`,
        }),
      operands: [...operands, dk, dv],
      reads: reads.length,
      params: commonValues(sizes, call, keyGroups, keyCount, segments),
      grid: grid1d(keyCount, 1),
    };
    return [deltaStage(out, g, delta, sizes), toQueries, toKeys];
  },
});

export const attentionKernels: readonly Kernel[] = [attentionKernel, attentionGradKernel];
