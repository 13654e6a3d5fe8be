import { createAttune, type Engine, Optimizers, silentLogger } from '@attune/core';
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

describe('every built-in optimizer', async () => {
  const settings = { learningRate: 0.01, adamBeta1: 0.9, adamBeta2: 0.99, adamEpsilon: 1e-8 };
  await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const registry = attune.registry(Optimizers);
  const sizes = [[40, 128], [3, 5], [7]];
  const options: Readonly<Record<string, object>> = {
    sgd: { momentum: 0.9 },
    adafactor: { beta1: 0.9 },
  };
  const make = async (name: string, lrScale = 1) => {
    const engine = await referenceEngine();
    const bag = new Bag();
    const parameters = sizes.map((shape, i) => {
      const size = shape.reduce((n, d) => n * d, 1);
      const values = Array.from({ length: size }, (_, j) => Math.sin(j + i));
      return bag.add(`p${i}`, precise(engine, values, shape));
    });
    const definition = registry.get(name);
    const parsed = definition.options.parse(options[name] ?? {});
    const before = engine.backend.stats.liveBytes;
    const groups = [{ parameters: bag.named, weightDecay: 0.1, lrScale }];
    const optimizer = definition.create(engine, groups, settings, parsed);
    const update = async (lr: number, scale = 1) => {
      parameters.forEach((p, i) => {
        setGrad(
          p,
          Array.from({ length: p.size }, (_, j) => scale * Math.cos(3 * j + i)),
        );
      });
      optimizer.step({ lr, clip: optimizer.clipGradNorm(1) });
      await optimizer.settle?.();
    };
    const values = () => parameters.flatMap((p) => peek(p.tensor));
    return { engine, definition, parsed, optimizer, update, values, before };
  };

  for (const name of registry.names) {
    test(`${name}: state goes out and comes back`, async () => {
      const one = await make(name);
      await one.update(0.01);
      await one.update(0.01);
      const saved = new Map(one.optimizer.exportState().map((s) => [s.name, s]));
      const two = await make(name);
      await two.optimizer.importState(2, async (key) => saved.get(key)?.data());
      for (const { name: key, data } of two.optimizer.exportState())
        expect(await data()).toEqual(await saved.get(key)!.data());
      expect(two.optimizer.stepCount).toBe(2);
      if (saved.size > 0)
        await expect(two.optimizer.importState(2, async () => undefined)).rejects.toThrow(
          /OPTIMIZER_STATE/,
        );
    });

    test(`${name}: stateBytes is what a checkpoint holds, or nothing where it lies on the host`, async () => {
      const { optimizer, definition, parsed } = await make(name);
      let bytes = 0;
      for (const { data } of optimizer.exportState()) bytes += (await data()).byteLength;
      const said = sizes.map((shape) => definition.stateBytes(shape, settings, parsed));
      expect(said.reduce((n, b) => n + b, 0)).toBe(optimizer.settle ? 0 : bytes);
    });

    test(`${name}: a group's lrScale multiplies the rate`, async () => {
      const scaled = await make(name, 4);
      const plain = await make(name);
      await scaled.update(0.01);
      await plain.update(0.04);
      expect(scaled.values()).toEqual(plain.values());
    });

    test(`${name}: a gradient that is not finite changes nothing`, async () => {
      const { update, values, optimizer } = await make(name);
      await update(0.01);
      const state = async () => {
        const all = [];
        for (const { data } of optimizer.exportState()) all.push([...(await data())]);
        return [values(), all];
      };
      const before = await state();
      await update(0.01, Number.NaN);
      await update(0.01, Number.POSITIVE_INFINITY);
      expect(await state()).toEqual(before);
    });

    test(`${name}: dispose frees its state`, async () => {
      const { engine, optimizer, before } = await make(name);
      const tensors = engine.liveTensors;
      optimizer.dispose();
      expect(engine.liveTensors).toBeLessThanOrEqual(tensors);
      // What is left is the parameters in their arenas, padded to blocks.
      expect(engine.backend.stats.liveBytes - before).toBeLessThan(4 * 3 * 256 * 2);
    });
  }
});
