import { numel, ops } from '@attune/core';
import { type Attrs, type OpCall, type Operand, sameSpec } from '@attune/core/backend';
import { strides } from '@attune/core/tensor';
import { defineKernel, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { perLane, storeEach } from './shader.js';
import { named, readAs, stage } from './stage.js';
import { mergeAxes, stridedOffsets } from './strides.js';

/**
 * out[index] = x[start + sum(index * steps)]: permute, expand and slice differ in their steps
 * alone.
 */
function stridedCopy(call: OpCall, steps: readonly number[], start: number): Stage[] {
  const x = call.inputs[0]!;
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const axes = mergeAxes(out.shape, [steps]);
  const { params, code } = stridedOffsets(axes, 1);
  const type = x.dtype === 'int32' ? 'i32' : x.dtype === 'uint32' ? 'u32' : 'f32';
  return [
    stage({
      key: `strided${axes.length}:${x.dtype}`,
      reads: { x },
      writes: { out },
      params: { n: u32(n), start: u32(start), ...params },
      workgroup: 64,
      declarations: `fn value(i: u32) -> ${type} {\n${code}  return x(p.start + at0);\n}`,
      body: storeEach(out.dtype),
      grid: grid1d(Math.ceil(n / perLane(out.dtype)), 64),
    }),
  ];
}

const permuteKernel = defineKernel({
  op: 'permute',
  plan: (call) => {
    const own = strides(call.inputs[0]!.shape);
    const order = call.attrs.order as readonly number[];
    return stridedCopy(
      call,
      order.map((d) => own[d]!),
      0,
    );
  },
});

const expandKernel = defineKernel({
  op: 'expand',
  plan: (call) =>
    stridedCopy(call, ops.broadcastStrides(call.inputs[0]!.shape, call.outputs[0]!.shape), 0),
});

const sliceKernel = defineKernel({
  op: 'slice',
  plan: (call) => {
    const own = strides(call.inputs[0]!.shape);
    const { axis, start } = call.attrs as { axis: number; start: number };
    return stridedCopy(call, own, start * own[axis]!);
  },
});

/**
 * Each lane finds the part that its element comes from; at most four parts (core joins more in a
 * tree).
 */
const concatKernel = defineKernel({
  op: 'concat',
  plan: (call) => {
    const out = call.outputs[0]!;
    const axis = call.attrs.axis as number;
    const parts = call.inputs.filter((o) => numel(o.shape) > 0);
    const widths = parts.map((o) => numel(o.shape.slice(axis)));
    const n = numel(out.shape);
    const type = out.dtype === 'int32' ? 'i32' : out.dtype === 'uint32' ? 'u32' : 'f32';
    const names = parts.map((_, i) => `part${i}`);
    const pick = parts
      .map(
        (_, i) =>
          `  if (c < p.width${i}) { return part${i}(row * p.width${i} + c); }\n  c -= p.width${i};`,
      )
      .join('\n');
    return [
      stage({
        key: `concat${parts.length}:${out.dtype}`,
        reads: named(parts, ...names),
        writes: { out },
        params: {
          n: u32(n),
          total: u32(widths.reduce((a, b) => a + b, 0)),
          ...Object.fromEntries(widths.map((width, i) => [`width${i}`, u32(width)])),
        },
        workgroup: 64,
        declarations: `fn value(i: u32) -> ${type} {
  let row = i / p.total;
  var c = i % p.total;
${pick}
  return ${type}(0);
}`,
        body: storeEach(out.dtype),
        grid: grid1d(Math.ceil(n / perLane(out.dtype)), 64),
      }),
    ];
  },
});

/** Whether rows of `width` are whole vec4s, of float32 throughout. */
const wholeVec4s = (width: number, operands: readonly Operand[]): boolean =>
  width % 4 === 0 && operands.every(({ dtype }) => dtype === 'float32');

/** What `writeRows` copies into 32-bit targets, one number or vec4 a lane; all pairs are alike. */
function copyRows({ inputs, outputs, attrs }: OpCall): Stage {
  const [source, target] = [inputs[0]!, outputs[0]!];
  const vec4 = wholeVec4s(numel(source.shape.slice(2)), [...inputs, ...outputs]);
  const step = vec4 ? 4 : 1;
  const width = numel(source.shape.slice(2)) / step;
  const n = numel(source.shape) / step;
  const startOf = (attrs: Attrs) => (attrs.start as number) * width;
  const reads = named(inputs, ...inputs.map((_, i) => `source${i}`));
  const writes = named(outputs, ...outputs.map((_, i) => `out${i}`));
  return stage({
    key: `writeRows${inputs.length}:${vec4 ? 'vec4' : `${source.dtype}>${target.dtype}`}`,
    reads: vec4 ? readAs('vec4', reads) : reads,
    writes: vec4 ? readAs('vec4', writes) : writes,
    params: {
      n: u32(n),
      block: u32(numel(source.shape.slice(1)) / step),
      targetBlock: u32(numel(target.shape.slice(1)) / step),
      start: ['u32', startOf(attrs), { attrs: ['start'], of: startOf }],
    },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  let at = (gid / p.block) * p.targetBlock + p.start + gid % p.block;
${inputs.map((_, i) => `  out${i}[at] = source${i}(gid);`).join('\n')}`,
    grid: grid1d(n, 64),
  });
}

/** A 16-bit target is written word by word, by a lane each, so that halves of a word never race. */
function copyHalfRows(source: Operand, out: Operand, attrs: Attrs): Stage {
  const width = numel(source.shape.slice(2));
  const n = Math.ceil(numel(out.shape) / 2);
  const startOf = (attrs: Attrs) => (attrs.start as number) * width;
  const pack = out.dtype === 'float16' ? 'packFloat16' : 'packBfloat16';
  return stage({
    key: `writeRows:${source.dtype}>${out.dtype}`,
    reads: { source },
    writes: { out },
    params: {
      n: u32(n),
      block: u32(numel(source.shape.slice(1))),
      targetBlock: u32(numel(out.shape.slice(1))),
      start: ['u32', startOf(attrs), { attrs: ['start'], of: startOf }],
      size: u32(numel(out.shape)),
    },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  let word = out[gid];
  var halves = array<u32, 2>(word & 0xffffu, word >> 16u);
  for (var h = 0u; h < 2u; h++) {
    let i = gid * 2u + h;
    let at = i % p.targetBlock;
    if (i < p.size && at >= p.start && at < p.start + p.block) {
      halves[h] = ${pack}(source((i / p.targetBlock) * p.block + at - p.start));
    }
  }
  out[gid] = halves[0] | (halves[1] << 16u);`,
    grid: grid1d(n, 64),
  });
}

/** Pairs that are alike take one dispatch; others one each. */
const writeRowsKernel = defineKernel({
  op: 'writeRows',
  plan: (call) => {
    const { op, inputs, outputs, attrs } = call;
    const isHalf = outputs.some(({ dtype }) => perLane(dtype) === 2);
    const alike = [inputs, outputs].every((side) => side.every((o) => sameSpec(o, side[0]!)));
    if (!isHalf && alike) return [copyRows(call)];
    return inputs.map((source, i) => {
      const out = outputs[i]!;
      return perLane(out.dtype) === 2
        ? copyHalfRows(source, out, attrs)
        : copyRows({ op, inputs: [source], outputs: [out], attrs });
    });
  },
});

const embeddingKernel = defineKernel({
  op: 'embedding',
  plan: (call) => {
    const [weight, ids] = call.inputs as [Operand, Operand];
    const out = call.outputs[0]!;
    const vec4 = wholeVec4s(weight.shape[1]!, [weight]);
    const step = vec4 ? 4 : 1;
    const n = numel(out.shape) / step;
    const [reads, writes] = [{ weight }, { out }];
    return [
      stage({
        key: `embedding:${vec4 ? 'vec4' : weight.dtype}`,
        reads: { ...(vec4 ? readAs('vec4', reads) : reads), ids },
        writes: vec4 ? readAs('vec4', writes) : writes,
        params: { n: u32(n), width: u32(weight.shape[1]! / step) },
        workgroup: 64,
        declarations: `fn value(i: u32) -> ${vec4 ? 'vec4f' : 'f32'} { return weight(u32(ids(i / p.width)) * p.width + i % p.width); }`,
        body: storeEach('float32'),
        grid: grid1d(n, 64),
      }),
    ];
  },
});

/**
 * links[t]: the next position with the id of t, n if there is none; -1 - that when t is not the
 * first with it.
 */
export function chainStage(ids: Operand, links: Operand): Stage {
  const count = numel(ids.shape);
  return stage({
    key: 'embeddingGrad:chain',
    reads: { ids },
    writes: { links },
    params: { n: u32(count) },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  let id = ids(gid);
  var later = gid + 1u;
  while (later < p.n && ids(later) != id) { later++; }
  var earlier = 0u;
  while (earlier < gid && ids(earlier) != id) { earlier++; }
  links[gid] = select(-1 - i32(later), i32(later), earlier == gid);`,
    grid: grid1d(count, 64),
  });
}

/**
 * Scatter-add without atomics, the same bits each time: equal ids are chained first (each position
 * points to the next with its id), then the first of each chain sums it in order.
 */
const embeddingGradKernel = defineKernel({
  op: 'embeddingGrad',
  plan: (call, _facts, scratch) => {
    const [ids, g] = call.inputs as [Operand, Operand];
    const out = call.outputs[0]!;
    const count = numel(ids.shape);
    const width = g.shape.at(-1)!;
    const links = scratch(count, 'int32');
    const { rows, paddingIdx } = call.attrs as unknown as { rows: number; paddingIdx: number };
    const padding = paddingIdx === ops.NO_PADDING ? rows : paddingIdx; // no id is `rows`
    const n = numel(out.shape);
    return [
      stage({
        key: 'zero',
        reads: {},
        writes: { out },
        params: { n: u32(n) },
        workgroup: 64,
        declarations: 'fn value(i: u32) -> f32 { return 0.0; }',
        body: storeEach('float32'),
        grid: grid1d(n, 64),
      }),
      chainStage(ids, links),
      stage({
        key: 'embeddingGrad:sum',
        reads: { ids, links, g },
        writes: { out },
        params: {
          n: u32(count * width),
          width: u32(width),
          count: u32(count),
          padding: u32(padding),
        },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let first = gid / p.width;
  let d = gid % p.width;
  var link = links(first);
  if (link < 0 || u32(ids(first)) == p.padding) { return; }
  var total = g(gid);
  while (u32(link) < p.count) {
    total += g(u32(link) * p.width + d);
    link = -1 - links(u32(link));
  }
  out[u32(ids(first)) * p.width + d] = total;`,
        grid: grid1d(count * width, 64),
      }),
    ];
  },
});

export const movementKernels: readonly Kernel[] = [
  permuteKernel,
  expandKernel,
  sliceKernel,
  concatKernel,
  writeRowsKernel,
  embeddingKernel,
  embeddingGradKernel,
];
