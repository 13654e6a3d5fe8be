import type { OpCall, Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { matrixDirectives } from '../matmul/subgroupMatrix.js';
import { readAs, stage } from '../stage.js';
import {
  type Blocks,
  blocksKey,
  blocksOf,
  declared,
  type Memory,
  onMemory,
} from './matrixBlocks.js';
import { type Backward, paramsOf, type Sizes, visible, windowStart } from './problem.js';

const memoryOf = ({ rows, columns, width }: Blocks): Memory => ({
  queries: ['f16', rows, width],
  slopes: ['f16', rows, width], // of the loss to the output
  keys: ['f16', columns, width],
  values: ['f16', columns, width],
  scores: ['f32', rows, columns],
  dWeights: ['f32', rows, columns],
  dScores: ['f16', rows, columns],
  sums: ['f32', rows, width],
});

/** Blocks for it on the matrix unit; null: it can't be there. */
export const queryBlocks = (sizes: Sizes, attrs: OpCall['attrs'], facts: DeviceFacts) =>
  blocksOf(sizes, attrs, facts, memoryOf);

/**
 * dq = sum over keys of ds k, ds = p (g v - delta) scale, on the matrix unit: a block of queries
 * while blocks of keys go by, the weights made again.
 */
export function matrixQueryGradients(
  { call, sizes, form, q, k, v, g, lses, deltas, segments }: Backward,
  dQ: Operand,
  blocks: Blocks,
): Stage {
  const { causal, access, placed, capOf, slope } = form;
  const { rows, columns, lanes, perRow } = blocks;
  const memory = memoryOf(blocks);
  const { at, fill, zero, product, eachColumn, stored } = onMemory(memory, blocks);
  const groups = Math.ceil(sizes.t / rows);
  const workgroups = sizes.b * sizes.h * groups;
  const query = (row: string, x: string) => `((b * p.t + ${row}) * p.h + head) * p.width + ${x}`;
  const ofKey = (row: string, x: string) =>
    `((b * p.s + ${row}) * p.hKey + headKey) * p.width + ${x}`;
  const body = () => `  if (group >= p.count) { return; }
  let head = (group / p.groups) % p.h;
  let b = group / p.groups / p.h;
  let first = (group % p.groups) * ${rows}u;
  let headKey = head / (p.h / p.hKey);
  let r = lane / ${perRow}u;
  let part = lane % ${perRow}u;
  let row = min(first + r, p.t - 1u);
  let position = p.offset + row;
  ${segments ? 'let segment = segments(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(segments(b * p.stride + p.s + row));' : ''}
  let lse = lses((b * p.h + head) * p.t + row);
  let delta = deltas((b * p.h + head) * p.t + row);
  ${fill('queries', 'first', 'p.t', (line, x) => `q(${query(line, x)})`)}
  ${fill('slopes', 'first', 'p.t', (line, x) => `g(${query(line, x)})`)}
  ${zero('sums')}
  let last = ${causal ? `p.offset + min(first + ${rows}u, p.t)` : 'p.offset + p.t'};
  let begin = ${windowStart(causal, placed)};
  for (var block = begin; block < last; block += ${columns}u) {
    ${fill('keys', 'block', 'last', (line, x) => `k(${ofKey(line, x)})`)}
    ${fill('values', 'block', 'last', (line, x) => `v(${ofKey(line, x)})`)}
    workgroupBarrier();
    ${product('scores', 'queries', 'keys', { transposed: true })}
    ${product('dWeights', 'slopes', 'values', { transposed: true })}
    workgroupBarrier();
    ${eachColumn(`let j = block + c;
      ${segments ? 'let other = segments(b * p.stride + min(j, last - 1u));' : ''}
      var dS = 0.0;
      if (j < last && ${visible(causal, segments !== undefined, placed)}) {
        let score = ${capOf(`(${at('scores', 'r', 'c')} * p.scale)`)};
        dS = exp(score - lse) * (${at('dWeights', 'r', 'c')} - delta) * p.scale${slope};
      }
      ${at('dScores', 'r', 'c')} = f16(dS);`)}
    workgroupBarrier();
    ${product('sums', 'dScores', 'keys', { adds: true })}
    workgroupBarrier();
  }
  if (first + r < p.t) {
    ${stored('sums', (x, four) => `dQ[${query('row', x)}] = ${four};`)}
  }`;
  return stage({
    key: `attentionGrad:q:${blocksKey(blocks)}:${form.key}`,
    reads: { ...readAs(access, { q, k, v, g }), lses, deltas, ...(segments && { segments }) },
    writes: readAs(access, { dQ }),
    params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
    workgroup: lanes,
    subgroups: true,
    directives: matrixDirectives,
    declarations: () => `${declared(memory)}\n${form.declarations}`,
    body,
    grid: grid1d(workgroups, 1),
  });
}
