import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import { type Backward, lanesOf, paramsOf, visible, windowStart } from './problem.js';
import { overRows, ownRow, registers } from './rows.js';

/**
 * dq = sum over keys of ds k, ds = p (g v - delta) scale: a lane owns one query, the keys go by.
 */
export function queryGradients(
  { call, sizes, form, q, k, v, g, lses, deltas, segments }: Backward,
  dQ: Operand,
  facts: DeviceFacts,
): Stage {
  const { causal, access, placed, capOf, slope } = form;
  const { type, count, each, dot } = registers(sizes.d);
  const row = ownRow(facts, sizes.d);
  const lanes = lanesOf(facts);
  const groups = Math.ceil(sizes.t / lanes);
  const workgroups = sizes.b * sizes.h * groups;
  const keyRow = (row: string) => `((b * p.s + ${row}) * p.hKey + headKey) * ${count}u`;
  const queryRow = (row: string) => `((b * p.t + ${row}) * p.h + head) * ${count}u`;
  const body = () => `  if (group >= p.count) { return; }
  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${lanes}u;
  let row = min(first + lane, p.t - 1u);
  let position = p.offset + row;
  let headKey = head / (p.h / p.hKey);
  let at = ${queryRow('row')};
  ${segments ? 'let segment = segments(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(segments(b * p.stride + p.s + row));' : ''}
  let lse = lses((b * p.h + head) * p.t + row);
  let delta = deltas((b * p.h + head) * p.t + row);
  ${row.load({ q: (i) => `q(at + ${i}) * p.scale`, g: (i) => `g(at + ${i})` })}
  ${each((i) => `var dQ${i} = ${type}(0.0);`)}
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
        let dP = ${dot('g', 'v')};
        let dS = exp(score - lse) * (dP - delta) * p.scale${slope};
        ${each((i) => `dQ${i} += dS * k${i};`)}
      }`,
  )}
  if (first + lane < p.t) {
    ${row.store({ dQ: (i, value) => `dQ[at + ${i}] = ${value};` })}
  }`;
  return stage({
    key: `attentionGrad:q:${form.key}`,
    reads: { ...readAs(access, { q, k, v, g }), lses, deltas, ...(segments && { segments }) },
    writes: readAs(access, { dQ }),
    params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
    workgroup: lanes,
    subgroups: facts.subgroupSize > 0,
    declarations: form.declarations,
    body,
    grid: grid1d(workgroups, 1),
  });
}
