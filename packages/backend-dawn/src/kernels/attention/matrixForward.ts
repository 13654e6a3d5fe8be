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
import { paramsOf, type Sizes, structure, visible, windowStart } from './problem.js';

const memoryOf = ({ rows, columns, width }: Blocks): Memory => ({
  queries: ['f16', rows, width],
  others: ['f16', columns, width], // keys, then values
  scores: ['f32', rows, columns],
  weights: ['f16', rows, columns],
  sums: ['f32', rows, width],
});

/** Blocks for a forward pass on the matrix unit; null: it can't be there. */
export const forwardBlocks = (sizes: Sizes, attrs: OpCall['attrs'], facts: DeviceFacts) =>
  blocksOf(sizes, attrs, facts, memoryOf);

/**
 * Flash attention (arXiv:2205.14135) on the matrix unit: q k^T of a block of queries and a block of
 * keys, the softmax taken online in float32, the weights times v added to sums that shrink as the
 * largest score grows.
 */
export function matrixForward(call: OpCall, sizes: Sizes, blocks: Blocks): Stage {
  const [q, k, v, segments] = call.inputs as [Operand, Operand, Operand, Operand?];
  const [out, lses] = call.outputs as [Operand, Operand];
  const { causal, access, placed, capOf, key, declarations } = structure(call, sizes, segments);
  const { rows, columns, lanes, perRow, width } = blocks;
  const memory = memoryOf(blocks);
  const { at, fill, zero, product, eachColumn, stored, overRow } = onMemory(memory, blocks);
  const groups = Math.ceil(sizes.t / rows);
  const workgroups = sizes.b * sizes.h * groups;
  const query = (row: string, x: string) => `((b * p.t + ${row}) * p.h + head) * p.width + ${x}`;
  const ofKey = (row: string, x: string) =>
    `((b * p.s + ${row}) * p.hKey + headKey) * p.width + ${x}`;
  const score = at('scores', 'r', 'c');
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
  ${fill('queries', 'first', 'p.t', (line, x) => `q(${query(line, x)})`)}
  ${zero('sums')}
  var top = -3.0e38;
  var total = 0.0;
  let last = ${causal ? `p.offset + min(first + ${rows}u, p.t)` : 'p.offset + p.t'};
  let begin = ${windowStart(causal, placed)};
  for (var block = begin; block < last; block += ${columns}u) {
    ${fill('others', 'block', 'last', (line, x) => `k(${ofKey(line, x)})`)}
    workgroupBarrier();
    ${product('scores', 'queries', 'others', { transposed: true })}
    workgroupBarrier();
    ${fill('others', 'block', 'last', (line, x) => `v(${ofKey(line, x)})`)}
    var newTop = top;
    ${eachColumn(`let j = block + c;
      ${segments ? 'let other = segments(b * p.stride + min(j, last - 1u));' : ''}
      var score = -3.0e38;
      if (j < last && ${visible(causal, segments !== undefined, placed)}) { score = ${capOf(`(${score} * p.scale)`)}; newTop = max(newTop, score); }
      ${score} = score;`)}
    ${overRow('newTop', (a, b) => `max(${a}, ${b})`)}
    let shrink = exp(top - newTop);
    var sum = 0.0;
    ${eachColumn(`var weight = 0.0;
      if (${score} != -3.0e38) { weight = exp(${score} - newTop); }
      sum += weight;
      ${at('weights', 'r', 'c')} = f16(weight);`)}
    ${overRow('sum', (a, b) => `${a} + ${b}`)}
    total = total * shrink + sum;
    top = newTop;
    for (var x = part; x < ${width}u; x += ${perRow}u) { ${at('sums', 'r', 'x')} *= shrink; }
    workgroupBarrier();
    ${product('sums', 'weights', 'others', { adds: true })}
    workgroupBarrier();
  }
  if (first + r < p.t) {
    ${stored('sums', (x, four) => `out[${query('row', x)}] = ${four} / total;`)}
    if (part == 0u) { lses[(b * p.h + head) * p.t + row] = top + log(total); }
  }`;
  return stage({
    key: `attention:${blocksKey(blocks)}:${key}`,
    reads: { ...readAs(access, { q, k, v }), ...(segments && { segments }) },
    writes: { ...readAs(access, { out }), lses },
    params: paramsOf(sizes, call, { groups, count: workgroups }, segments),
    workgroup: lanes,
    subgroups: true,
    directives: matrixDirectives,
    declarations: () => `${declared(memory)}\n${declarations}`,
    body,
    grid: grid1d(workgroups, 1),
  });
}
