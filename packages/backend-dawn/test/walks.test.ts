import { defineOp, Engine, ops, type Tensor } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDawnBackend, type DawnBackend } from '../src/index.js';

let backend: DawnBackend;
beforeAll(async () => {
  backend = await createDawnBackend();
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

/** An engine on the device, and how often a recording of it was repeated. */
function counted(): { engine: Engine; repeated: () => number } {
  let repeated = 0;
  const device: DawnBackend = Object.create(backend);
  const own = (name: PropertyKey): unknown => {
    const value = Reflect.get(backend, name) as unknown;
    return typeof value === 'function' ? value.bind(backend) : value;
  };
  const proxy = new Proxy(device, {
    get: (_, name) =>
      name !== 'record'
        ? own(name)
        : (...args: Parameters<DawnBackend['record']>) => {
            const recording = backend.record(...args);
            return (
              recording && {
                dispatches: recording.dispatches,
                repeat: (later: number) => {
                  const isDone = recording.repeat(later);
                  if (isDone) repeated++;
                  return isDone;
                },
              }
            );
          },
  });
  return { engine: new Engine(proxy), repeated: () => repeated };
}

interface Program {
  readonly engine: Engine;
  readonly w: Tensor;
  readonly x: Tensor;
}

/** Steps of `loss`; between them `between`. @returns the gradient of w after each */
async function run(
  loss: (program: Program, step: number) => Tensor,
  between: (program: Program, step: number) => unknown = () => {},
  steps = 8,
): Promise<{ grads: number[][]; repeated: number }> {
  const { engine, repeated } = counted();
  const w = engine.keep(engine.tensor([1, 2, 3, 4]));
  w.requiresGrad = true;
  const x = engine.keep(engine.tensor([0.5, -1, 2, 3]));
  const program = { engine, w, x };
  const grads: number[][] = [];
  for (let step = 0; step < steps; step++) {
    w.gradIsStale = true;
    engine.scope('step', () => engine.backward(loss(program, step)));
    grads.push([...(await w.grad!.data())]);
    await between(program, step);
  }
  return { grads, repeated: repeated() };
}

const quadratic = ({ w, x }: Program) => w.mul(x).square().sum();
/** 2 w x^2 */
const itsGradient = [0.5, 4, 24, 72];
const all = (steps: number, of: (step: number) => number[]): number[][] =>
  Array.from({ length: steps }, (_, step) => of(step));

describe('a backward pass that is the same', () => {
  test('is walked twice and repeated from then on', async () => {
    const { grads, repeated } = await run(quadratic);
    expect(grads).toEqual(all(8, () => itsGradient));
    expect(repeated).toBeGreaterThanOrEqual(5);
  });

  test('sees what was written into its memory', async () => {
    const { grads, repeated } = await run(quadratic, ({ x }, step) =>
      backend.write(x.storage.buffer, 0, Float32Array.of(step, 1, 1, 1)),
    );
    expect(grads.slice(1)).toEqual(all(7, (step) => [2 * step ** 2, 4, 6, 8]));
    expect(repeated).toBeGreaterThanOrEqual(5);
  });

  test('adds where a gradient is not stale', async () => {
    const { grads } = await run((program, step) => {
      if (step > 2) program.w.gradIsStale = false;
      return quadratic(program);
    });
    const times = [1, 1, 1, 2, 3, 4, 5, 6];
    expect(grads).toEqual(times.map((n) => itsGradient.map((g) => n * g)));
  });

  test('draws its own random numbers', async () => {
    const masked = ({ w }: Program) => ops.dropout(w, 0.5).sum();
    const { grads, repeated } = await run(masked, undefined, 16);
    expect(repeated).toBeGreaterThanOrEqual(12);
    const { engine } = counted();
    const w = engine.tensor([1, 2, 3, 4]);
    for (const grad of grads) {
      const kept = await ops.dropout(w, 0.5).data();
      expect(grad).toEqual([...kept].map((value) => (value === 0 ? 0 : 2)));
    }
    expect(new Set(grads.map(String)).size).toBeGreaterThan(3);
  });

  test('with checkpointing draws them again', async () => {
    const masked = ({ engine, w }: Program) =>
      engine.checkpoint([w], ([v]) => ops.dropout(v!, 0.5).square()).sum();
    const { grads, repeated } = await run(masked, undefined, 16);
    expect(repeated).toBeGreaterThanOrEqual(12);
    const { engine } = counted();
    const w = engine.tensor([1, 2, 3, 4]);
    for (const grad of grads) {
      const kept = await ops.dropout(w, 0.5).data();
      expect(grad).toEqual([...kept].map((value) => 4 * value));
    }
  });
});

describe('what differs is walked', () => {
  test('a number', async () => {
    const scaled = ({ w }: Program, step: number) => w.mul(step < 5 ? 2 : 3).sum();
    const { grads, repeated } = await run(scaled);
    expect(grads).toEqual(all(8, (step) => Array(4).fill(step < 5 ? 2 : 3)));
    expect(repeated).toBeGreaterThan(0);
  });

  test('a number within a checkpoint, of an op that the tape does not record', async () => {
    const scaled = ({ engine, w, x }: Program, step: number) =>
      engine.checkpoint([w, x], ([v, u]) => v!.mul(u!.mul(step < 5 ? 2 : 3))).sum();
    const { grads, repeated } = await run(scaled);
    const of = (by: number) => [0.5 * by, -1 * by, 2 * by, 3 * by];
    expect(grads).toEqual(all(8, (step) => of(step < 5 ? 2 : 3)));
    expect(repeated).toBeGreaterThan(0);
  });

  test('a number within a checkpoint that is written, not computed', async () => {
    const scaled = ({ engine, w }: Program, step: number) =>
      engine.checkpoint([w], ([v]) => v!.mul(engine.tensor([1, 1, 1, step]))).sum();
    const { grads, repeated } = await run(scaled);
    expect(grads).toEqual(all(8, (step) => [1, 1, 1, step]));
    expect(repeated).toBe(0);
  });

  test('an op', async () => {
    const one = ({ w }: Program, step: number) => (step < 5 ? w.square() : w.neg()).sum();
    const { grads } = await run(one);
    expect(grads).toEqual(all(8, (step) => (step < 5 ? [2, 4, 6, 8] : [-1, -1, -1, -1])));
  });

  test('a shape', async () => {
    const some = ({ w }: Program, step: number) => (step < 5 ? w : w.slice(0, 0, 2)).mul(2).sum();
    const { grads } = await run(some);
    expect(grads).toEqual(all(8, (step) => (step < 5 ? [2, 2, 2, 2] : [2, 2, 0, 0])));
  });

  test('where a gradient flows', async () => {
    const { grads } = await run(({ engine, w, x }, step) => {
      x.requiresGrad = step < 5;
      const product = w.mul(x);
      return (step === 6 ? engine.noGrad(() => product.mul(1)).add(w) : product).sum();
    });
    expect(grads).toEqual(all(8, (step) => (step === 6 ? [1, 1, 1, 1] : [0.5, -1, 2, 3])));
  });

  test('the place of a gradient', async () => {
    const { grads } = await run(quadratic, ({ engine, w }, step) => {
      if (step !== 4) return;
      w.grad!.dispose();
      w.grad = null;
      engine.keep(engine.zeros([4])); // takes its memory
    });
    expect(grads).toEqual(all(8, () => itsGradient));
  });

  test('the place of what was borrowed, and of what was there', async () => {
    const kept: Tensor[] = [];
    const { grads } = await run(quadratic, ({ engine }, step) => {
      if (step === 4) for (let i = 0; i < 4; i++) kept.push(engine.keep(engine.full([4], 9)));
    });
    expect(grads).toEqual(all(8, () => itsGradient));
    for (const tensor of kept) expect([...(await tensor.data())]).toEqual([9, 9, 9, 9]);
  });

  test('what someone else holds is not written over', async () => {
    const held: Tensor[] = [];
    const twice = ({ engine, w }: Program, step: number) => {
      const y = w.mul(3);
      if (step >= 5) held.push(engine.keep(y.detach()));
      return y.square().add(y).sum();
    };
    const { grads } = await run(twice);
    expect(grads).toEqual(all(8, () => [21, 39, 57, 75]));
    for (const y of held) expect([...(await y.data())]).toEqual([3, 6, 9, 12]);
  });

  test('the pool was emptied', async () => {
    const { grads } = await run(quadratic, (_, step) => (step % 3 === 2 ? backend.trim() : null));
    expect(grads).toEqual(all(8, () => itsGradient));
  });
});

describe('what lies between', () => {
  test('a forward pass without a backward pass, and one that fails', async () => {
    const { grads } = await run(quadratic, ({ engine, w }, step) => {
      if (step === 3) engine.scope('other', () => void w.mul(7).sum());
      if (step === 4)
        expect(() =>
          engine.scope('other', () => {
            w.mul(8);
            throw new Error('here');
          }),
        ).toThrow('here');
    });
    expect(grads).toEqual(all(8, () => itsGradient));
  });

  test('a rehearsal, also in the middle of a step', async () => {
    const rehearsed = ({ engine, w, x }: Program) => {
      const y = w.mul(x);
      engine.rehearse(() => void w.square().sum());
      return y.square().sum();
    };
    const { grads, repeated } = await run(rehearsed, ({ engine, w }) =>
      engine.rehearse(() => engine.backward(w.square().sum())),
    );
    expect(grads).toEqual(all(8, () => itsGradient));
    expect(repeated).toBeGreaterThan(0);
  });

  test('many shapes: paths are forgotten, not piled up', async () => {
    const { engine, repeated } = counted();
    const w = engine.keep(engine.ones([64]));
    w.requiresGrad = true;
    for (let i = 0; i < 200; i++) {
      w.gradIsStale = true;
      engine.scope('step', () =>
        engine.backward(
          w
            .slice(0, 0, 1 + (i % 64))
            .mul(i)
            .sum(),
        ),
      );
      if (i % 50 === 0) expect((await w.grad!.data())[0]).toBe(i);
    }
    expect(repeated()).toBe(0);
  });
});

test('an op of a plugin that keeps its own counsel is walked: its definition is new in each step', async () => {
  const scaled = ({ engine, w }: Program, step: number) => {
    const own = defineOp({
      name: 'own',
      infer: ([spec]) => [spec!],
      decompose: ([v]) => [v!.mul(1)],
      vjp: ({ grads: [g] }) => [g!.mul(step)],
    });
    return engine.run(own, [w], {})[0]!.sum();
  };
  const { grads, repeated } = await run(scaled);
  expect(grads).toEqual(all(8, (step) => [step, step, step, step]));
  expect(repeated).toBe(0);
});
