import { createAttune, silentLogger } from '@attune/core';
import { RMSNorm } from '@attune/core/nn';
import { AdamW, decayGroups } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { tinyLlama } from '../trainer/support.js';
import { Bag, fixtureJson, numbers, peek, precise, referenceEngine, setGrad } from './support.js';

const closeTo = (ours: readonly number[], theirs: readonly number[], abs: number, rel: number) => {
  expect(ours).toHaveLength(theirs.length);
  ours.forEach((value, i) => {
    expect(Math.abs(value - theirs[i]!)).toBeLessThanOrEqual(abs + rel * Math.abs(theirs[i]!));
  });
};

describe('row 17: one step of torch.optim.AdamW', () => {
  const { cases } = fixtureJson('row17-adamw-one-step.json');
  for (const { name, inputs, attrs, outputs } of cases)
    test(name, async () => {
      const engine = await referenceEngine();
      const bag = new Bag();
      const p = bag.add('p', precise(engine, numbers(inputs.p), [1]));
      const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: attrs.weightDecay }], {
        eps: attrs.eps,
      });
      setGrad(p, numbers(inputs.g));
      adamw.step({ lr: attrs.lr, clip: adamw.clipGradNorm(0) });
      closeTo(peek(p.tensor), numbers(outputs.p), 1e-12, name.endsWith('64') ? 1e-12 : 1e-6);
      const state = new Map(adamw.exportState().map((s) => [s.name, s]));
      closeTo([...(await state.get('exp_avg.p')!.data())], numbers(outputs.m), 1e-9, 1e-6);
      closeTo([...(await state.get('exp_avg_sq.p')!.data())], numbers(outputs.v), 1e-9, 1e-6);
    });
});

test('row 18: twenty steps in two groups, every step of every parameter', async () => {
  const { cases } = fixtureJson('row18-adamw-20-steps.json');
  const single = cases.find((c: { name: string }) => c.name === '20-steps-float32');
  const double = cases.find((c: { name: string }) => c.name === '20-steps-float64');
  const engine = await referenceEngine();
  const bag = new Bag();
  // Start values from the float32 case: exact in both, and untouched by torch's in-place update.
  const parameters = Array.from({ length: 10 }, (_, i) => {
    const start = single.inputs[`p${i}`];
    return bag.add(`p${i}`, precise(engine, numbers(start), start.shape));
  });
  const { named } = bag;
  const adamw = new AdamW(engine, [
    { parameters: named.slice(0, 5), weightDecay: 0.1 },
    { parameters: named.slice(5), weightDecay: 0 },
  ]);
  const path = numbers(double.outputs.allParamsPerStep);
  const width = path.length / 20;
  for (let step = 0; step < 20; step++) {
    parameters.forEach((parameter, i) => {
      const all = numbers(double.inputs[`g${i}`]);
      setGrad(parameter, all.slice(step * parameter.size, (step + 1) * parameter.size));
    });
    adamw.step({ lr: double.attrs.lrPerStep[step], clip: adamw.clipGradNorm(0) });
    closeTo(
      parameters.flatMap((parameter) => peek(parameter.tensor)),
      path.slice(step * width, (step + 1) * width),
      1e-12,
      1e-10,
    );
  }
});

describe('row 18: which parameters decay', () => {
  const { cases } = fixtureJson('row18-adamw-20-steps.json');
  test('tiny-llama', async () => {
    const { attrs } = cases.find((c: { name: string }) => c.name === 'decay-groups-tiny-llama');
    await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const [decayed, plain] = decayGroups((await tinyLlama(attune)).root, 0.1);
    expect(decayed!.parameters.map((p) => p.name).sort()).toEqual([...attrs.decay].sort());
    expect(plain!.parameters.map((p) => p.name).sort()).toEqual([...attrs.noDecay].sort());
    expect([decayed!.weightDecay, plain!.weightDecay]).toEqual([0.1, 0]);
  });

  test('norms by their type, biases by their name, frozen ones not at all, shared ones once', async () => {
    const engine = await referenceEngine();
    class Block extends Bag {
      ln = this.addChild('ln_1', new RMSNorm(engine, 4, 1e-5));
      twin = this.addChild('twin', this.ln);
    }
    const block = new Block();
    for (const name of ['weight', 'q_norm', 'bias']) block.add(name, engine.zeros([4]));
    block.add('frozen', engine.zeros([4]), false);
    block.ln.weight.trainable = true;
    const [decayed, plain] = decayGroups(block, 1);
    expect(decayed!.parameters.map((p) => p.name)).toEqual(['weight']);
    expect(plain!.parameters.map((p) => p.name)).toEqual(['q_norm', 'bias', 'ln_1.weight']);
  });
});

describe('row 20: torch.nn.utils.clip_grad_norm_', () => {
  const { cases } = fixtureJson('row20-clip-grad-norm.json');
  for (const { name, attrs, outputs } of cases)
    test(name, async () => {
      const isBad = name === 'nan' || name === 'inf';
      const [coefficient] = numbers(outputs.coefficient) as [number];
      const engine = await referenceEngine();
      const bag = new Bag();
      const clipped: number[][] = [];
      for (let i = 0; `clipped${i}` in outputs; i++) clipped.push(numbers(outputs[`clipped${i}`]));
      // The inputs from the outputs: torch clips in place, so the fixture's inputs may be clipped
      // already.
      const raw = isBad
        ? [[1, name === 'nan' ? Number.NaN : Number.POSITIVE_INFINITY]]
        : clipped.map((values) => values.map((v) => v / coefficient));
      const parameters = raw.map((values, i) =>
        bag.add(
          `p${i}`,
          precise(
            engine,
            values.map(() => 7),
            [values.length],
          ),
        ),
      );
      const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]);
      for (const [i, parameter] of parameters.entries()) setGrad(parameter, raw[i]!);
      const clip = adamw.clipGradNorm(attrs.maxNorm);
      const [norm, ours, finite] = peek(clip);
      if (isBad) {
        expect(finite).toBe(0);
        adamw.step({ lr: 1, clip });
        for (const parameter of parameters)
          expect(new Set(peek(parameter.tensor))).toEqual(new Set([7]));
      } else {
        expect(finite).toBe(1);
        closeTo([norm!], numbers(outputs.totalNorm), 1e-12, 1e-6);
        closeTo([ours!], [coefficient], 1e-12, 1e-6);
      }
    });

  test('maxNorm 0 measures and does not clip', async () => {
    const engine = await referenceEngine();
    const bag = new Bag();
    const p = bag.add('p', engine.zeros([2]));
    const adamw = new AdamW(engine, [{ parameters: bag.named, weightDecay: 0 }]);
    setGrad(p, [3, 4]);
    expect(peek(adamw.clipGradNorm(0))).toEqual([5, 1, 1]);
  });
});
