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
import { type Backward, isEvery, paramsOf, type Sizes } from './problem.js';

const memoryOf = ({ rows, columns, width }: Blocks): Memory => ({
  keys: ['f16', rows, width],
  values: ['f16', rows, width],
  queries: ['f16', columns, width],
  slopes: ['f16', columns, width], // of the loss to the output
  scores: ['f32', rows, columns],
  dWeights: ['f32', rows, columns],
  weights: ['f16', rows, columns],
  dScores: ['f16', rows, columns],
  keySums: ['f32', rows, width],
  valueSums: ['f32', rows, width],
});

/** Blocks for it on the matrix unit; null: it can't be there. */
export const keyBlocks = (sizes: Sizes, attrs: OpCall['attrs'], facts: DeviceFacts) =>
  blocksOf(sizes, attrs, facts, memoryOf);

/**
 * dk = sum over queries of ds q, dv = sum of p g, on the matrix unit: a block of keys while blocks
 * of the queries of its heads go by. Scores stand transposed: a row of them belongs to a key.
 */
export function matrixKeyGradients(
  { call, sizes, form, q, k, v, g, lses, deltas, segments }: Backward,
  [dK, dV]: readonly [Operand, Operand],
  blocks: Blocks,
): Stage {
  const { causal, access, placed, capOf, slope } = form;
  const { rows, columns, lanes, perRow } = blocks;
  const memory = memoryOf(blocks);
  const { at, fill, zero, product, eachColumn, stored } = onMemory(memory, blocks);
  const groups = Math.ceil(sizes.s / rows);
  const workgroups = sizes.b * sizes.hKey * groups;
  const query = (row: string, x: string) => `((b * p.t + ${row}) * p.h + head) * p.width + ${x}`;
  const ofKey = (row: string, x: string) =>
    `((b * p.s + ${row}) * p.hKey + headKey) * p.width + ${x}`;
  const ofQuery = 'let query = min(j, end - 1u);';
  const sees = [
    'j < end',
    causal ? 'key <= position' : 'key < p.offset + p.t',
    `(p.window == 0u || key + p.window > ${placed ? `select(position, place, ${isEvery('segment')})` : 'position'})`,
    segments ? `(other == segment || ${isEvery('segment')})` : 'true',
  ].join(' && ');
  const body = () => `  if (group >= p.count) { return; }
  let headKey = (group / p.groups) % p.hKey;
  let b = group / p.groups / p.hKey;
  let first = (group % p.groups) * ${rows}u;
  let r = lane / ${perRow}u;
  let part = lane % ${perRow}u;
  let key = min(first + r, p.s - 1u);
  let perKey = p.h / p.hKey;
  ${segments ? 'let segment = segments(b * p.stride + key);' : ''}
  let known = min(p.s, p.offset + p.t); // keys behind them are room for later ones
  ${fill('keys', 'first', 'known', (line, x) => `k(${ofKey(line, x)})`)}
  ${fill('values', 'first', 'known', (line, x) => `v(${ofKey(line, x)})`)}
  ${zero('keySums')}
  ${zero('valueSums')}
  // The first query of the workgroup that can see any of its keys.
  let begin = ${causal ? 'select(0u, first - p.offset, first > p.offset)' : '0u'};
  let end = ${causal && !placed ? `select(p.t, min(p.t, first + ${rows}u + p.window - min(p.offset, first + ${rows}u + p.window)), p.window > 0u)` : 'p.t'};
  for (var head = headKey * perKey; head < (headKey + 1u) * perKey; head++) {
    for (var block = begin; block < end; block += ${columns}u) {
    ${fill('queries', 'block', 'end', (line, x) => `q(${query(line, x)})`)}
    ${fill('slopes', 'block', 'end', (line, x) => `g(${query(line, x)})`)}
    workgroupBarrier();
    ${product('scores', 'keys', 'queries', { transposed: true })}
    ${product('dWeights', 'values', 'slopes', { transposed: true })}
    workgroupBarrier();
    ${eachColumn(`let j = block + c;
      ${ofQuery}
      let position = p.offset + query;
      ${segments ? 'let other = segments(b * p.stride + position);' : ''}
      ${placed ? 'let place = u32(segments(b * p.stride + p.s + query));' : ''}
      var weight = 0.0;
      var dS = 0.0;
      if (${sees}) {
        let score = ${capOf(`(${at('scores', 'r', 'c')} * p.scale)`)};
        weight = exp(score - lses((b * p.h + head) * p.t + query));
        dS = weight * (${at('dWeights', 'r', 'c')} - deltas((b * p.h + head) * p.t + query)) * p.scale${slope};
      }
      ${at('weights', 'r', 'c')} = f16(weight);
      ${at('dScores', 'r', 'c')} = f16(dS);`)}
    workgroupBarrier();
    ${product('keySums', 'dScores', 'queries', { adds: true })}
    ${product('valueSums', 'weights', 'slopes', { adds: true })}
    workgroupBarrier();
    }
  }
  if (first + r < p.s) {
    ${stored('keySums', (x, four) => `dK[${ofKey('key', x)}] = ${four};`)}
    ${stored('valueSums', (x, four) => `dV[${ofKey('key', x)}] = ${four};`)}
  }`;
  return stage({
    key: `attentionGrad:kv:${blocksKey(blocks)}:${form.key}`,
    reads: { ...readAs(access, { q, k, v, g }), lses, deltas, ...(segments && { segments }) },
    writes: readAs(access, { dK, dV }),
    params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
    workgroup: lanes,
    subgroups: true,
    directives: matrixDirectives,
    declarations: () => `${declared(memory)}\n${form.declarations}`,
    body,
    grid: grid1d(workgroups, 1),
  });
}
