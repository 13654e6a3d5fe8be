import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import { type Backward, isEvery, lanesOf, paramsOf } from './problem.js';
import { overRows, ownRow, registers } from './rows.js';

/**
 * dk = sum over queries of ds q, dv = sum of p g: a lane owns one key, the queries of its heads go
 * by.
 */
export function keyGradients(
  { call, sizes, form, q, k, v, g, lses, deltas, segments }: Backward,
  [dK, dV]: readonly [Operand, Operand],
  facts: DeviceFacts,
): Stage {
  const { causal, access, placed, capOf, slope } = form;
  const { type, count, each, dot } = registers(sizes.d);
  const row = ownRow(facts, sizes.d);
  const lanes = lanesOf(facts);
  const groups = Math.ceil(sizes.s / lanes);
  const workgroups = sizes.b * sizes.hKey * groups;
  const keyRow = (row: string) => `((b * p.s + ${row}) * p.hKey + headKey) * ${count}u`;
  const queryRow = (row: string) => `((b * p.t + ${row}) * p.h + head) * ${count}u`;
  const body = () => `  if (group >= p.count) { return; }
  let headKey = (group / p.groups) % p.hKey;
  let b = group / p.groups / p.hKey;
  let first = (group % p.groups) * ${lanes}u;
  let key = min(first + lane, p.s - 1u);
  let at = ${keyRow('key')};
  let perKey = p.h / p.hKey;
  ${segments ? 'let segment = segments(b * p.stride + key);' : ''}
  ${row.load({ k: (i) => `k(at + ${i})`, v: (i) => `v(at + ${i})` })}
  ${each((i) => `var dK${i} = ${type}(0.0); var dV${i} = ${type}(0.0);`)}
  // The first query of the workgroup that can see any of its keys.
  let begin = ${causal ? 'select(0u, first - p.offset, first > p.offset)' : '0u'};
  let end = ${causal && !placed ? `select(p.t, min(p.t, first + ${lanes}u + p.window - min(p.offset, first + ${lanes}u + p.window)), p.window > 0u)` : 'p.t'};
  for (var head = headKey * perKey; head < (headKey + 1u) * perKey; head++) {
    ${overRows(
      facts,
      sizes.d,
      { from: 'begin', to: 'end' },
      { q: (r, i) => `q(${queryRow(r)} + ${i})`, g: (r, i) => `g(${queryRow(r)} + ${i})` },
      {
        lse: (r) => `lses((b * p.h + head) * p.t + ${r})`,
        delta: (r) => `deltas((b * p.h + head) * p.t + ${r})`,
        ...(segments && { other: (r) => `segments(b * p.stride + p.offset + ${r})` }),
        ...(placed && { place: (r) => `u32(segments(b * p.stride + p.s + ${r}))` }),
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
      dK: (i, value) => `dK[at + ${i}] = ${value};`,
      dV: (i, value) => `dV[at + ${i}] = ${value};`,
    })}
  }`;
  return stage({
    key: `attentionGrad:kv:${form.key}`,
    reads: { ...readAs(access, { q, k, v, g }), lses, deltas, ...(segments && { segments }) },
    writes: readAs(access, { dK, dV }),
    params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
    workgroup: lanes,
    subgroups: facts.subgroupSize > 0,
    declarations: form.declarations,
    body,
    grid: grid1d(workgroups, 1),
  });
}
