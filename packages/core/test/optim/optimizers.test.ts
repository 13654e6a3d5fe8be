import type { Engine } from '@attune/core';
import {
  Adafactor,
  AdamW8bit,
  Lion,
  type Optimizer,
  type ParameterGroup,
  SGD,
} from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { Bag, fixtureJson, numbers, peek, precise, referenceEngine, setGrad } from './support.js';

const closeTo = (ours: readonly number[], theirs: readonly number[], abs: number, rel: number) => {
  expect(ours).toHaveLength(theirs.length);
  ours.forEach((value, i) => {
    expect(Math.abs(value - theirs[i]!)).toBeLessThanOrEqual(abs + rel * Math.abs(theirs[i]!));
  });
};

type Make = (engine: Engine, groups: readonly ParameterGroup[], options: object) => Optimizer;
const makers: Readonly<Record<string, Make>> = {
  sgd: (engine, groups, options) => new SGD(engine, groups, options),
  lion: (engine, groups, options) => new Lion(engine, groups, options),
  adafactor: (engine, groups, options) => new Adafactor(engine, groups, options),
  adamw_8bit: (engine, groups) => new AdamW8bit(engine, groups, { min8bitSize: 512 }),
};

/** torch's and bitsandbytes' names of a state -> ours. */
const ours: Readonly<Record<string, string>> = { state1: 'exp_avg', state2: 'exp_avg_sq' };

// biome-ignore lint/suspicious/noExplicitAny: the shape of a fixture
async function replay({ inputs, attrs, outputs }: any, abs: number, rel: number) {
  const engine = await referenceEngine();
  const bag = new Bag();
  const parameters = [0, 1].map((i) =>
    bag.add(`p${i}`, precise(engine, numbers(inputs[`p${i}`]), inputs[`p${i}`].shape)),
  );
  const groups = bag.named.map((named, i) => ({
    parameters: [named],
    weightDecay: attrs.weightDecay[i],
  }));
  const optimizer = makers[attrs.optim]!(engine, groups, attrs.options);
  const path = numbers(outputs.path);
  const steps = attrs.lrPerStep.length;
  const width = path.length / steps;
  for (let step = 0; step < steps; step++) {
    parameters.forEach((parameter, i) => {
      const all = numbers(inputs[`g${i}`]);
      setGrad(parameter, all.slice(step * parameter.size, (step + 1) * parameter.size));
    });
    optimizer.step({ lr: attrs.lrPerStep[step], clip: optimizer.clipGradNorm(0) });
    const now = parameters.flatMap((parameter) => peek(parameter.tensor));
    closeTo(now, path.slice(step * width, (step + 1) * width), abs, rel);
  }
  return new Map(optimizer.exportState().map((state) => [state.name, state]));
}

describe('row 19: five updates of torch, transformers, bitsandbytes', () => {
  const { cases } = fixtureJson('row19-optimizers.json');
  for (const row of cases)
    test(row.name, async () => {
      const isLion = row.attrs.optim === 'lion';
      const [abs, rel] = isLion ? [1e-6, 1e-5] : [1e-12, 1e-10];
      const state = await replay(row, abs, rel);
      const kinds = Object.keys(row.outputs).filter((key) => key !== 'path');
      expect(state.size).toBe(kinds.length);
      for (const key of kinds) {
        const kind = key.slice(0, -1);
        const held = state.get(`${ours[kind] ?? kind}.p${key.at(-1)}`)!;
        expect(held.shape).toEqual(row.outputs[key].shape);
        closeTo([...(await held.data())], numbers(row.outputs[key]), 1e-6, 1e-6);
      }
    });
});

test('row 19: AdamW with 8-bit moments, as bitsandbytes: parameters, codes, scales', async () => {
  const [row] = fixtureJson('row19-adamw-8bit.json').cases;
  const state = await replay(row, 1e-6, 1e-5);
  expect([...state.keys()].sort()).toEqual(
    [
      ...['exp_avg.p1', 'exp_avg_sq.p1', 'state1.p0', 'state2.p0', 'absmax1.p0', 'absmax2.p0'],
    ].sort(),
  );
  for (const which of [1, 2]) {
    const codes = state.get(`state${which}.p0`)!;
    expect(codes.dtype).toBe('U8');
    expect([...(await codes.data())]).toEqual(numbers(row.outputs[`state${which}0`]));
    const scales = [...(await state.get(`absmax${which}.p0`)!.data())];
    closeTo(scales, numbers(row.outputs[`absmax${which}0`]), 1e-9, 1e-5);
  }
});
