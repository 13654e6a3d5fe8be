import { type OpCall, type Operand, ops } from '@attune/core';
import {
  type DeviceFacts,
  defineKernel,
  f32,
  grid1d,
  type Kernel,
  type Stage,
  u32,
} from './kernel.js';
import { shader } from './shader.js';

/** a and b as they lie in memory: N not transposed, T transposed. A linear layer is NT, its dX NN, its dW TN. */
type Layout = 'NN' | 'NT' | 'TN' | 'TT';

/** What a scaled product is added to: nothing, a third operand, a row of it, what the output held. */
type Plus = 'nothing' | 'addend' | 'bias' | 'output';

interface Problem {
  readonly layout: Layout;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly batch: number;
  readonly a: Operand;
  readonly b: Operand;
  readonly out: Operand;
  readonly scale: number;
  readonly plus: Plus;
  /** The third operand. */
  readonly addend: readonly Operand[];
  /** Elements from one b to the next; 0 when one b serves all. */
  readonly bStep: number;
}

function problemOf(call: OpCall): Problem {
  const [a, b, addend] = call.inputs as [Operand, Operand, Operand?];
  const attrs = call.attrs as unknown as ops.MatmulAttrs;
  const { n, k, batchOther, ...sizes } = ops.matmulSizes(a.shape, b.shape, attrs);
  // A batch against one matrix is one tall product.
  const isTall = batchOther === 1 && !attrs.transposeA;
  const [m, batch] = isTall ? [sizes.m * sizes.batch, 1] : [sizes.m, sizes.batch];
  const layout = `${attrs.transposeA ? 'T' : 'N'}${attrs.transposeB ? 'T' : 'N'}` as Layout;
  return {
    layout,
    m,
    n,
    k,
    batch,
    a,
    b,
    out: call.outputs[0]!,
    scale: attrs.scale,
    plus: attrs.accumulate ? 'output' : addendKind(addend),
    addend: addend ? [addend] : [],
    bStep: batchOther === 1 ? 0 : n * k,
  };
}

/** `columns`: tiles side by side; `tiles`: in one matrix. Workgroups go tile by tile, then matrix by matrix. */
function addendKind(addend: Operand | undefined): Plus {
  if (!addend) return 'nothing';
  return addend.shape.length === 1 ? 'bias' : 'addend';
}

const params = {
  m: 'u32',
  n: 'u32',
  k: 'u32',
  aStep: 'u32',
  bStep: 'u32',
  columns: 'u32',
  tiles: 'u32',
  batch: 'u32',
  scale: 'f32',
} as const;

/** WGSL: what is stored at `at`, in column `j`, of a product `value`. */
function stored(plus: Plus, value: string, at: string, j: string): string {
  const added = { nothing: '', addend: `x2(${at})`, bias: `x2(${j})`, output: `w0[${at}]` }[plus];
  return added ? `fma(p.scale, ${value}, ${added})` : `p.scale * ${value}`;
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Four neighbouring elements of b at vec4 index i, widened. */
function vec4Loader(operand: Operand): string {
  if (operand.dtype === 'float32') return 'fn loadB4(i: u32) -> vec4f { return r1[i]; }';
  const widen =
    operand.dtype === 'float16'
      ? 'vec4f(unpack2x16float(w.x), unpack2x16float(w.y))'
      : 'vec4f(bitcast<f32>(w.x << 16u), bitcast<f32>(w.x & 0xffff0000u), bitcast<f32>(w.y << 16u), bitcast<f32>(w.y & 0xffff0000u))';
  return `fn loadB4(i: u32) -> vec4f { let w = vec2u(r1[i * 2u], r1[i * 2u + 1u]); return ${widen}; }`;
}

/**
 * Subgroup-broadcast product: a workgroup is one subgroup of S lanes and makes TM rows of S * TN
 * columns. Each lane loads one vec4 of a per row, and a shuffle hands it round, so a value of a is
 * loaded once for all lanes. On a software adapter, where loads decide everything, this is 2-4 times
 * a direct kernel.
 *
 * `transposed` stores out[col, row]: an NT product with few columns is computed as its transpose, so
 * that the lanes lie along the long side.
 *
 * Needs float32 a; K a multiple of 4 (NN, NT), N of 4 (NN, TN), M of 4 (TN). Edges are clamped when
 * loading and skipped when storing.
 */
function subgroupProduct(
  problem: Pick<Problem, 'layout' | 'b' | 'plus' | 'addend'>,
  S: number,
  TM: number,
  TN: number,
  transposed = false,
): string {
  const { layout, b, plus, addend } = problem;
  const columns = layout === 'NT';
  const accumulate = (m: number, x: string, y: (n: number) => string) =>
    range(TN)
      .map((n) => `c${m}_${n} = fma(${x}, ${y(n)}, c${m}_${n});`)
      .join(' ');

  let loop: string;
  if (layout === 'TN') {
    // Lane l holds rows of a at k0 + l: TM values of one k.
    loop = `  for (var k0 = 0u; k0 < p.k; k0 += ${S}u) {
    let ka = min(k0 + lane, p.k - 1u) * p.m;
${range(TM / 4)
  .map((m) => `    let a${m} = x0((aFirst + ka + min(row + ${m * 4}u, p.m - 4u)) / 4u);`)
  .join('\n')}
    let steps = min(${S}u, p.k - k0);
    for (var j = 0u; j < steps; j++) {
${range(TN / 4)
  .map(
    (n) =>
      `      let b${n} = loadB4((bFirst + (k0 + j) * p.n + min(col + ${n * 4}u, p.n - 4u)) / 4u);`,
  )
  .join('\n')}
${range(TM)
  .map(
    (m) =>
      `      { let x = subgroupShuffle(a${m >> 2}[${m & 3}], j); ${accumulate(m, 'x', (n) => `b${n >> 2}[${n & 3}]`)} }`,
  )
  .join('\n')}
    }
  }`;
  } else {
    const loadB = columns
      ? range(TN).map(
          (n) =>
            `      let b${n} = loadB4((bFirst + min(col + ${n * S}u, p.n - 1u) * p.k + k) / 4u);`,
        )
      : range(4).flatMap((q) =>
          range(TN / 4).map(
            (n) =>
              `      let b${q}_${n} = loadB4((bFirst + (k + ${q}u) * p.n + min(col + ${n * 4}u, p.n - 4u)) / 4u);`,
          ),
        );
    const fmas = (m: number) =>
      range(4)
        .map((q) =>
          accumulate(m, `x[${q}]`, (n) => (columns ? `b${n}[${q}]` : `b${q}_${n >> 2}[${n & 3}]`)),
        )
        .join(' ');
    loop = `  for (var k0 = 0u; k0 < p.k; k0 += ${4 * S}u) {
    let ka = min(k0 + lane * 4u, p.k - 4u);
${range(TM)
  .map((m) => `    let a${m} = x0((aFirst + min(row + ${m}u, p.m - 1u) * p.k + ka) / 4u);`)
  .join('\n')}
    let steps = min(${S}u, (p.k - k0) / 4u);
    for (var j = 0u; j < steps; j++) {
      let k = k0 + j * 4u;
${loadB.join('\n')}
${range(TM)
  .map((m) => `      { let x = subgroupShuffle(a${m}, j); ${fmas(m)} }`)
  .join('\n')}
    }
  }`;
  }

  // Clamped vec4 loads would repeat columns inside a lane; such columns are never stored.
  const put = (m: number, at: string, j: string, value: string) =>
    `w0[${at}] = ${stored(plus, value, at, transposed ? `row + ${m}u` : j)};`;
  const store = columns
    ? (m: number) =>
        range(TN)
          .map(
            (n) =>
              `if (col + ${n * S}u < p.n) { ${put(m, `at + ${n * S}u${transposed ? ' * p.m' : ''}`, `col + ${n * S}u`, `c${m}_${n}`)} }`,
          )
          .join(' ')
    : (m: number) =>
        range(TN / 4)
          .map(
            (n) =>
              `if (col + ${n * 4}u < p.n) { ${range(4)
                .map((q) =>
                  put(m, `at + ${n * 4 + q}u`, `col + ${n * 4 + q}u`, `c${m}_${n * 4 + q}`),
                )
                .join(' ')} }`,
          )
          .join(' ');
  return shader({
    reads: ['vec4', b.dtype === 'float32' ? 'vec4' : b.dtype, ...addend.map((t) => t.dtype)],
    writes: ['float32'],
    params,
    workgroup: S,
    subgroups: true,
    declarations: vec4Loader(b),
    body: `  if (group >= p.tiles * p.batch) { return; }
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * ${TM}u;
  let col = (tile % p.columns) * ${S * TN}u + lane${columns ? '' : ` * ${TN}u`};
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  ${range(TM)
    .flatMap((m) => range(TN).map((n) => `var c${m}_${n} = 0.0;`))
    .join(' ')}
${loop}
${range(TM)
  .map(
    (m) =>
      `  if (row + ${m}u < p.m) { let at = ${transposed ? `(z * p.n + col) * p.m + row + ${m}u` : `(z * p.m + row + ${m}u) * p.n + col`}; ${store(m)} }`,
  )
  .join('\n')}`,
  });
}

/**
 * Register-tiled product through workgroup memory: 64 lanes make a 32 x 32 tile, 4 x 4 each, 16 k at
 * a time. Any layout, any size, any storage dtype: the general case, and the one for real GPUs.
 */
function tiledProduct(problem: Pick<Problem, 'layout' | 'a' | 'b' | 'plus' | 'addend'>): string {
  const { layout, a, b, plus, addend } = problem;
  const aIndex = layout[0] === 'N' ? 'i * p.k + k' : 'k * p.m + i';
  const bIndex = layout[1] === 'N' ? 'k * p.n + j' : 'j * p.k + k';
  return shader({
    reads: [a.dtype, b.dtype, ...addend.map((t) => t.dtype)],
    writes: ['float32'],
    params,
    workgroup: 64,
    declarations: `var<workgroup> tileA: array<f32, 512>; // [16][32]
var<workgroup> tileB: array<f32, 512>; // [16][32]
fn loadA(first: u32, i: u32, k: u32) -> f32 { if (i < p.m && k < p.k) { return x0(first + ${aIndex}); } return 0.0; }
fn loadB(first: u32, k: u32, j: u32) -> f32 { if (k < p.k && j < p.n) { return x1(first + ${bIndex}); } return 0.0; }`,
    body: `  if (group >= p.tiles * p.batch) { return; }
  let z = group / p.tiles;
  let tile = group % p.tiles;
  let row = (tile / p.columns) * 32u;
  let col = (tile % p.columns) * 32u;
  let aFirst = z * p.aStep;
  let bFirst = z * p.bStep;
  let ty = lane / 8u * 4u;
  let tx = lane % 8u * 4u;
  var c: array<vec4f, 4>;
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    for (var e = lane; e < 512u; e += 64u) {
      ${layout[0] === 'N' ? 'tileA[(e % 16u) * 32u + e / 16u] = loadA(aFirst, row + e / 16u, k0 + e % 16u);' : 'tileA[e] = loadA(aFirst, row + e % 32u, k0 + e / 32u);'}
      ${layout[1] === 'N' ? 'tileB[e] = loadB(bFirst, k0 + e / 32u, col + e % 32u);' : 'tileB[(e % 16u) * 32u + e / 16u] = loadB(bFirst, k0 + e % 16u, col + e / 16u);'}
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let y = k * 32u + tx;
      let b = vec4f(tileB[y], tileB[y + 1u], tileB[y + 2u], tileB[y + 3u]);
      for (var i = 0u; i < 4u; i++) { c[i] = fma(vec4f(tileA[k * 32u + ty + i]), b, c[i]); }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < 4u; i++) {
    if (row + ty + i < p.m) {
      let at = (z * p.m + row + ty + i) * p.n + col + tx;
      for (var j = 0u; j < 4u; j++) { if (col + tx + j < p.n) { w0[at + j] = ${stored(plus, 'c[i][j]', 'at + j', 'col + tx + j')}; } }
    }
  }`,
  });
}

/** Subgroup sizes for which the unrolled kernel stays small enough to compile and to cache. */
const useSubgroups = (p: Problem, facts: DeviceFacts): boolean => {
  const aligned =
    p.layout === 'TN'
      ? p.m % 4 === 0 && p.n % 4 === 0
      : p.k % 4 === 0 && (p.layout === 'NT' || p.n % 4 === 0);
  return (
    facts.software &&
    facts.subgroupSize >= 4 &&
    facts.subgroupSize <= 16 &&
    p.layout !== 'TT' &&
    p.a.dtype === 'float32' &&
    aligned
  );
};

/** Rows and columns a lane makes: narrow outputs (a LoRA's rank) take a narrow tile. */
function tileSize(m: number, n: number, lanes: number): { TM: number; TN: number } {
  const TM = m <= 8 ? 8 : 16;
  return { TM, TN: n <= 4 * lanes ? 4 : 8 };
}

/** Products with few columns and many rows gain from being made as their transpose. */
const isNarrow = (p: Problem, facts: DeviceFacts): boolean =>
  p.layout === 'NT' && p.n <= 2 * facts.subgroupSize && p.m > p.n && p.b.dtype === 'float32';

const transpose = (p: Problem): Problem => ({ ...p, m: p.n, n: p.m, a: p.b, b: p.a });

function plan(problem: Problem, facts: DeviceFacts): Stage {
  const { m, n, k, batch, out, bStep, scale, plus, addend } = problem;
  const stage = (key: string, wgsl: () => string, operands: Operand[], sizes: number[]): Stage => ({
    key: ['matmul', key, plus, ...addend.map((t) => t.dtype)].join(':'),
    wgsl,
    operands: [...operands, ...addend, out],
    reads: 2 + addend.length,
    params: [...sizes.map(u32), f32(scale)],
    grid: grid1d(sizes.at(-2)! * batch, 1),
  });
  if (!useSubgroups(problem, facts)) {
    const columns = Math.ceil(n / 32);
    const tiles = Math.ceil(m / 32) * columns;
    return stage(
      `${problem.layout}:tiled:${problem.a.dtype}:${problem.b.dtype}`,
      () => tiledProduct(problem),
      [problem.a, problem.b],
      [m, n, k, m * k, bStep, columns, tiles, batch],
    );
  }
  const S = facts.subgroupSize;
  const transposed = isNarrow(problem, facts);
  const { layout, a, b, m: rows, n: width } = transposed ? transpose(problem) : problem;
  const { TM, TN } = tileSize(rows, width, S);
  const columns = Math.ceil(width / (S * TN));
  const tiles = Math.ceil(rows / TM) * columns;
  const [aStep, otherStep] = transposed ? [bStep, m * k] : [m * k, bStep];
  return stage(
    `${layout}${transposed ? ':transposed' : ''}:subgroup${S}:${TM}x${TN}:${b.dtype}`,
    () => subgroupProduct({ layout, b, plus, addend }, S, TM, TN, transposed),
    [a, b],
    [rows, width, k, aStep, otherStep, columns, tiles, batch],
  );
}

export const matmulKernel: Kernel = defineKernel({
  op: 'matmul',
  plan: (call, facts) => [plan(problemOf(call), facts)],
});
