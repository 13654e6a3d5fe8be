import type { Operand } from '@attune/core/backend';
import { type DeviceFacts, grid1d, type Stage } from '../kernel.js';
import { readAs, stage } from '../stage.js';
import { paramsOf, type Sizes, structure, visible, windowStart } from './problem.js';
import { registers } from './rows.js';

/** What attention reads and writes, forward. */
export interface Forward {
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly segments: Operand | undefined;
  readonly out: Operand;
  /** Log-sum-exp of each query's scores. [B, H, T] */
  readonly lses: Operand;
}

/**
 * Attention of one query a row, as when tokens are generated: a subgroup owns a query. Keys go by
 * in blocks: each lane scores one key of the block, then each adds up its features of the values.
 */
export function oneQueryStage(
  call: Parameters<typeof structure>[0],
  sizes: Sizes,
  { q, k, v, segments, out, lses }: Forward,
  facts: DeviceFacts,
): Stage {
  const form = structure(call, sizes, segments);
  const { access, placed, capOf } = form;
  const { type, count } = registers(sizes.d);
  const S = facts.subgroupSize;
  const workgroups = sizes.b * sizes.h;
  const slots = Array.from({ length: Math.ceil(count / S) }, (_, slot) => slot);
  const each = (line: (slot: number, feature: string) => string) =>
    slots.map((slot) => line(slot, `lane + ${slot * S}u`)).join('\n    ');
  const product = (a: string, b: string) => (type === 'f32' ? `${a} * ${b}` : `dot(${a}, ${b})`);
  // A shuffle costs less than a load: each lane keeps its share of the query and hands it round.
  const score = (slot: number) => {
    const features = Math.min(S, count - slot * S);
    const terms = product(`subgroupShuffle(q${slot}, i)`, `k(row + ${slot * S}u + i)`);
    return `for (var i = 0u; i < ${features}u; i++) { raw += ${terms}; }`;
  };
  const isWhole = count % S === 0;
  const mine = (feature: string) => (isWhole ? feature : `min(${feature}, ${count - 1}u)`);
  const body = () => `  if (group >= p.count) { return; }
  let head = group % p.h;
  let b = group / p.h;
  let first = 0u;
  let position = p.offset;
  let headKey = head / (p.h / p.hKey);
  let at = group * ${count}u;
  ${segments ? 'let segment = segments(b * p.stride + position);' : ''}
  ${placed ? 'let place = u32(segments(b * p.stride + p.s));' : ''}
  var top = -3.0e38;
  var total = 0.0;
  ${each((slot, feature) => `let q${slot} = q(at + ${mine(feature)}) * p.scale; var out${slot} = ${type}(0.0);`)}
  let last = p.offset + 1u;
  for (var block = ${windowStart(true, placed)}; block < last; block += ${S}u) {
    let j = min(block + lane, p.offset);
    let row = ((b * p.s + j) * p.hKey + headKey) * ${count}u;
    var raw = 0.0;
    ${each(score)}
    ${segments ? 'let other = segments(b * p.stride + j);' : ''}
    let isSeen = block + lane < last && ${visible(true, segments !== undefined, placed)};
    let score = ${capOf('raw')};
    let newTop = max(top, subgroupMax(select(-3.0e38, score, isSeen)));
    let shrink = exp(top - newTop);
    let weight = select(0.0, exp(score - newTop), isSeen);
    total = total * shrink + weight;
    top = newTop;
    ${each((slot) => `out${slot} *= shrink;`)}
    let steps = min(${S}u, last - block);
    var start = ((b * p.s + block) * p.hKey + headKey) * ${count}u;
    for (var turn = 0u; turn < steps; turn++) {
      let share = subgroupShuffle(weight, turn);
      ${each((slot, feature) => `out${slot} += share * v(start + ${mine(feature)});`)}
      start += p.hKey * ${count}u;
    }
  }
  let sum = subgroupAdd(total);
  ${each((slot, feature) => `${isWhole ? '' : `if (${feature} < ${count}u) `}{ out[at + ${feature}] = out${slot} / sum; }`)}
  if (lane == 0u) { lses[group] = top + log(sum); }`;
  return stage({
    key: `attention:one:${form.key}`,
    reads: { ...readAs(access, { q, k, v }), ...(segments && { segments }) },
    writes: { ...readAs(access, { out }), lses },
    params: paramsOf(sizes, call, { groups: 1, count: workgroups }, segments),
    workgroup: S,
    subgroups: true,
    declarations: form.declarations,
    body,
    grid: grid1d(workgroups, 1),
  });
}
