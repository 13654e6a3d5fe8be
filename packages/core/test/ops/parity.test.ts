import { readFileSync } from 'node:fs';
import { Engine, numel, ops, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import type { CrossEntropyOptions } from '@attune/core/tensor';
import { describe, expect, it } from 'vitest';

// What torch, transformers and TRL compute (parity/README.md), against our ops in float64.

interface FixtureTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: readonly (number | string)[];
}
interface Tolerance {
  readonly abs: number;
  readonly rel: number;
}
type Named = Readonly<Record<string, FixtureTensor>>;
interface FixtureCase {
  readonly name: string;
  readonly inputs: Named;
  readonly attrs: Readonly<Record<string, unknown>>;
  readonly outputs: Readonly<Record<string, FixtureTensor | number | string>>;
  readonly grads: Named;
  readonly tolerance?: Tolerance;
}
interface Fixture {
  readonly tolerance: Tolerance & Readonly<Record<'float32' | 'float64', Tolerance>>;
  readonly cases: readonly FixtureCase[];
}

const row = (file: string): Fixture =>
  JSON.parse(
    readFileSync(new URL(`../../../../parity/fixtures/${file}.json`, import.meta.url), 'utf8'),
  );

/** An engine on the float64 oracle, and the way in and out of it. */
class Oracle {
  readonly backend = new ReferenceBackend();
  readonly engine = new Engine(this.backend);

  /** The fixture's numbers in full precision; a float tensor takes gradients. */
  leaf({ dtype, shape, data }: FixtureTensor): Tensor {
    const values = data.map(Number);
    if (dtype === 'int32') return this.engine.tensor(Int32Array.from(values), shape, 'int32');
    const tensor = this.engine.empty(shape);
    if (tensor.size > 0) this.backend.poke(tensor.operand, values);
    tensor.requiresGrad = true;
    return tensor;
  }

  leaves(tensors: Named): Record<string, Tensor> {
    return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, this.leaf(t)]));
  }

  values(tensor: Tensor): Float64Array {
    return this.backend.peek(tensor.operand);
  }
}

function withEngine() {
  const oracle = new Oracle();
  return { oracle, engine: oracle.engine };
}

const numbersOf = (value: FixtureTensor | number | string): number[] =>
  typeof value === 'object' ? value.data.map(Number) : [Number(value)];

function expectClose(
  got: ArrayLike<number>,
  expected: FixtureTensor | number | string,
  { abs, rel }: Tolerance,
): void {
  const wanted = numbersOf(expected);
  expect(got.length).toBe(wanted.length);
  const off = wanted.flatMap((e, i) => {
    const g = got[i]!;
    const same = Object.is(g, e) || g === e || Math.abs(g - e) <= abs + rel * Math.abs(e);
    return same ? [] : [`[${i}]: got ${g}, expected ${e}`];
  });
  expect(off).toEqual([]);
}

/**
 * What float64 arithmetic in another order leaves, whatever a fixture's own tolerance would allow.
 */
const double: Tolerance = { abs: 1e-10, rel: 1e-9 };

describe.each(['row01-cross-entropy', 'row02-cross-entropy-num-items'])('%s', (file) => {
  const fixture = row(file);
  it.each(fixture.cases.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, grads, attrs } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const { logits, labels } = oracle.leaves(inputs) as { logits: Tensor; labels: Tensor };
    const [b, t, v] = logits.shape as [number, number, number];
    const nll = ops.crossEntropy(
      logits.slice(1, 0, t - 1).reshape(b * (t - 1), v),
      labels.slice(1, 1, t).reshape(b * (t - 1)),
    );
    const items = Number(attrs.numItems ?? attrs.validShiftedLabels);
    const loss = nll.sum();
    engine.backward(loss, { scale: 1 / items });
    const value = oracle.values(loss)[0]! / items;
    expectClose([value], outputs.lossFloat64!, double);
    expectClose([value], outputs.loss!, fixture.tolerance);
    expectClose(oracle.values(logits.grad!), grads.logits!, double);
    // Near zero, torch's float32 gradient keeps the rounding of softmax: 1 ulp of 1 over the items.
    expectClose(oracle.values(logits.grad!), grads.logitsFloat32!, { abs: 2e-7, rel: 1e-6 });
  });
});

describe('row04-selective-log-softmax', () => {
  const fixture = row('row04-selective-log-softmax');
  it.each(fixture.cases.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, tolerance } = fixture.cases.find((c) => c.name === name)!;
    const { oracle } = withEngine();
    const { logits, index } = oracle.leaves(inputs) as { logits: Tensor; index: Tensor };
    const logps = ops.crossEntropy(logits.reshape(-1, logits.shape[2]!), index.reshape(-1)).neg();
    const own = name.startsWith('float64') ? double : (tolerance ?? fixture.tolerance);
    expectClose(oracle.values(logps), outputs.logps!, own);
  });
});

describe('row05-entropy', () => {
  const fixture = row('row05-entropy');
  it.each(fixture.cases.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, grads } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const logits = oracle.leaf(inputs.logits!);
    const logP = logits.logSoftmax();
    const entropy = logP.exp().mul(logP).sum(-1).neg();
    expectClose(oracle.values(entropy), outputs.entropy!, double);
    engine.backward(entropy.sum());
    expectClose(oracle.values(logits.grad!), grads.logits!, double);
  });
});

describe('row07-loss-forms', () => {
  for (const { name, inputs, attrs, outputs, grads } of row('row07-loss-forms').cases) {
    const { numItems, ...form } = attrs as { numItems: number } & CrossEntropyOptions;
    const [b, t, v] = inputs.logits!.shape as [number, number, number];
    // Each position predicts the next label; the last one predicts nothing.
    const shifted = Int32Array.from(inputs.labels!.data, (_, i) =>
      (i + 1) % t === 0 ? -100 : Number(inputs.labels!.data[i + 1]),
    );
    // LabelSmoother adds up the vocabulary in float32.
    const tolerance = form.smoothing ? 1e-6 : 1e-12;

    it(`${name}, whole and with the output layer`, () => {
      const logits = new Oracle().leaf(inputs.logits!);
      const labels = logits.engine.tensor(shifted, [b * t], 'int32');
      const losses = ops.crossEntropy(logits.reshape(b * t, v), labels, form);
      const peek = (x: Tensor) => (x.engine.backend as ReferenceBackend).peek(x.operand);
      const total = peek(losses).reduce((sum, x) => sum + x, 0) / numItems;
      const expected = Number((outputs.loss as FixtureTensor).data[0]);
      expect(Math.abs(total - expected)).toBeLessThanOrEqual(tolerance * Math.abs(expected));
      logits.engine.backward(losses.sum(), { scale: 1 / numItems });
      const near = (got: ArrayLike<number>) =>
        grads.logits!.data.forEach((value, i) => {
          expect(Math.abs(got[i]! - Number(value))).toBeLessThanOrEqual(1e-7);
        });
      near(peek(logits.grad!));

      // The logits as a product with the identity: d hidden is d logits.
      const hidden = new Oracle().leaf({ ...inputs.logits!, shape: [b * t, v] });
      const identity = hidden.engine.tensor(
        Float32Array.from({ length: v * v }, (_, i) => Number(i % (v + 1) === 0)),
        [v, v],
      );
      const targets = hidden.engine.tensor(shifted, [b * t], 'int32');
      const loss = ops.linearCrossEntropy(hidden, identity, targets, form);
      expect(Math.abs(peek(loss)[0]! / numItems - expected)).toBeLessThanOrEqual(
        tolerance * Math.abs(expected),
      );
      hidden.engine.backward(loss, { scale: 1 / numItems });
      near(peek(hidden.grad!));
    });
  }
});

describe('row06-chunked-cross-entropy', () => {
  const fixture = row('row06-chunked-cross-entropy');
  const runs = fixture.cases.flatMap((c) =>
    (c.attrs.chunks as number[]).map((chunks) => [c.name, chunks] as const),
  );
  it.each(runs)('%s in %i chunks', (name, chunks) => {
    const { inputs, outputs, grads } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const { hidden, weight, labels } = oracle.leaves(inputs) as Record<
      'hidden' | 'weight' | 'labels',
      Tensor
    >;
    const rows = hidden.shape[0]! / chunks;
    let total = engine.zeros([]);
    for (let i = 0; i < chunks; i++) {
      const logits = hidden.slice(0, i * rows, (i + 1) * rows).matmul(weight, { transposeB: true });
      total = total.add(ops.crossEntropy(logits, labels.slice(0, i * rows, (i + 1) * rows)).sum());
    }
    const items = inputs.labels!.data.filter((label) => Number(label) >= 0).length;
    engine.backward(total, { scale: 1 / items });
    expectClose([oracle.values(total)[0]! / items], outputs.loss!, double);
    expectClose(oracle.values(hidden.grad!), grads.hidden!, double);
    expectClose(oracle.values(weight.grad!), grads.weight!, double);
  });
});

describe('row08-ops', () => {
  const fixture = row('row08-ops');
  const plain = fixture.cases.filter((c) => !c.inputs.keyMask);
  it.each(plain.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, grads, attrs } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const leaves = oracle.leaves(inputs);
    const out = runOp(oracle, leaves, attrs);
    expectClose(oracle.values(out), outputs.out!, fixture.tolerance.float64);
    engine.backward(out.mul(oracle.leaf(outputs.dOut as FixtureTensor).detach()).sum());
    for (const [input, grad] of Object.entries(grads))
      expectClose(oracle.values(leaves[input]!.grad!), grad, fixture.tolerance.float64);
  });
});

describe('row08-ops: keys masked as padding', () => {
  const fixture = row('row08-ops');
  const { inputs, outputs, grads } = fixture.cases.find((c) => c.inputs.keyMask)!;
  const real = 3; // of the 5 tokens of the second row; the first row has no padding

  type Attend = (q: Tensor, k: Tensor, v: Tensor, mask: Tensor) => Tensor;
  /** Output and gradients for dOut, which is set to 0 at padding unless `whole`. */
  function run(attend: Attend, whole: boolean) {
    const { oracle, engine } = withEngine();
    const { q, k, v, keyMask } = oracle.leaves(inputs) as Record<string, Tensor>;
    const dOut = outputs.dOut as FixtureTensor;
    const perToken = numel(dOut.shape.slice(2));
    const data = dOut.data.map((g, i) => (whole || i < (5 + real) * perToken ? g : 0));
    const out = attend(q!, k!, v!, keyMask!);
    engine.backward(out.mul(oracle.leaf({ ...dOut, data }).detach()).sum());
    const [dQ, dK, dV] = [q!, k!, v!].map((t) => oracle.values(t.grad!));
    return {
      out: oracle.values(out).subarray(0, whole ? undefined : (5 + real) * perToken),
      dQ: dQ!,
      dK: dK!,
      dV: dV!,
    };
  }

  /** Hugging Face's meaning in three calls: queries at padding look at the real keys. */
  const threeCalls: Attend = (q, k, v) => {
    const part = (t: Tensor, row: number, from: number, to: number) =>
      t.slice(0, row, row + 1).slice(1, from, to);
    const keys = [part(k, 1, 0, real), part(v, 1, 0, real)] as const;
    const first = ops.attention(part(q, 0, 0, 5), part(k, 0, 0, 5), part(v, 0, 0, 5));
    const second = ops.attention(part(q, 1, 0, real), ...keys);
    const padding = ops.attention(part(q, 1, real, 5), ...keys, { causal: false, queryOffset: 1 });
    return ops.concat([first, ops.concat([second, padding], 1)], 0);
  };
  /** Ours: padding is a segment of its own. Its queries see other keys, and nobody reads them. */
  const asSegments: Attend = (q, k, v, mask) => ops.attention(q, k, v, { segments: mask });

  it('the three calls give the numbers of the fixture', () => {
    const { out, dQ, dK, dV } = run(threeCalls, true);
    const tolerance = fixture.tolerance.float64;
    expectClose(out, outputs.out!, tolerance);
    expectClose(dQ, grads.q!, tolerance);
    expectClose(dK, grads.k!, tolerance);
    expectClose(dV, grads.v!, tolerance);
  });

  it('segments give the same at real tokens, gradients included', () => {
    const expected = run(threeCalls, false);
    for (const [name, got] of Object.entries(run(asSegments, false))) {
      const data = [...expected[name as 'out']];
      expectClose(got, { dtype: 'float64', shape: [], data }, fixture.tolerance.float64);
    }
  });
});

function runOp(
  oracle: Oracle,
  inputs: Readonly<Record<string, Tensor>>,
  attrs: Readonly<Record<string, unknown>>,
): Tensor {
  const get = (name: string): Tensor => inputs[name]!;
  const { engine } = oracle;
  switch (attrs.op) {
    case 'matmul':
      return get('a').matmul(get('b'), {
        transposeA: attrs.transA as boolean,
        transposeB: attrs.transB as boolean,
      });
    case 'linear':
      return ops.linear(get('input'), get('weight'), get('bias'));
    case 'rmsNorm':
      return ops.rmsNorm(get('x'), get('weight'), attrs.eps as number);
    case 'layerNorm': {
      const bias = inputs.bias ?? engine.zeros(get('weight').shape);
      return ops.layerNorm(get('x'), get('weight'), bias, attrs.eps as number);
    }
    case 'siluMul':
      return ops.swiglu(get('gate'), get('up'));
    case 'softmax':
      return get('x').softmax();
    case 'logSoftmax':
      return get('x').logSoftmax();
    case 'gelu':
      return get('x').gelu(attrs.approximate as 'none' | 'tanh');
    case 'embedding':
      return ops.embedding(get('weight'), get('ids'));
    case 'rope':
      return ops.rope(
        get('x'),
        rotaryTables(oracle, get('x'), attrs.theta as number),
        get('positions'),
      );
    case 'attention': {
      const [q, k] = [get('q'), get('k')];
      return ops.attention(q, k, get('v'), {
        causal: attrs.causal as boolean,
        queryOffset: k.shape[1]! - q.shape[1]!,
      });
    }
    default:
      throw new Error(`row 8 has an op that this test does not know: ${attrs.op}`);
  }
}

/** cos and sin of position * theta^(-2i/D), in float64. */
function rotaryTables({ engine, backend }: Oracle, x: Tensor, theta: number) {
  const half = x.shape[3]! / 2;
  const angles = Float64Array.from(
    { length: 128 * half },
    (_, i) => Math.floor(i / half) / theta ** ((i % half) / half),
  );
  const table = (fn: (angle: number) => number): Tensor => {
    const t = engine.empty([128, half]);
    backend.poke(t.operand, angles.map(fn));
    return t;
  };
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

interface AdamSettings {
  readonly lr: number;
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
}

const adamwAttrs = ({ lr, weightDecay, betas, eps }: AdamSettings, step: number) => ({
  lr,
  weightDecay,
  beta1: betas[0],
  beta2: betas[1],
  eps,
  biasCorrection1: 1 - betas[0] ** step,
  biasCorrection2: 1 - betas[1] ** step,
});

describe('row17-adamw-one-step', () => {
  const fixture = row('row17-adamw-one-step');
  it.each(fixture.cases.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, attrs } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const parameter = oracle.leaf(inputs.p!);
    const [first, second] = [engine.zeros(parameter.shape), engine.zeros(parameter.shape)];
    const settings = adamwAttrs(attrs as unknown as AdamSettings, attrs.step as number);
    ops.adamw(
      { parameter, first, second },
      oracle.leaf(inputs.g!),
      engine.tensor([1, 1, 1]),
      settings,
    );
    const tolerance = name.endsWith('float64') ? double : fixture.tolerance;
    expectClose(oracle.values(parameter), outputs.p!, tolerance);
    expectClose(oracle.values(first), outputs.m!, tolerance);
    expectClose(oracle.values(second), outputs.v!, tolerance);
  });
});

describe('row18-adamw-20-steps', () => {
  const fixture = row('row18-adamw-20-steps');
  // The cases about decay groups belong to the optimizer.
  const runs = fixture.cases.filter((c) => c.name.startsWith('20-steps'));
  it.each(runs.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, attrs } = fixture.cases.find((c) => c.name === name)!;
    const { lrPerStep, betas, eps } = attrs as unknown as AdamSettings & { lrPerStep: number[] };
    const { oracle, engine } = withEngine();
    const names = Object.keys(inputs).filter((n) => n.startsWith('p'));
    const perStep = (outputs.allParamsPerStep as FixtureTensor).data;
    // The first rate is 0, so after step 1 the parameters are what they were before it. (In the
    // float64 case `inputs.p<i>` are those after step 20: torch updated them in place.)
    let start = 0;
    const states = names.map((n) => {
      const { dtype, shape } = inputs[n]!;
      const data = perStep.slice(start, start + numel(shape));
      start += data.length;
      const parameter = oracle.leaf({ dtype, shape, data });
      const moment = () => engine.zeros(parameter.shape);
      return { parameter, first: moment(), second: moment() };
    });
    const clip = engine.tensor([1, 1, 1]);
    const tolerance = fixture.tolerance[name.endsWith('float64') ? 'float64' : 'float32'];
    lrPerStep.forEach((lr, step) => {
      states.forEach((state, i) => {
        const size = numel(state.parameter.shape);
        const all = inputs[`g${i}`]!;
        const grad = oracle.leaf({
          dtype: all.dtype,
          shape: state.parameter.shape,
          data: all.data.slice(step * size, (step + 1) * size),
        });
        const weightDecay = i < 5 ? 0.1 : 0; // attrs.weightDecay: p0-p4, p5-p9
        ops.adamw(state, grad, clip, adamwAttrs({ lr, weightDecay, betas, eps }, step + 1));
      });
      const parameters = states.flatMap((s) => [...oracle.values(s.parameter)]);
      const expected = perStep.slice(step * parameters.length, (step + 1) * parameters.length);
      expectClose(parameters, { dtype: '', shape: [], data: expected }, tolerance);
    });
    states.forEach((state, i) => {
      expectClose(oracle.values(state.first), outputs[`m${i}`]!, tolerance);
      expectClose(oracle.values(state.second), outputs[`v${i}`]!, tolerance);
    });
  });
});

describe('row20-clip-grad-norm', () => {
  const fixture = row('row20-clip-grad-norm');
  it.each(fixture.cases.map((c) => c.name))('%s', (name) => {
    const { inputs, outputs, attrs } = fixture.cases.find((c) => c.name === name)!;
    const { oracle, engine } = withEngine();
    const coefficient = Number(outputs.coefficient);
    const normal = Number.isFinite(numbersOf(outputs.totalNorm!)[0]!);
    const grads = Object.keys(inputs).map((g) => oracle.leaf(inputs[g] as FixtureTensor).detach());
    const clip = ops.clipFactor(ops.concat(grads.map(ops.sumSquares), 0), attrs.maxNorm as number);
    const [norm, factor, finite] = oracle.values(clip);
    expect(finite).toBe(normal ? 1 : 0);
    if (!normal) return; // torch writes NaN into the gradients; ours skips the update
    expectClose([norm!], outputs.totalNorm!, fixture.tolerance);
    expectClose([factor!], coefficient, fixture.tolerance);
    grads.forEach((g, i) => {
      const clipped = g.mul(engine.full(g.shape, factor!));
      expectClose(oracle.values(clipped), outputs[`clipped${i}`]!, fixture.tolerance);
    });
  });
});
