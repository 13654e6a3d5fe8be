import { numel } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { defineKernel, grid1d, type Stage, u32 } from '../kernel.js';
import { stage } from '../stage.js';
import { keyBlocks, matrixKeyGradients } from './matrixToKeys.js';
import { matrixQueryGradients, queryBlocks } from './matrixToQueries.js';
import {
  attentionVariants,
  type Backward,
  LANES,
  type Sizes,
  sizesOf,
  structure,
} from './problem.js';
import { keyGradients } from './toKeys.js';
import { queryGradients } from './toQueries.js';

/** delta[b, h, t] = sum(g * out): what the softmax's backward pass subtracts. */
function deltaStage(out: Operand, g: Operand, deltas: Operand, { b, t, h, d }: Sizes): Stage {
  return stage({
    key: 'attentionGrad:delta',
    reads: { out, g },
    writes: { deltas },
    params: { n: u32(numel(deltas.shape)), t: u32(t), h: u32(h), d: u32(d) },
    workgroup: 64,
    body: `  if (gid >= p.n) { return; }
  let row = gid % p.t;
  let head = (gid / p.t) % p.h;
  let first = ((gid / p.t / p.h * p.t + row) * p.h + head) * p.d;
  var total = 0.0;
  for (var i = 0u; i < p.d; i++) { total = fma(out(first + i), g(first + i), total); }
  deltas[gid] = total;`,
    grid: grid1d(b * h * t, 64),
  });
}

/**
 * The weights are computed again, once for the gradient of the queries and once for that of keys
 * and values.
 */
export const attentionGradKernel = defineKernel({
  op: 'attentionGrad',
  // q, k, v, g, lse, delta, dk, dv, and the segments.
  accepts: ({ inputs }, { maxBindings }) => maxBindings >= (inputs[6] ? 9 : 8),
  variants: (call, facts) =>
    attentionVariants(
      call,
      (sizes) =>
        (queryBlocks(sizes, call.attrs, facts) ?? keyBlocks(sizes, call.attrs, facts)) !== null,
    ),
  plan: (call, facts, scratch, variant) => {
    const [q, k, v, out, lses, g] = call.inputs as [
      Operand,
      Operand,
      Operand,
      Operand,
      Operand,
      Operand,
    ];
    const segments = call.inputs[6];
    const [dQ, dK, dV] = call.outputs as [Operand, Operand, Operand];
    const sizes = sizesOf(q, k);
    const { b, h, t } = sizes;
    const deltas = { ...scratch(b * h * t, 'float32'), shape: [b, h, t] };
    const form = structure(call, sizes, segments);
    const backward: Backward = { call, sizes, form, q, k, v, g, lses, deltas, segments };
    const onUnit = variant !== LANES;
    const toQueries = onUnit ? queryBlocks(sizes, call.attrs, facts) : null;
    const toKeys = onUnit ? keyBlocks(sizes, call.attrs, facts) : null;
    return [
      deltaStage(out, g, deltas, sizes),
      toQueries
        ? matrixQueryGradients(backward, dQ, toQueries)
        : queryGradients(backward, dQ, facts),
      toKeys
        ? matrixKeyGradients(backward, [dK, dV], toKeys)
        : keyGradients(backward, [dK, dV], facts),
    ];
  },
});
