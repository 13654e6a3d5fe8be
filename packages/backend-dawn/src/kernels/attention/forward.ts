import type { Operand } from '@attune/core/backend';
import { defineKernel, grid1d } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import { forwardBlocks, matrixForward } from './matrixForward.js';
import { oneQueryStage } from './oneQuery.js';
import {
  attentionVariants,
  LANES,
  lanesOf,
  paramsOf,
  sizesOf,
  structure,
  visible,
  windowStart,
} from './problem.js';
import { overRows, ownRow, registers } from './rows.js';

/**
 * A lane owns one query and takes the softmax while the keys go by. Where a row has one query, the
 * subgroup owns it; where products may be in float16 and the device has a matrix unit for them, a
 * workgroup owns a block of queries.
 */
export const attentionKernel = defineKernel({
  op: 'attention',
  variants: (call, facts) =>
    attentionVariants(call, (sizes) => forwardBlocks(sizes, call.attrs, facts) !== null),
  plan: (call, facts, _scratch, variant) => {
    const [q, k, v, segments] = call.inputs as [Operand, Operand, Operand, Operand?];
    const [out, lses] = call.outputs as [Operand, Operand];
    const sizes = sizesOf(q, k);
    if (sizes.t === 1 && facts.subgroupSize > 0)
      return [oneQueryStage(call, sizes, { q, k, v, segments, out, lses }, facts)];
    const blocks = variant === LANES ? null : forwardBlocks(sizes, call.attrs, facts);
    if (blocks) return [matrixForward(call, sizes, blocks)];
    const form = structure(call, sizes, segments);
    const { causal, access, placed, capOf } = form;
    const { type, count, each, dot } = registers(sizes.d);
    const row = ownRow(facts, sizes.d);
    const lanes = lanesOf(facts);
    const groups = Math.ceil(sizes.t / lanes);
    const workgroups = sizes.b * sizes.h * groups;
    const keyRow = (row: string) => `((b * p.s + ${row}) * p.hKey + headKey) * ${count}u`;
    const body = () => `  if (group >= p.count) { return; }
  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${lanes}u;
  let row = min(first + lane, p.t - 1u);
  let position = p.offset + row;
  let headKey = head / (p.h / p.hKey);
  let at = ((b * p.t + row) * p.h + head) * ${count}u;
  ${segments ? 'let segment = segments(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(segments(b * p.stride + p.s + row));' : ''}
  ${row.load({ q: (i) => `q(at + ${i}) * p.scale` })}
  ${each((i) => `var out${i} = ${type}(0.0);`)}
  var top = -3.0e38;
  var total = 0.0;
  let last = ${causal ? `p.offset + min(first + ${lanes}u, p.t)` : 'p.offset + p.t'};
  let begin = ${windowStart(causal, placed)};
  ${overRows(
    facts,
    sizes.d,
    { from: 'begin', to: 'last' },
    { k: (r, i) => `k(${keyRow(r)} + ${i})`, v: (r, i) => `v(${keyRow(r)} + ${i})` },
    segments ? { other: (r) => `segments(b * p.stride + ${r})` } : {},
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
    ${row.store({ out: (i, value) => `out[at + ${i}] = ${value} / total;` })}
    lses[(b * p.h + head) * p.t + row] = top + log(total);
  }`;
    return [
      stage({
        key: `attention:${form.key}`,
        reads: { ...readAs(access, { q, k, v }), ...(segments && { segments }) },
        writes: { ...readAs(access, { out }), lses },
        params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
        workgroup: lanes,
        subgroups: facts.subgroupSize > 0,
        declarations: form.declarations,
        body,
        grid: grid1d(workgroups, 1),
      }),
    ];
  },
});
