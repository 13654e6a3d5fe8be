import { defineOp, Engine, ops, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { beforeEach, describe, expect, it } from 'vitest';

let backend: ReferenceBackend;
let engine: Engine;
beforeEach(() => {
  backend = new ReferenceBackend();
  engine = new Engine(backend);
});

/** A parameter: outlives the scopes. */
function leaf(...values: number[]): Tensor {
  const t = engine.keep(engine.tensor(values));
  t.requiresGrad = true;
  return t;
}
const values = (t: Tensor | null) => [...backend.peek(t!.operand)];

describe('backward', () => {
  it('a two-layer net by hand: dW2 = 2 (y - t) h, dW1 = 2 (y - t) W2 x', () => {
    const [w1, w2] = [leaf(0.5), leaf(-2)];
    const x = engine.tensor([3]);
    const y = x.mul(w1).mul(w2); // h = 1.5, y = -3
    engine.backward(y.sub(1).square());
    expect(values(w2.grad)).toEqual([2 * -4 * 1.5]);
    expect(values(w1.grad)).toEqual([2 * -4 * -2 * 3]);
  });

  it('starts with `scale`', () => {
    const x = leaf(1, 2);
    engine.backward(x.sum(), { scale: 0.25 });
    expect(values(x.grad)).toEqual([0.25, 0.25]);
  });

  it('makes the gradient of a product in its place: overwriting a stale one, then adding', () => {
    const w = engine.keep(engine.tensor([1, 2, 3, 4], [2, 2]));
    w.requiresGrad = true;
    const step = (x: number[]) =>
      engine.scope('step', () => engine.backward(engine.tensor(x, [1, 2]).matmul(w).sum()));
    step([1, 10]);
    const first = w.grad;
    expect(values(w.grad)).toEqual([1, 1, 10, 10]);
    w.gradIsStale = true;
    step([2, 3]);
    expect(values(w.grad)).toEqual([2, 2, 3, 3]);
    step([2, 3]);
    expect(values(w.grad)).toEqual([4, 4, 6, 6]);
    expect(w.grad).toBe(first);
  });

  it('adds to a gradient, and overwrites a stale one', () => {
    const x = leaf(1, 2);
    const step = () => engine.scope('step', () => engine.backward(x.mul(3).sum()));
    step();
    const first = x.grad;
    step();
    expect(values(x.grad)).toEqual([6, 6]);
    x.gradIsStale = true;
    step();
    expect(values(x.grad)).toEqual([3, 3]);
    expect(x.gradIsStale).toBe(false);
    expect(x.grad).toBe(first); // the same memory all the time
  });

  it('a leaf used through several views and ops collects from all of them', () => {
    const x = leaf(1, 2, 3, 4);
    const loss = x.reshape(2, 2).transpose().slice(0, 1, 2).sum().add(x.mul(10).sum());
    engine.backward(loss);
    expect(values(x.grad)).toEqual([10, 11, 10, 11]);
  });

  it('the gradient of a leaf is memory of its own, even when the rule passes a view on', () => {
    const [x, y] = [leaf(1, 2), leaf(3, 4)];
    engine.backward(x.add(y).sum());
    expect(x.grad!.storage).not.toBe(y.grad!.storage);
    ops.fill(x.grad!, 9);
    expect(values(y.grad)).toEqual([1, 1]);
  });

  it('the parameter itself as the loss has gradient 1', () => {
    const x = leaf(5);
    engine.backward(x, { scale: 2 });
    expect(values(x.grad)).toEqual([2]);
  });

  it('a cast passes the gradient straight through', () => {
    const x = leaf(1.001, -2.003);
    engine.backward(
      x
        .cast('bfloat16')
        .mul(engine.tensor([3, 5]))
        .sum(),
    );
    expect(values(x.grad)).toEqual([3, 5]);
  });

  it('refuses a loss of several elements and one without history', () => {
    expect(() => engine.backward(leaf(1, 2).mul(2))).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: NOT_A_SCALAR: backward: the loss has shape [2].
        Fix: Reduce it to one number, e.g. with sum().]
    `);
    expect(() => engine.backward(engine.ones([]))).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: NO_GRADIENT: backward: the loss depends on no trainable parameter.
        Fix: Unfreeze a parameter or apply an adapter, and compute the loss outside of noGrad().]
    `);
  });

  it('a second backward, or one after the scope of the forward, is an error and not silence', () => {
    const x = leaf(3);
    const loss = x.square().sum();
    engine.backward(loss);
    expect(() => engine.backward(loss)).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: HISTORY_GONE: backward: the ops that made 1 of the tensors that the loss depends on are no longer on the tape.
        Fix: Call backward once for each forward pass, inside of the scope that recorded it; what leaves a scope must be returned from it.]
    `);
    expect(values(x.grad)).toEqual([6]);

    let hidden: Tensor | undefined;
    engine.scope('forward', () => {
      hidden = engine.keep(x.mul(2));
    });
    expect(() => engine.backward(hidden!.square().sum())).toThrow(/HISTORY_GONE/);
  });

  it('a kept loss that leaves its scope keeps its history', () => {
    const x = leaf(3);
    const loss = engine.scope('forward', () => engine.keep(x.square().sum()));
    engine.backward(loss);
    expect(values(x.grad)).toEqual([6]);
    loss.dispose();
  });

  it('a rule may return an input as it is: the leaf gets memory of its own', () => {
    const product = defineOp({
      name: 'sumOfProduct',
      infer: () => [{ shape: [], dtype: 'float32' }],
      decompose: ([a, b]) => [a!.mul(b!).sum()],
      vjp: ({ inputs: [a, b] }) => [b!, a!],
    });
    const [x, y] = [leaf(1, 2), leaf(3, 4)];
    engine.backward(engine.scope('forward', () => engine.run(product, [x, y.mul(1)], {})[0]!));
    expect(values(x.grad)).toEqual([3, 4]);
    expect(values(y.grad)).toEqual([1, 2]);
    expect(x.grad!.storage).not.toBe(y.storage);
  });

  it('an op without a rule that passes its input on gives an output of its own', () => {
    const same = defineOp({
      name: 'same',
      infer: ([x]) => [x!],
      decompose: ([x]) => [x!],
    });
    const x = leaf(1, 2);
    const out = engine.run(same, [x], {})[0]!;
    engine.backward(out.sum());
    out.dispose();
    expect(x.isDisposed).toBe(false);
    expect(values(x.grad)).toEqual([1, 1]);
  });

  it('a backward rule that forgets to sum over broadcast axes is named', () => {
    const wrong = defineOp({
      name: 'wrong',
      infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
      decompose: ([x]) => [x!.mul(1)],
      vjp: ({ grads }) => [grads[0]!.sum()],
    });
    const x = leaf(1, 2);
    expect(() =>
      engine.backward(engine.run(wrong, [x], {})[0]!.sum()),
    ).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: VJP_SHAPE: the backward rule of "wrong" returned [] for input 0 of shape [2].
        Fix: A gradient has the shape of its input: sum over broadcast axes.]
    `);
    expect(engine.tape.length).toBe(0);
  });
});

describe('what is recorded', () => {
  it('nothing without a tensor that requires a gradient, in noGrad, or after detach', () => {
    const x = leaf(1, 2);
    engine.ones([2]).mul(2);
    engine.noGrad(() => x.mul(2).reshape(2, 1));
    x.detach().mul(2);
    expect(engine.tape.length).toBe(0);
    expect(engine.noGrad(() => x.mul(2)).requiresGrad).toBe(false);
    x.mul(2);
    expect(engine.tape.length).toBe(1);
  });

  it('noGrad ends with its function, even when that throws', () => {
    expect(() =>
      engine.noGrad(() => {
        throw new Error('no');
      }),
    ).toThrow('no');
    expect(engine.gradEnabled).toBe(true);
  });

  it('no gradient flows through detach', () => {
    const x = leaf(3);
    engine.backward(x.mul(x.detach()).sum());
    expect(values(x.grad)).toEqual([3]);
  });

  it('integers take no part: argmax and comparisons end the gradient', () => {
    const x = leaf(1, 5, 2);
    expect(ops.argmax(x, 0).requiresGrad).toBe(false);
    engine.backward(x.mul(ops.greater(x, engine.tensor([2, 2, 2]))).sum());
    expect(values(x.grad)).toEqual([0, 1, 0]);
  });

  it('a scope whose result has no history forgets what it recorded', () => {
    const x = leaf(1, 2);
    engine.scope('metric', () => {
      x.mul(2).exp();
    });
    expect(engine.tape.length).toBe(0);
    const loss = engine.scope('forward', () => x.mul(2).exp().sum());
    expect(engine.tape.length).toBe(3);
    engine.backward(loss);
    expect(values(x.grad)).toEqual([2 * Math.exp(2), 2 * Math.exp(4)]);
  });
});

describe('memory', () => {
  const network = (w: Tensor, n: Tensor) => {
    const x = engine.tensor([1, -2, 3, 0.5, 1, 2], [3, 2]);
    const h = ops.rmsNorm(x.matmul(w.reshape(2, 2)), n, 1e-5);
    return ops.crossEntropy(h.silu().mul(h), engine.tensor([0, 1, -100], [3], 'int32')).sum();
  };

  it('a step leaves what it found: gradients apart, no byte and no tensor more', () => {
    const [w, n] = [leaf(1, 2, 3, 4), leaf(1, 1)];
    const step = () => engine.scope('step', () => engine.backward(network(w, n)));
    step();
    const bytes = backend.stats.liveBytes;
    const tensors = engine.liveTensors;
    for (let i = 0; i < 3; i++) step();
    expect(backend.stats.liveBytes).toBe(bytes);
    expect(engine.liveTensors).toBe(tensors);
    expect(engine.tape.length).toBe(0);
    for (const t of [w.grad!, n.grad!, w, n]) t.dispose();
    expect(backend.stats.liveBytes).toBe(0);
  });

  it('an error in the middle of the forward, too', () => {
    const [w, n] = [leaf(1, 2, 3, 4), leaf(1, 1)];
    const bytes = backend.stats.liveBytes;
    expect(() =>
      engine.scope('step', () => {
        network(w, n);
        throw new Error('bad row');
      }),
    ).toThrow('bad row');
    expect(engine.tape.length).toBe(0);
    expect(backend.stats.liveBytes).toBe(bytes);
  });

  it('an error in the middle of the backward, too', () => {
    const noRule = defineOp({
      name: 'noRule',
      infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
      decompose: ([x]) => [x!.mul(1)],
      vjp: () => {
        throw new Error('no rule');
      },
    });
    const [w, n] = [leaf(1, 2, 3, 4), leaf(1, 1)];
    const bytes = backend.stats.liveBytes;
    expect(() =>
      engine.scope('step', () => {
        const x = w.mul(2);
        engine.backward(engine.run(noRule, [x], {})[0]!.sum().add(network(w, n).mul(0)));
      }),
    ).toThrow('no rule');
    for (const t of [w, n]) t.grad?.dispose();
    expect(engine.tape.length).toBe(0);
    expect(backend.stats.liveBytes).toBe(bytes);
  });

  it('the tape keeps only what the backward rules read', () => {
    const x = leaf(...new Array<number>(1000).fill(1));
    const before = backend.stats.liveBytes;
    // affine saves nothing and sum saves nothing: of both results, only the loss is alive.
    const loss = engine.scope('forward', () => x.mul(2).add(1).sum());
    expect(backend.stats.liveBytes - before).toBe(4);
    engine.backward(loss);
  });
});

describe('ops of other packages', () => {
  const shape = ([x]: readonly { shape: readonly number[] }[]) =>
    [{ shape: x!.shape, dtype: 'float32' }] as const;

  it('gradients flow through `decompose` where there is no vjp, kernel or not', () => {
    const cube = defineOp({
      name: 'cube',
      infer: shape,
      decompose: ([x]) => [x!.square().mul(x!)],
      reference: ({ inputs, outputs }) =>
        outputs[0]!.data.set(inputs[0]!.data.map((v: number) => v ** 3)),
    });
    for (const extraOps of [[], [cube]]) {
      backend = new ReferenceBackend(extraOps);
      engine = new Engine(backend);
      const x = leaf(2);
      engine.backward(engine.run(cube, [x], {})[0]!.sum());
      expect(values(x.grad)).toEqual([12]);
    }
  });

  it('an output that is an input passed through has a lifetime of its own', () => {
    const identity = defineOp({
      name: 'identity',
      infer: shape,
      decompose: ([x]) => [x!],
      vjp: ({ grads }) => [grads[0]!],
    });
    for (const x of [leaf(1, 2), engine.ones([2])]) {
      const y = engine.run(identity, [x], {})[0]!;
      y.dispose();
      expect(x.isDisposed).toBe(false);
    }
  });

  it('an op needs a meaning', () => {
    expect(() => defineOp({ name: 'empty', infer: shape })).toThrow('the op');
  });

  it('a backend without kernel for a primitive says so', () => {
    const primitive = defineOp({ name: 'primitive', infer: shape, reference: () => {} });
    expect(() => engine.run(primitive, [engine.ones([1])], {})).toThrowErrorMatchingInlineSnapshot(`
      [AttuneError: OP_UNSUPPORTED: backend "reference" has no kernel for op "primitive", and the op has no decomposition.
        Fix: Add a kernel, or give the op \`decompose\`.]
    `);
  });
});

describe('checkpoint', () => {
  const net = (w: Tensor) => (x: Tensor) => ops.dropout(x.mul(w).sin(), 0.5).mul(w);

  it('gives the gradients of the plain computation, dropout included', () => {
    const [w, u, x] = [leaf(0.5, -2, 3, 0.1), leaf(1, 2, -1, 4), leaf(1, 2, 3, 4)];
    const run = (through: (x: Tensor, fn: (x: Tensor) => Tensor) => Tensor) => {
      for (const t of [w, u, x]) t.gradIsStale = true;
      engine.dropoutDraws = 5;
      engine.scope('step', () => {
        const hidden = through(x, net(w));
        const out = through(hidden, net(u));
        engine.backward(out.add(hidden).square().sum());
      });
      return [...[w, u, x].map((t) => values(t.grad)), engine.dropoutDraws];
    };
    const plain = run((x, fn) => fn(x));
    const again = run((x, fn) => engine.checkpoint([x], ([x]) => fn(x!)));
    expect(again).toEqual(plain);
    expect(plain[0]).not.toEqual([0, 0, 0, 0]);
  });

  it('keeps its inputs alone', () => {
    const w = leaf(0.5, -2);
    const bytes = (through: (fn: () => Tensor) => Tensor) =>
      engine.scope('step', () => {
        const before = backend.stats.liveBytes;
        const out = through(() => w.sin().cos().exp().tanh());
        const held = backend.stats.liveBytes - before;
        engine.backward(out.sum());
        return held;
      });
    expect(bytes((fn) => engine.checkpoint([], fn))).toBe(8);
    expect(bytes((fn) => fn())).toBeGreaterThan(8 * 3);
  });

  it('one within another', () => {
    const x = leaf(0.3, 0.7);
    const inner = (t: Tensor) => engine.checkpoint([t], ([t]) => t!.sin().square());
    engine.backward(engine.checkpoint([x], ([t]) => inner(t!).mul(t!)).sum());
    const expected = [0.3, 0.7].map((v) => Math.sin(v) ** 2 + v * Math.sin(2 * v));
    values(x.grad).forEach((g, i) => {
      expect(g).toBeCloseTo(expected[i]!, 6);
    });
  });

  it('an input that stands twice, one that needs no gradient, an output that is an input', () => {
    const [x, c] = [leaf(2), engine.tensor([3])];
    engine.backward(engine.checkpoint([x, x, c], ([a, b, c]) => a!.mul(b!).mul(c!)).sum());
    expect(values(x.grad)).toEqual([12]);
    x.gradIsStale = true;
    engine.backward(
      engine
        .checkpoint([x], ([a]) => a!)
        .mul(5)
        .sum(),
    );
    expect(values(x.grad)).toEqual([5]);
  });

  it('records nothing where nothing is trainable, and nothing under noGrad', () => {
    const [w, x] = [leaf(2), engine.tensor([3])];
    expect(engine.checkpoint([x], ([x]) => x!.mul(2)).requiresGrad).toBe(false);
    expect(engine.noGrad(() => engine.checkpoint([x], ([x]) => x!.mul(w))).requiresGrad).toBe(
      false,
    );
    expect(engine.tape.length).toBe(0);
  });
});
