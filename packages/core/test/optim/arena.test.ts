import { AttuneError } from '@attune/core';
import { AdamW } from '@attune/core/training';
import { expect, test } from 'vitest';
import { ParameterArena } from '../../src/optim/arena.js';
import { Bag, peek, precise, referenceEngine, setGrad } from './support.js';

const count = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i);

test('parameters keep their values, start at multiples of 256 bytes and share chunks', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  const sizes = [3, 64, 65, 1];
  for (const [i, n] of sizes.entries()) bag.add(`p${i}`, precise(engine, count(n, 10 * i), [n]));
  const arena = new ParameterArena(engine, bag.named);
  expect(arena.chunks).toHaveLength(1);
  expect(arena.chunks[0]!.slots.map((s) => s.offset)).toEqual([0, 64, 128, 256]);
  bag.named.forEach(({ parameter }, i) => {
    expect(peek(parameter.tensor)).toEqual(count(sizes[i]!, 10 * i));
    expect(parameter.tensor.byteOffset % 256).toBe(0);
    expect(parameter.trainable).toBe(true);
  });
});

test('a chunk is cut where it would grow beyond the limit; a larger parameter has its own', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  for (const [i, n] of [100, 100, 300, 10].entries()) bag.add(`p${i}`, engine.zeros([n]));
  const arena = new ParameterArena(engine, bag.named, 256 * 4);
  expect(arena.chunks.map((c) => c.slots.map((s) => s.name))).toEqual([
    ['p0', 'p1'],
    ['p2'],
    ['p3'],
  ]);
});

test('backward writes into the windows; what it did not reach counts as zero', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  const a = bag.add('a', precise(engine, [1, 2], [2]));
  const b = bag.add('b', precise(engine, [3, 4], [2]));
  const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]);
  const step = (loss: () => ReturnType<typeof engine.ones>) => {
    engine.scope('step', () => engine.backward(loss()));
    const clip = adamw.clipGradNorm(0);
    const [norm] = peek(clip);
    adamw.step({ lr: 0, clip });
    adamw.zeroGrad();
    return norm;
  };
  expect(step(() => a.tensor.mul(3).sum().add(b.tensor.mul(4).sum()))).toBeCloseTo(Math.sqrt(50));
  // Only a this time: the old gradient of b must not count again.
  expect(step(() => a.tensor.mul(3).sum())).toBeCloseTo(Math.sqrt(18));
  // Two backwards of one step add up.
  engine.scope('two', () => {
    engine.backward(a.tensor.sum());
    engine.backward(a.tensor.sum());
  });
  expect(peek(a.tensor.grad!)).toEqual([2, 2]);
});

test('a trainable parameter of 16 bits is refused', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  bag.add('half.weight', engine.zeros([2], 'bfloat16'));
  expect(() => new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }])).toThrow(
    /OPTIMIZER_DTYPE: "half.weight" is trainable and stored as bfloat16/,
  );
});

test('a parameter exchanged behind its back is found out', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  const p = bag.add('p', engine.zeros([2]));
  const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]);
  p.replace(engine.zeros([2]));
  expect(() => adamw.clipGradNorm(1)).toThrow(/OPTIMIZER_DETACHED: "p"/);
});

test('state goes out and comes back; another model is refused', async () => {
  const engine = await referenceEngine();
  const make = (size: number) => {
    const bag = new Bag();
    const p = bag.add('p', precise(engine, count(size), [size]));
    return { p, adamw: new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]) };
  };
  const one = make(3);
  const update = ({ p, adamw }: ReturnType<typeof make>) => {
    setGrad(p, [0.5, -0.25, 1]);
    adamw.step({ lr: 0.125, clip: adamw.clipGradNorm(0) });
  };
  update(one);
  const saved = new Map(one.adamw.exportState().map((s) => [s.name, s]));
  const two = make(3);
  await two.adamw.importState(1, async (name) => saved.get(name)?.data());
  expect(two.adamw.stepCount).toBe(1);
  for (const { name, data } of two.adamw.exportState())
    expect(await data()).toEqual(await saved.get(name)!.data());
  const other = make(4);
  await expect(other.adamw.importState(1, async (name) => saved.get(name)?.data())).rejects.toThrow(
    /OPTIMIZER_STATE.*3 numbers for "exp_avg.p".*\[4\]/,
  );
});

test('dispose frees gradients and moments; parameters live on', async () => {
  const engine = await referenceEngine();
  const bag = new Bag();
  const p = bag.add('p', precise(engine, count(100), [100]));
  const before = engine.backend.stats.liveBytes;
  const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]);
  adamw.dispose();
  expect(peek(p.tensor)).toEqual(count(100));
  expect(engine.backend.stats.liveBytes).toBe(before);
  expect(() => new AdamW(engine, [])).toThrow(AttuneError);
});
