import { type Engine, ops, type Tensor } from '@attune/core';
import { opTable, quant } from '@attune/core/tensor';
import { assertGradients, checkGradients, type GradientInput } from '@attune/core/testing';
import { Rng } from '@attune/core/util';
import { describe, expect, it } from 'vitest';

/**
 * Normal values; `positive` ones for log and roots; `spread` ones where ties or kinks are in the
 * way.
 */
function input(shape: readonly number[], seed = 1, kind?: 'positive' | 'spread'): GradientInput {
  const rng = new Rng(seed, 9);
  const size = shape.reduce((n, d) => n * d, 1);
  const order = rng.permutation(size);
  const values = Float64Array.from({ length: size }, (_, i) => {
    if (kind === 'positive') return 0.5 + 2 * rng.uniform();
    // Never nearer than 0.1 to each other or to 0: differences step over no kink.
    if (kind === 'spread') return 0.15 + 0.2 * (order[i]! - Math.floor(size / 2));
    return rng.normal();
  });
  return { shape, values };
}

type Fn = (inputs: readonly Tensor[], engine: Engine) => Tensor;
const cases: Record<string, readonly [Fn, ...GradientInput[]]> = {};
const covered = new Set<string>();
/** @param op the row of the op table that this checks. */
function check(op: string, name: string, fn: Fn, ...inputs: GradientInput[]): void {
  covered.add(op);
  cases[`${op}: ${name}`] = [fn, ...inputs];
}

const ids = (engine: Engine, values: readonly number[], shape: readonly number[]) =>
  engine.tensor(Int32Array.from(values), shape, 'int32');

// Two operands, each way of broadcasting
const shapes = [
  [
    [2, 3],
    [2, 3],
  ],
  [[2, 3], [3]],
  [[3], [2, 3]],
  [
    [2, 1, 3],
    [4, 1],
  ],
  [[], [2]],
] as const;
for (const [a, b] of shapes) {
  const name = `[${a}] and [${b}]`;
  check('add', name, ([x, y]) => x!.add(y!), input(a), input(b, 2));
  check('sub', name, ([x, y]) => x!.sub(y!), input(a), input(b, 2));
  check('mul', name, ([x, y]) => x!.mul(y!), input(a), input(b, 2));
  check('div', name, ([x, y]) => x!.div(y!), input(a), input(b, 2, 'positive'));
  check('maximum', name, ([x, y]) => x!.maximum(y!), input(a), input(b, 2));
  check('minimum', name, ([x, y]) => x!.minimum(y!), input(a), input(b, 2));
}
check('mul', 'one tensor twice', ([x]) => x!.mul(x!), input([5]));
check('add', 'one tensor twice', ([x]) => x!.add(x!), input([5]));
check('mul', 'a diamond', ([x]) => x!.exp().mul(x!.sin()).add(x!), input([5]));

// One operand
for (const name of [
  'exp',
  'square',
  'sin',
  'cos',
  'tanh',
  'sigmoid',
  'logSigmoid',
  'silu',
] as const)
  check(name, '[2, 5]', ([x]) => ops[name](x!), input([2, 5]));
for (const name of ['log', 'sqrt', 'rsqrt'] as const)
  check(name, 'positive', ([x]) => ops[name](x!), input([7], 1, 'positive'));
for (const name of ['abs', 'relu', 'sign'] as const)
  check(name, 'away from 0', ([x]) => ops[name](x!), input([8], 1, 'spread'));
check('gelu', 'exact', ([x]) => x!.gelu(), input([9]));
check('geluTanh', 'tanh', ([x]) => x!.gelu('tanh'), input([9]));
check('affine', 'scale and shift', ([x]) => x!.mul(-3).add(2).div(7).sub(1).neg(), input([5]));

// Reductions
check('sum', 'all', ([x]) => x!.sum(), input([2, 3]));
check('sum', 'first axis', ([x]) => x!.sum(0), input([2, 3, 4]));
check('sum', 'middle, kept', ([x]) => x!.sum(1, true), input([2, 3, 4]));
check('sum', 'axes apart', ([x]) => x!.sum([0, 2]), input([2, 3, 4]));
check('sum', 'mean', ([x]) => x!.mean(-1), input([2, 3, 4]));
check('max', 'last axis', ([x]) => x!.max(-1), input([3, 5], 1, 'spread'));
check('max', 'first axis, kept', ([x]) => x!.max(0, true), input([3, 5], 1, 'spread'));

// Movement
check('permute', '[2, 0, 1]', ([x]) => x!.permute(2, 0, 1), input([2, 3, 4]));
check('permute', 'transpose', ([x]) => x!.transpose(), input([2, 3, 4]));
check('expand', 'inner', ([x]) => x!.expand(2, 3, 4), input([2, 1, 4]));
check('expand', 'new axes', ([x]) => x!.expand(3, 2, 4), input([4]));
check('slice', 'middle', ([x]) => x!.slice(1, 1, 3), input([2, 4, 3]));
check('slice', 'from the start', ([x]) => x!.slice(0, 0, 1), input([3, 2]));
check('slice', 'to the end, negative', ([x]) => x!.slice(-1, -2, 5), input([3, 5]));
check(
  'concat',
  'three parts',
  (xs) => ops.concat(xs, 1),
  input([2, 1]),
  input([2, 3], 2),
  input([2, 2], 3),
);
check(
  'concat',
  'six parts: a tree',
  (xs) => ops.concat(xs, 0),
  ...[1, 2, 3, 1, 2, 3].map((n, i) => input([n, 2], i)),
);
check('concat', 'a part twice', ([x]) => ops.concat([x!, x!], 0), input([2, 2]));

// Products
for (const transposeA of [false, true])
  for (const transposeB of [false, true]) {
    const a = transposeA ? [3, 4] : [4, 3];
    const b = transposeB ? [5, 3] : [3, 5];
    const fn: Fn = ([x, y]) => x!.matmul(y!, { transposeA, transposeB });
    const layout = `${transposeA ? 't' : 'n'}${transposeB ? 't' : 'n'}`;
    check('matmul', layout, fn, input(a), input(b, 2));
    check('matmul', `${layout}, batched`, fn, input([2, ...a]), input([2, ...b], 2));
    check('matmul', `${layout}, two batch axes`, fn, input([2, 2, ...a]), input([2, 2, ...b], 2));
    check(
      'matmul',
      `${layout}, batch axes [2, 2] and [4]`,
      fn,
      input([2, 2, ...a]),
      input([4, ...b], 2),
    );
    check('matmul', `${layout}, shared b`, fn, input([3, ...a]), input(b, 2));
    check('matmul', `${layout}, shared b [1, ...]`, fn, input([3, ...a]), input([1, ...b], 2));
    check('matmul', `${layout}, batch of one and b`, fn, input([1, ...a]), input(b, 2));
  }
check(
  'matmul',
  'scaled, with an addend',
  ([x, w, y]) => x!.matmul(w!, { transposeB: true, scale: -0.5, addend: y! }),
  input([2, 3, 4]),
  input([5, 4], 2),
  input([2, 3, 5], 3),
);
check(
  'matmul',
  'batched, with a bias',
  ([x, w, b]) => x!.matmul(w!, { scale: 3, addend: b! }),
  input([2, 3, 4]),
  input([2, 4, 5], 2),
  input([5], 3),
);
check(
  'matmul',
  'three of one input and one weight: later gradients are added in their place',
  ([x, w]) => {
    const h = x!.mul(2);
    return h
      .matmul(w!)
      .add(h.matmul(w!, { transposeB: true, scale: 2 }))
      .add(w!.matmul(h));
  },
  input([3, 3]),
  input([3, 3], 2),
);
check(
  'matmul',
  'a square, and what it is added to',
  ([x]) => x!.mul(2).matmul(x!, { addend: x!, scale: 0.5 }),
  input([3, 3]),
);
check(
  'matmul',
  'linear with bias',
  ([x, w, b]) => ops.linear(x!, w!, b!),
  input([2, 3, 4]),
  input([5, 4], 2),
  input([5], 3),
);

// Rows
check('softmax', '[2, 3, 5]', ([x]) => x!.softmax(), input([2, 3, 5]));
check('logSoftmax', '[2, 3, 5]', ([x]) => x!.logSoftmax(), input([2, 3, 5]));
check(
  'rmsNorm',
  '[2, 3, 6]',
  ([x, w]) => ops.rmsNorm(x!, w!, 1e-5),
  input([2, 3, 6]),
  input([6], 2),
);
check('rmsNorm', 'a vector', ([x, w]) => ops.rmsNorm(x!, w!, 0.1), input([6]), input([6], 2));
check(
  'addRmsNorm',
  'the sum and its norm, both used',
  ([x, r, w]) => {
    const [sum, normed] = ops.addRmsNorm(x!, r!, w!, 0.1);
    return sum.mul(normed);
  },
  input([2, 3, 6]),
  input([2, 3, 6], 2),
  input([6], 3),
);
check(
  'addRmsNorm',
  'only the norm',
  ([x, r, w]) => ops.addRmsNorm(x!, r!, w!, 0.1)[1],
  input([2, 6]),
  input([2, 6], 2),
  input([6], 3),
);
check(
  'addRmsNorm',
  'only the sum; a tensor added to itself',
  ([x, w]) => ops.addRmsNorm(x!, x!, w!, 0.1)[0].add(w!.sum()),
  input([2, 6]),
  input([6], 3),
);
check(
  'layerNorm',
  '[2, 3, 6]',
  ([x, w, b]) => ops.layerNorm(x!, w!, b!, 1e-5),
  input([2, 3, 6]),
  input([6], 2),
  input([6], 3),
);
check('swiglu', '[2, 5]', ([gate, up]) => ops.swiglu(gate!, up!), input([2, 5]), input([2, 5], 2));
check(
  'linears',
  'three weights',
  ([x, v, w, u]) => {
    const [a, b, c] = ops.linears(x!, [v!, w!, u!]);
    return a!.mul(b!).add(c!.square());
  },
  input([2, 3]),
  input([4, 3], 2),
  input([4, 3], 3),
  input([4, 3], 4),
);
check(
  'linears',
  'gated',
  ([x, gate, up]) => ops.gatedLinear(x!, gate!, up!),
  input([2, 3]),
  input([4, 3], 2),
  input([4, 3], 3),
);
for (const approximate of ['none', 'tanh'] as const)
  check(
    'geglu',
    approximate,
    ([gate, up]) => ops.geglu(gate!, up!, { approximate }),
    input([2, 5]),
    input([2, 5], 2),
  );
check('swiglu', 'one tensor twice', ([x]) => ops.swiglu(x!, x!), input([5]));
check(
  'embedding',
  'repeated ids',
  ([w], e) => ops.embedding(w!, ids(e, [4, 0, 4, 2, 4, 1], [2, 3])),
  input([5, 3]),
);
check(
  'crossEntropy',
  'ignored labels',
  ([x], e) => ops.crossEntropy(x!, ids(e, [2, -100, 0, 6], [4])),
  input([4, 7]),
);
check(
  'linearCrossEntropy',
  'ignored labels, both gradients',
  ([h, w], e) => ops.linearCrossEntropy(h!, w!, ids(e, [2, -100, 0, 6], [4])),
  input([4, 3]),
  input([7, 3], 2),
);
for (const [form, options] of [
  ['smoothed', { smoothing: 0.2 }],
  ['capped', { softcap: 1.5 }],
  ['smoothed and capped', { smoothing: 0.1, softcap: 2 }],
] as const) {
  check(
    'crossEntropy',
    form,
    ([x], e) => ops.crossEntropy(x!, ids(e, [2, -100, 0, 6], [4]), options),
    input([4, 7]),
  );
  check(
    'linearCrossEntropy',
    form,
    ([h, w], e) => ops.linearCrossEntropy(h!, w!, ids(e, [2, -100, 0, 6], [4]), options),
    input([4, 3]),
    input([7, 3], 2),
  );
}
check(
  'linearCrossEntropy',
  'several chunks',
  ([h, w], e) =>
    ops.linearCrossEntropy(
      h!,
      w!,
      ids(
        e,
        Array.from({ length: 130 }, (_, i) => (i % 4) - 1),
        [130],
      ),
    ),
  input([130, 2]),
  input([3, 2], 2),
);
const rowCases = [
  ['ignored labels', [4, 3], {}],
  ['capped and smoothed', [4, 3], { softcap: 1.5, smoothing: 0.1 }],
  ['several chunks', [130, 2], {}],
] as const;
for (const [name, shape, form] of rowCases)
  check(
    'linearCrossEntropyRows',
    `${name}, an upstream gradient of each row's own`,
    // Twice, and not linearly: the gradient of a row depends on the loss of it.
    ([h, w], e) => {
      const rows = Array.from({ length: shape[0] }, (_, i) => (i % 4) - 1);
      const { losses } = ops.linearCrossEntropyRows(h!, w!, ids(e, rows, [shape[0]]), form);
      return losses.mul(losses).add(losses.exp().mul(0.1));
    },
    input(shape),
    input([5, shape[1]], 2),
  );
check(
  'embeddingGrad',
  'rows put where their ids say',
  ([x], e) => ops.scatterRows(x!, ids(e, [4, 0, 4, 2], [4]), 6),
  input([4, 3]),
);
check(
  'embeddingGrad',
  'a padding row',
  ([x], e) =>
    e.run(ops.embeddingGradOp, [ids(e, [4, 0, 4, 2], [4]), x!], { rows: 6, paddingIdx: 4 })[0]!,
  input([4, 3]),
);
check(
  'rope',
  'all features',
  ([x], e) => ops.rope(x!, tables(e, 4), ids(e, [0, 3, 5, 1, 1, 2], [2, 3])),
  input([2, 3, 2, 8]),
);
check(
  'ropePair',
  'queries and keys',
  ([q, k], e) => {
    const [qt, kt] = ops.ropePair(q!, k!, tables(e, 4), ids(e, [0, 3, 5, 1, 1, 2], [2, 3]));
    return qt.mul(kt);
  },
  input([2, 3, 2, 8]),
  input([2, 3, 1, 8], 2),
);
check(
  'ropePair',
  'only the keys used',
  ([q, k], e) => ops.ropePair(q!, k!, tables(e, 4), ids(e, [0, 3, 5], [1, 3]))[1].add(q!.sum()),
  input([1, 3, 2, 8]),
  input([1, 3, 1, 8], 2),
);
check(
  'rope',
  'half of the features',
  ([x], e) => ops.rope(x!, tables(e, 2), ids(e, [0, 3, 5], [1, 3])),
  input([1, 3, 2, 8]),
);
check(
  'dropout',
  'one draw',
  ([x], e) => {
    e.dropoutDraws = 5; // the same mask in each evaluation
    return ops.dropout(x!, 0.4);
  },
  input([3, 7]),
);
check(
  'addNoise',
  'one draw',
  ([x], e) => {
    e.dropoutDraws = 5;
    return ops.addNoise(x!, 0.4).square();
  },
  input([3, 7]),
);
check('sumSquares', '[2, 3]', ([x]) => ops.sumSquares(x!), input([2, 3]));

function tables(engine: Engine, half: number) {
  const angles = Float32Array.from(
    { length: 6 * half },
    (_, i) => Math.floor(i / half) / 3 ** (i % half),
  );
  const turn = engine.tensor(angles, [6, half]);
  return { cos: turn.cos(), sin: turn.sin() };
}

// Attention
const qkv = (t: number, s: number, h: number, hKey: number, d = 4) =>
  [input([2, t, h, d]), input([2, s, hKey, d], 2), input([2, s, hKey, d], 3)] as const;
const packed = [0, 0, 1, 1, 1, 0, 1, 1, 2, -1];
check('attention', 'causal', ([q, k, v]) => ops.attention(q!, k!, v!), ...qkv(4, 4, 2, 2));
check('attention', 'grouped queries', ([q, k, v]) => ops.attention(q!, k!, v!), ...qkv(3, 3, 4, 2));
check(
  'attention',
  'one key-value head',
  ([q, k, v]) => ops.attention(q!, k!, v!),
  ...qkv(3, 3, 4, 1),
);
check(
  'attention',
  'not causal, own scale',
  ([q, k, v]) => ops.attention(q!, k!, v!, { causal: false, scale: 0.7 }),
  ...qkv(3, 3, 2, 1),
);
check(
  'attention',
  'window',
  ([q, k, v]) => ops.attention(q!, k!, v!, { window: 2 }),
  ...qkv(5, 5, 2, 1),
);
check(
  'attention',
  'soft cap',
  ([q, k, v]) => ops.attention(q!, k!, v!, { softcap: 0.4, window: 3 }),
  ...qkv(4, 4, 4, 2),
);
check(
  'attention',
  'segments, grouped queries',
  ([q, k, v], e) => ops.attention(q!, k!, v!, { segments: ids(e, packed, [2, 5]) }),
  ...qkv(5, 5, 4, 2),
);
check(
  'attention',
  'segments, not causal',
  ([q, k, v], e) => ops.attention(q!, k!, v!, { causal: false, segments: ids(e, packed, [2, 5]) }),
  ...qkv(5, 5, 2, 2),
);
check(
  'attention',
  'cached keys, spare capacity',
  ([q, k, v]) => ops.attention(q!, k!, v!, { queryOffset: 2 }),
  ...qkv(2, 5, 2, 1),
);
check(
  'attention',
  'one tensor as q, k and v',
  ([x]) => ops.attention(x!, x!, x!),
  input([1, 3, 2, 4]),
);

// Several ops: views, branches, a norm after a residual.
check(
  'matmul',
  'a small block',
  ([x, w, n]) => {
    const h = ops.rmsNorm(x!, n!, 1e-5);
    const up = ops.linear(h, w!).reshape(3, 2, 2, 2);
    return x!.add(
      ops
        .silu(up.permute(0, 2, 1, 3))
        .reshape(3, 8)
        .slice(1, 2, 6)
        .mul(h),
    );
  },
  input([3, 4]),
  input([8, 4], 2),
  input([4], 3),
);

// Quantised weights: 4 bits with scales of scales, 8 bits; each way round.
for (const kind of ['nf4', 'int8'] as const)
  for (const transposed of [false, true])
    check(
      'quantizedMatmul',
      `${kind}${transposed ? ', transposed' : ''}, with a bias`,
      ([x, bias], engine) => {
        const rng = new Rng(5);
        const numbers = Float32Array.from({ length: 3 * 8 }, () => rng.normal());
        const { codes, absmax, map } =
          kind === 'nf4'
            ? quant.quantizeBlockwise(numbers, quant.nf4Map(), 4)
            : quant.quantizeInt8(numbers, 8);
        const parts = [
          engine.tensor(new Uint32Array(codes.buffer), [codes.length / 4], 'uint32'),
          engine.tensor(absmax, [absmax.length]),
          engine.tensor(map, [map.length]),
        ];
        const attrs = {
          bits: kind === 'nf4' ? 4 : 8,
          blockSize: kind === 'nf4' ? 4 : 8,
          nested: false,
          offset: 0,
          outFeatures: 3,
          inFeatures: 8,
          transposed,
          scale: 0.5,
          accumulate: false,
          compute: 'float32',
        } as const;
        return engine.run(ops.quantizedMatmulOp, [x!, ...parts, bias!], attrs)[0]!.square();
      },
      input([2, 4, transposed ? 3 : 8]),
      input([transposed ? 8 : 3], 2),
    );

describe('gradients equal central differences', () => {
  it.each(Object.keys(cases))('%s', (name) => {
    const [fn, ...inputs] = cases[name]!;
    assertGradients(fn, inputs);
  });

  it('covers every op of the table that has a gradient', () => {
    // Backward rules are first order; updates in place and choices have no gradient; the gradient
    // of a cast passes straight through, which differences of rounded numbers cannot show
    // (tape.test.ts).
    const without =
      /(Grad|Into)$|^(equal|greater|less|argmax|chooseTokens|labelIsTop|rowStatistics|fill|assign|accumulate|writeRows|guardFinite|adamw|adamw8bit|adafactor|sgd|lion|clipFactor|updateLossScale|cast|dequantize)$/;
    const missing = opTable.map((op) => op.name).filter((n) => !without.test(n) && !covered.has(n));
    expect(missing).toEqual([]);
  });
});

describe('checkGradients', () => {
  it('sees a wrong gradient', () => {
    const wrong: Fn = ([x]) => x!.mul(x!.detach()); // half of the slope of x^2
    const { ok, message } = checkGradients(wrong, [input([3])]);
    expect(ok).toBe(false);
    expect(message).toMatch(/^input 0 \[3\], element \d: the tape says/);
  });

  it('sees a missing gradient', () => {
    expect(checkGradients(([x]) => x!.detach().add(x!.mul(0)), [input([3])]).ok).toBe(false);
  });
});

describe('ties share the gradient, as torch does', () => {
  const gradient = (values: readonly number[], fn: Fn) => {
    // At a tie, central differences give the mean of both sides, which is the even share of two.
    return checkGradients(fn, [{ shape: [values.length], values }]);
  };
  it('maximum of equal numbers', () => {
    expect(gradient([1, 2], ([x], e) => x!.maximum(e.tensor([1, 2]))).ok).toBe(true);
  });
  it('max of two equal numbers', () => {
    expect(gradient([1, 3, 3], ([x]) => x!.max(0)).ok).toBe(true);
  });
});
