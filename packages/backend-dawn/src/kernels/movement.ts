import { numel, type OpCall, type Operand, ops, strides } from '@attune/core';
import { mergeAxes, stridedOffsets, stridedValues } from './elementwise.js';
import { defineKernel, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { perLane, shader, storeEach } from './shader.js';

/** out[index] = x[start + sum(index * steps)]: permute, expand and slice differ in their steps alone. */
function stridedCopy(call: OpCall, steps: readonly number[], start: number): Stage[] {
  const x = call.inputs[0]!;
  const out = call.outputs[0]!;
  const n = numel(out.shape);
  const axes = mergeAxes(out.shape, [steps]);
  const { params, code } = stridedOffsets(axes.length, 1);
  const type = x.dtype === 'int32' ? 'i32' : x.dtype === 'uint32' ? 'u32' : 'f32';
  return [
    {
      key: `strided${axes.length}:${x.dtype}`,
      wgsl: () =>
        shader({
          reads: [x.dtype],
          writes: [out.dtype],
          params: { n: 'u32', start: 'u32', ...params },
          workgroup: 64,
          declarations: `fn value(i: u32) -> ${type} {\n${code}  return x0(p.start + at0);\n}`,
          body: storeEach(out.dtype),
        }),
      operands: [x, out],
      reads: 1,
      params: [u32(n), u32(start), ...stridedValues(axes, 1)],
      grid: grid1d(Math.ceil(n / perLane(out.dtype)), 64),
    },
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

/** Each lane finds the part that its element comes from; at most four parts (core joins more in a tree). */
const concatKernel = defineKernel({
  op: 'concat',
  plan: (call) => {
    const out = call.outputs[0]!;
    const axis = call.attrs.axis as number;
    const parts = call.inputs.filter((o) => numel(o.shape) > 0);
    const widths = parts.map((o) => numel(o.shape.slice(axis)));
    const n = numel(out.shape);
    const type = out.dtype === 'int32' ? 'i32' : out.dtype === 'uint32' ? 'u32' : 'f32';
    const pick = parts
      .map(
        (_, i) =>
          `  if (c < p.width${i}) { return x${i}(row * p.width${i} + c); }\n  c -= p.width${i};`,
      )
      .join('\n');
    return [
      {
        key: `concat${parts.length}:${out.dtype}`,
        wgsl: () =>
          shader({
            reads: parts.map((o) => o.dtype),
            writes: [out.dtype],
            params: {
              n: 'u32',
              total: 'u32',
              ...Object.fromEntries(parts.map((_, i) => [`width${i}`, 'u32' as const])),
            },
            workgroup: 64,
            declarations: `fn value(i: u32) -> ${type} {
  let row = i / p.total;
  var c = i % p.total;
${pick}
  return ${type}(0);
}`,
            body: storeEach(out.dtype),
          }),
        operands: [...parts, out],
        reads: parts.length,
        params: [u32(n), u32(widths.reduce((a, b) => a + b, 0)), ...widths.map(u32)],
        grid: grid1d(Math.ceil(n / perLane(out.dtype)), 64),
      },
    ];
  },
});

const writeRowsKernel = defineKernel({
  op: 'writeRows',
  plan: (call) => {
    const [source, target] = [call.inputs[0]!, call.outputs[0]!];
    const block = numel(source.shape.slice(1));
    const targetBlock = numel(target.shape.slice(1));
    const start = (call.attrs.start as number) * numel(source.shape.slice(2));
    // 16-bit targets are written word by word, by a lane each, so that halves of a word never race.
    const pairs = perLane(target.dtype) === 2;
    const n = pairs ? Math.ceil(numel(target.shape) / 2) : numel(source.shape);
    const pack = target.dtype === 'float16' ? 'packFloat16' : 'packBfloat16';
    return [
      {
        key: `writeRows:${source.dtype}>${target.dtype}`,
        wgsl: () =>
          shader({
            reads: [source.dtype],
            writes: [target.dtype],
            params: { n: 'u32', block: 'u32', targetBlock: 'u32', start: 'u32', size: 'u32' },
            workgroup: 64,
            body: pairs
              ? `  if (gid >= p.n) { return; }
  let word = w0[gid];
  var halves = array<u32, 2>(word & 0xffffu, word >> 16u);
  for (var h = 0u; h < 2u; h++) {
    let i = gid * 2u + h;
    let at = i % p.targetBlock;
    if (i < p.size && at >= p.start && at < p.start + p.block) {
      halves[h] = ${pack}(x0((i / p.targetBlock) * p.block + at - p.start));
    }
  }
  w0[gid] = halves[0] | (halves[1] << 16u);`
              : `  if (gid >= p.n) { return; }
  w0[(gid / p.block) * p.targetBlock + p.start + gid % p.block] = x0(gid);`,
          }),
        operands: [source, target],
        reads: 1,
        params: [u32(n), u32(block), u32(targetBlock), u32(start), u32(numel(target.shape))],
        grid: grid1d(n, 64),
      },
    ];
  },
});

const embeddingKernel = defineKernel({
  op: 'embedding',
  plan: (call) => {
    const [weight, ids] = call.inputs as [Operand, Operand];
    const out = call.outputs[0]!;
    const n = numel(out.shape);
    return [
      {
        key: `embedding:${weight.dtype}`,
        wgsl: () =>
          shader({
            reads: [weight.dtype, 'int32'],
            writes: ['float32'],
            params: { n: 'u32', width: 'u32' },
            workgroup: 64,
            declarations:
              'fn value(i: u32) -> f32 { return x0(u32(x1(i / p.width)) * p.width + i % p.width); }',
            body: storeEach('float32'),
          }),
        operands: [weight, ids, out],
        reads: 2,
        params: [u32(n), u32(weight.shape[1]!)],
        grid: grid1d(n, 64),
      },
    ];
  },
});

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
    const next = scratch(count, 'int32');
    const { rows, paddingIdx } = call.attrs as unknown as { rows: number; paddingIdx: number };
    const padding = paddingIdx === ops.NO_PADDING ? rows : paddingIdx; // no id is `rows`
    const n = numel(out.shape);
    return [
      {
        key: 'zero',
        wgsl: () =>
          shader({
            reads: [],
            writes: ['float32'],
            params: { n: 'u32' },
            workgroup: 64,
            declarations: 'fn value(i: u32) -> f32 { return 0.0; }',
            body: storeEach('float32'),
          }),
        operands: [out],
        reads: 0,
        params: [u32(n)],
        grid: grid1d(n, 64),
      },
      {
        key: 'embeddingGrad:chain',
        wgsl: () =>
          shader({
            reads: ['int32'],
            writes: ['int32'],
            params: { n: 'u32' },
            workgroup: 64,
            // w0[t]: next position with the same id, n if none; -1 - that when t is not the first.
            body: `  if (gid >= p.n) { return; }
  let id = x0(gid);
  var later = gid + 1u;
  while (later < p.n && x0(later) != id) { later++; }
  var earlier = 0u;
  while (earlier < gid && x0(earlier) != id) { earlier++; }
  w0[gid] = select(-1 - i32(later), i32(later), earlier == gid);`,
          }),
        operands: [ids, next],
        reads: 1,
        params: [u32(count)],
        grid: grid1d(count, 64),
      },
      {
        key: 'embeddingGrad:sum',
        wgsl: () =>
          shader({
            reads: ['int32', 'int32', 'float32'],
            writes: ['float32'],
            params: { n: 'u32', width: 'u32', count: 'u32', padding: 'u32' },
            workgroup: 64,
            body: `  if (gid >= p.n) { return; }
  let first = gid / p.width;
  let d = gid % p.width;
  var link = x1(first);
  if (link < 0 || u32(x0(first)) == p.padding) { return; }
  var total = x2(gid);
  while (u32(link) < p.count) {
    total += x2(u32(link) * p.width + d);
    link = -1 - x1(u32(link));
  }
  w0[u32(x0(first)) * p.width + d] = total;`,
          }),
        operands: [ids, next, g, out],
        reads: 3,
        params: [u32(count * width), u32(width), u32(count), u32(padding)],
        grid: grid1d(count * width, 64),
      },
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
