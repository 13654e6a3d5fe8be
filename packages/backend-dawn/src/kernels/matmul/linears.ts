import { numel } from '@attune/core';
import type { Operand, OperandSpec, OpSpec } from '@attune/core/backend';
import { type DeviceFacts, defineKernel, grid1d, u32 } from '../kernel.js';
import { named, readAs, stage } from '../stage.js';
import { sigmoidDeclaration } from '../unary.js';
import { range } from './problem.js';
import { heights, operandA, vec4Loader } from './subgroup.js';

/** Rows at most where results are apart: tiles of their own share loads of more rows better. */
const MOST_ROWS = 8;
/** Values of k that one turn of the loop multiplies. */
const DEPTH = 4;

/** Columns of each weight that a lane makes: a loop for more is slower, for it is longer. */
const TN = 2;

const rowsOf = (x: OperandSpec) => numel(x.shape.slice(0, -1));

/** Products of one x with several weights as one dispatch, where lanes share what they load. */
function accepts({ inputs, attrs }: OpSpec, facts: DeviceFacts): boolean {
  const [x, ...weights] = inputs as [OperandSpec, ...OperandSpec[]];
  const [{ shape, dtype }] = weights as [OperandSpec];
  return (
    facts.software &&
    facts.subgroupSize >= 4 &&
    facts.subgroupSize <= 16 &&
    attrs.compute === 'float32' &&
    x.dtype === 'float32' &&
    weights.length <= 3 &&
    weights.every((w) => w.dtype === dtype) &&
    numel(shape) > 0 &&
    shape[1]! % DEPTH === 0 &&
    rowsOf(x) > 0 &&
    (attrs.gated === true || rowsOf(x) <= MOST_ROWS)
  );
}

/**
 * As in the subgroup product: the lanes load a piece of x together and shuffles hand it round; each
 * lane loads its own columns of each weight, and adds up along k in the same order.
 */
function body(TM: number, count: number, gated: boolean, S: number): string {
  const x = operandA({ layout: 'NT', rows: TM, depth: DEPTH }, S);
  const cells = (of: (m: number, n: number, w: number) => string) =>
    range(TM).flatMap((m) => range(count).flatMap((w) => range(TN).map((n) => of(m, n, w))));
  const loads = range(count).flatMap((w) =>
    range(TN).map((n) => `let b${w}_${n} = loadW${w}4(at${n} + k / 4u);`),
  );
  const products = range(TM).map((m) => {
    const values = range(DEPTH).map((q) => `let x${q} = ${x.value(m, q)};`);
    const sums = range(DEPTH).flatMap((q) =>
      range(count).flatMap((w) =>
        range(TN).map((n) => `c${m}_${n}_${w} = fma(x${q}, b${w}_${n}[${q}], c${m}_${n}_${w});`),
      ),
    );
    return `{ ${[...values, ...sums].join(' ')} }`;
  });
  const step = Math.min(4, TM);
  const stores = (m: number, n: number) =>
    gated
      ? `out0[at + ${n}u] = c${m}_${n}_0 * sigmoid_(c${m}_${n}_0) * c${m}_${n}_1;`
      : range(count)
          .map((w) => `out${w}[at + ${n}u] = c${m}_${n}_${w};`)
          .join(' ');
  const rows = range(step).map(
    (m) =>
      `if (r + ${m}u < end) { let at = (r + ${m}u) * p.n + col; ${range(TN)
        .map((n) => `if (col + ${n}u < p.n) { ${stores(m, n)} }`)
        .join(' ')} }`,
  );
  const turned = cells((m, n, w) =>
    m + step < TM ? `c${m}_${n}_${w} = c${m + step}_${n}_${w};` : '',
  );
  return `  if (group >= p.tiles) { return; }
  let row = (group / p.columns) * ${TM}u;
  let col = (group % p.columns) * ${S * TN}u + lane * ${TN}u;
  let aFirst = 0u;
  ${cells((m, n, w) => `var c${m}_${n}_${w} = 0.0;`).join(' ')}
${x.before.join('\n')}
  ${range(TN)
    .map((n) => `let at${n} = min(col + ${n}u, p.n - 1u) * p.k / 4u;`)
    .join('\n  ')}
  for (var k = 0u; k < p.k; k += ${DEPTH}u) {
    ${[...x.load, ...loads, ...products].join('\n    ')}
  }
  let end = min(row + ${TM}u, p.m);
  for (var r = row; r < end; r += ${step}u) {
    ${[...rows, ...turned].join('\n    ')}
  }`;
}

/** Where nothing is trained; on a software device each dispatch is a wait for all its threads. */
export const linearsKernel = defineKernel({
  op: 'linears',
  accepts,
  plan: ({ inputs, outputs, attrs }, facts) => {
    const [x, ...weights] = inputs as [Operand, ...Operand[]];
    const [n, k] = weights[0]!.shape as [number, number];
    const { dtype } = weights[0]!;
    const gated = attrs.gated === true;
    const S = facts.subgroupSize;
    const m = rowsOf(x);
    const TM = heights.find((height) => m <= height) ?? 32;
    const columns = Math.ceil(n / (S * TN));
    const tiles = Math.ceil(m / TM) * columns;
    const names = weights.map((_, w) => `w${w}`);
    return [
      stage({
        key: `linears${weights.length}${gated ? ':gated' : ''}:${S}:${TM}x${TN}:${dtype}`,
        reads: {
          ...readAs('vec4', { a: x }),
          ...readAs(dtype === 'float32' ? 'vec4' : 'words2', named(weights, ...names)),
        },
        writes: named(outputs, ...outputs.map((_, w) => `out${w}`)),
        params: { m: u32(m), n: u32(n), k: u32(k), columns: u32(columns), tiles: u32(tiles) },
        workgroup: S,
        subgroups: true,
        declarations: () =>
          `alias T = f32;\n${sigmoidDeclaration}\n${names.map((name) => vec4Loader(dtype, name)).join('\n')}`,
        body: () => body(TM, weights.length, gated, S),
        grid: grid1d(tiles, 1),
      }),
    ];
  },
});
