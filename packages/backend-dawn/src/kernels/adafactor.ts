import { numel, ops } from '@attune/core';
import type { OpCall, Operand } from '@attune/core/backend';
import { defineKernel, f32, grid1d, type Kernel, type Stage, u32 } from './kernel.js';
import { laneReductions } from './shader.js';
import { type StageParts, stage } from './stage.js';

type Scratch = (elements: number, dtype: 'float32') => Operand;

const LANES = 64;
/** Reductions through workgroup memory, whatever the subgroup. */
const lanes64 = laneReductions({ subgroupSize: 0 });

/**
 * Partial sums of a column or of a whole tensor: enough workgroups for a device, few enough to add
 * up.
 */
const PARTS = 64;

/** One of the stages of an update. */
const part = (
  name: string,
  {
    items,
    perGroup,
    ...parts
  }: Pick<StageParts, 'reads' | 'writes' | 'params' | 'body'> & {
    readonly items: number;
    readonly perGroup: number;
  },
): Stage =>
  stage({
    key: `adafactor:${name}`,
    workgroup: LANES,
    declarations: lanes64.declarations,
    grid: grid1d(items, perGroup),
    ...parts,
  });

/**
 * Row, column and their mean of a factored parameter: [row sums], [partial columns], [columns],
 * [mean of rows].
 */
function momentStages(call: OpCall, scratch: Scratch, beta2: number, eps: number) {
  const [grad, clip] = call.inputs as [Operand, Operand];
  const [parameter, row, column] = call.outputs as [Operand, Operand, Operand];
  const { batch, rows, columns } = ops.factors(parameter.shape);
  const decay = { beta2: f32(beta2), take: f32(1 - beta2) };
  const sizes = { batch: u32(batch), rows: u32(rows), columns: u32(columns) };
  const partial = scratch(batch * PARTS * columns, 'float32');
  const means = scratch(batch, 'float32');
  const stages = [
    part('row', {
      reads: { grad, clip },
      writes: { row },
      params: { ...sizes, ...decay, eps: f32(eps) },
      body: `  if (group >= p.batch * p.rows || clip(2u) == 0.0) { return; }
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += ${LANES}u) { let g = grad(group * p.columns + c) * clip(1u); sum += g * g + p.eps; }
  sum = laneSum(sum, lane);
  if (lane == 0u) { row[group] = p.beta2 * row[group] + p.take * sum / f32(p.columns); }`,
      items: batch * rows,
      perGroup: 1,
    }),
    part('columnPart', {
      reads: { grad, clip },
      writes: { partial },
      params: { ...sizes, eps: f32(eps) },
      // Element gid: column gid % columns of part gid / columns.
      body: `  if (gid >= p.batch * ${PARTS}u * p.columns) { return; }
  let c = gid % p.columns;
  let part = (gid / p.columns) % ${PARTS}u;
  let first = (gid / p.columns / ${PARTS}u) * p.rows;
  var sum = 0.0;
  for (var r = part; r < p.rows; r += ${PARTS}u) { let g = grad((first + r) * p.columns + c) * clip(1u); sum += g * g + p.eps; }
  partial[gid] = sum;`,
      items: batch * PARTS * columns,
      perGroup: LANES,
    }),
    part('column', {
      reads: { partial, clip },
      writes: { column },
      params: { ...sizes, ...decay },
      body: `  if (gid >= p.batch * p.columns || clip(2u) == 0.0) { return; }
  let first = (gid / p.columns) * ${PARTS}u * p.columns + gid % p.columns;
  var sum = 0.0;
  for (var part = 0u; part < ${PARTS}u; part++) { sum += partial(first + part * p.columns); }
  column[gid] = p.beta2 * column[gid] + p.take * sum / f32(p.rows);`,
      items: batch * columns,
      perGroup: LANES,
    }),
    part('rowMean', {
      reads: { row },
      writes: { means },
      params: sizes,
      body: `  if (group >= p.batch) { return; }
  var sum = 0.0;
  for (var r = lane; r < p.rows; r += ${LANES}u) { sum += row(group * p.rows + r); }
  sum = laneSum(sum, lane);
  if (lane == 0u) { means[group] = sum / f32(p.rows); }`,
      items: batch,
      perGroup: 1,
    }),
  ];
  return { stages, sizes, means };
}

function vectorStage(call: OpCall, beta2: number, eps: number): Stage {
  const [grad, clip] = call.inputs as [Operand, Operand];
  const second = call.outputs[1]!;
  const n = numel(second.shape);
  return part('vector', {
    reads: { grad, clip },
    writes: { second },
    params: { n: u32(n), beta2: f32(beta2), take: f32(1 - beta2), eps: f32(eps) },
    body: `  if (gid >= p.n || clip(2u) == 0.0) { return; }
  let g = grad(gid) * clip(1u);
  second[gid] = p.beta2 * second[gid] + p.take * (g * g + p.eps);`,
    items: n,
    perGroup: LANES,
  });
}

/** Moments; sums of squares of direction and parameter; the factors that follow; the update. */
export const adafactorKernel: Kernel = defineKernel({
  op: 'adafactor',
  plan: (call, _facts, scratch) => {
    const a = call.attrs as unknown as ops.AdafactorAttrs;
    const [grad, clip] = call.inputs as [Operand, Operand];
    const [parameter, ...state] = call.outputs as [Operand, ...Operand[]];
    const n = numel(parameter.shape);
    const factored = ops.isFactored(parameter.shape);
    const kind = factored ? 'matrix' : 'vector';
    const first = state[factored ? 2 : 1];
    const moments = factored ? momentStages(call, scratch, a.beta2, a.eps) : null;
    const second: Record<string, Operand> = moments
      ? { row: state[0]!, column: state[1]!, means: moments.means }
      : { second: state[0]! };
    const sizes = moments?.sizes ?? {};
    const direction = factored
      ? `  let r = i / p.columns; let b = r / p.rows;
  let d = grad(i) * clip(1u) * inverseSqrt(row(r) / means(b)) * inverseSqrt(column(b * p.columns + i % p.columns));`
      : '  let d = grad(i) * clip(1u) * inverseSqrt(second(i));';
    const partial = scratch(2 * PARTS, 'float32');
    const scales = scratch(2, 'float32');
    return [
      ...(moments?.stages ?? [vectorStage(call, a.beta2, a.eps)]),
      part(`squares:${kind}`, {
        reads: { grad, clip, ...second, parameter },
        writes: { partial },
        params: { n: u32(n), ...sizes },
        body: `  var sum = 0.0;
  var own = 0.0;
  for (var i = gid; i < p.n; i += ${PARTS * LANES}u) {
  ${direction}
    sum += d * d;
    own += parameter(i) * parameter(i);
  }
  sum = laneSum(sum, lane);
  own = laneSum(own, lane);
  if (lane == 0u) { partial[group] = sum; partial[${PARTS}u + group] = own; }`,
        items: PARTS,
        perGroup: 1,
      }),
      part('scales', {
        reads: { partial },
        writes: { scales },
        params: {
          n: u32(n),
          lr: f32(a.lr),
          clipThreshold: f32(a.clipThreshold),
          paramScale: f32(a.paramScale),
        },
        body: `  let sum = laneSum(partial(lane), lane);
  let own = laneSum(partial(${PARTS}u + lane), lane);
  if (lane != 0u) { return; }
  var rate = p.lr;
  if (p.paramScale >= 0.0) { rate *= max(p.paramScale, sqrt(own / f32(p.n))); }
  scales[0] = rate;
  scales[1] = rate / max(1.0, sqrt(sum / f32(p.n)) / p.clipThreshold);`,
        items: 1,
        perGroup: 1,
      }),
      part(`update:${kind}${first ? ':first' : ''}`, {
        reads: { grad, clip, ...second, scales },
        writes: { parameter, ...(first && { first }) },
        params: {
          n: u32(n),
          ...sizes,
          weightDecay: f32(a.weightDecay),
          ...(first && { beta1: f32(a.beta1), take1: f32(1 - a.beta1) }),
        },
        body: `  let i = gid;
  if (i >= p.n || clip(2u) == 0.0) { return; }
${direction}
  var change = scales(1u) * d;
${first ? '  change = p.beta1 * first[i] + p.take1 * change;\n  first[i] = change;' : ''}
  parameter[i] = parameter[i] * (1.0 - scales(0u) * p.weightDecay) - change;`,
        items: n,
        perGroup: LANES,
      }),
    ];
  },
});
