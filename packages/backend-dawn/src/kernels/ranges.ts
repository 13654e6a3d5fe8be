import { numel, ops } from '@attune/core';
import { defineKernel, grid1d, type Kernel, u32 } from './kernel.js';
import { chainStage } from './movement.js';
import { adamw8bitRangeKernel } from './optimizers.js';
import { dequantizeStage } from './quantized.js';
import { named, stage } from './stage.js';

/*
 * Ops of this backend alone: what calls on tables larger than a binding are split into.
 */

/** embedding of ids in [first, first + rows of the weight); other rows of the output stay. */
const embeddingRowsKernel = defineKernel({
  op: 'embeddingRows',
  plan: ({ inputs, outputs, attrs }) => {
    const [weight] = inputs;
    const n = numel(outputs[0]!.shape);
    return [
      stage({
        key: `embeddingRows:${weight!.dtype}`,
        reads: named(inputs, 'weight', 'ids'),
        writes: { out: outputs[0]! },
        params: {
          n: u32(n),
          width: u32(weight!.shape[1]!),
          first: u32(attrs.first as number),
          rows: u32(weight!.shape[0]!),
        },
        workgroup: 64,
        // An id before the range wraps round to beyond it.
        body: `  if (gid >= p.n) { return; }
  let row = u32(ids(gid / p.width)) - p.first;
  if (row < p.rows) { out[gid] = weight(row * p.width + gid % p.width); }`,
        grid: grid1d(n, 64),
      }),
    ];
  },
});

/** Positions of equal ids, chained. */
const embeddingLinksKernel = defineKernel({
  op: 'embeddingLinks',
  plan: ({ inputs, outputs }) => [chainStage(inputs[0]!, outputs[0]!)],
});

/** Inputs: ids, links, g. Output: rows [first, first + rows) of the gradient of a table. */
const embeddingGradRowsKernel = defineKernel({
  op: 'embeddingGradRows',
  plan: ({ inputs, outputs, attrs }) => {
    const [ids] = inputs;
    const out = outputs[0]!;
    const [rows, width] = out.shape as [number, number];
    const count = numel(ids!.shape);
    const { first, paddingIdx } = attrs as { first: number; paddingIdx: number };
    return [
      stage({
        key: 'embeddingGradRows',
        reads: named(inputs, 'ids', 'links', 'g'),
        writes: { out },
        params: {
          n: u32(count * width),
          width: u32(width),
          count: u32(count),
          first: u32(first),
          rows: u32(rows),
          padding: u32(paddingIdx === ops.NO_PADDING ? 0xffffffff : paddingIdx),
        },
        workgroup: 64,
        body: `  if (gid >= p.n) { return; }
  let start = gid / p.width;
  let d = gid % p.width;
  let id = u32(ids(start));
  let row = id - p.first;
  var link = links(start);
  if (link < 0 || id == p.padding || row >= p.rows) { return; }
  var total = g(gid);
  while (u32(link) < p.count) {
    total += g(u32(link) * p.width + d);
    link = -1 - links(u32(link));
  }
  out[row * p.width + d] = total;`,
        grid: grid1d(count * width, 64),
      }),
    ];
  },
});

/** Inputs: codes of scales, their scales, their map. Output: the scales, float32. */
const dequantizeScalesKernel = defineKernel({
  op: 'dequantizeScales',
  plan: ({ inputs: [codes, absmax, map], outputs, attrs }) => [
    dequantizeStage(
      {
        bits: 8,
        blockSize: ops.NESTED_BLOCK,
        ...{ codes: codes!, absmax: absmax!, map: map! },
        offset: attrs.offset as number,
      },
      outputs[0]!,
    ),
  ],
});

export const rangeKernels: readonly Kernel[] = [
  embeddingRowsKernel,
  embeddingLinksKernel,
  embeddingGradRowsKernel,
  dequantizeScalesKernel,
  adamw8bitRangeKernel,
];
