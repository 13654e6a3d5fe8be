import { Linear, Module } from '@attune/core/nn';
import { getPeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { loraScaling } from '../../src/methods/lora.js';
import type { AdaptedLinear } from '../../src/slots/adaptedLinear.js';
import {
  exact,
  fixture,
  largestDifference,
  modelOf,
  numbers,
  One,
  one,
  open,
  setParameters,
  untyped,
} from '../support.js';

/** Modules at any paths. */
class Tree extends Module {
  put(path: string, module: Module): void {
    const [name, ...rest] = path.split('.');
    if (rest.length === 0) this.addChild(name!, module);
    else {
      const inner = this.children.get(name!) ?? this.addChild(name!, new Tree());
      (inner as Tree).put(rest.join('.'), module);
    }
  }
}

const config = (attrs: Readonly<Record<string, unknown>>) =>
  untyped({
    peftType: 'LORA',
    targetModules: ['proj'],
    r: attrs.r,
    loraAlpha: attrs.alpha,
    useRslora: attrs.useRslora ?? false,
  });

describe('row 36: forward and gradients are those of PEFT', () => {
  for (const { name, inputs, attrs, outputs, grads } of fixture('row36-lora-linear.json').cases)
    test(name, async () => {
      const attune = await open();
      const { engine } = attune;
      const { root, model } = one(attune, inputs.W!, { bias: inputs.bias });
      getPeftModel(model, config(attrs));
      setParameters(root, {
        'proj.lora_A.default.weight': inputs.A!,
        'proj.lora_B.default.weight': inputs.B!,
      });
      const x = engine.tensor(numbers(inputs.x!), inputs.x!.shape);
      x.requiresGrad = true;
      const out = root.forward(x);
      expect(largestDifference(exact(engine, out), numbers(outputs.out!))).toBeLessThan(1e-10);

      const dOut = engine.tensor(numbers(outputs.dOut!), outputs.dOut!.shape);
      engine.backward(out.mul(dOut).sum());
      const parameters = new Map(root.namedParameters());
      const a = parameters.get('proj.lora_A.default.weight')!.tensor;
      const b = parameters.get('proj.lora_B.default.weight')!.tensor;
      for (const [tensor, expected] of [
        [x, grads.x],
        [a, grads.A],
        [b, grads.B],
      ] as const)
        expect(largestDifference(exact(engine, tensor.grad!), numbers(expected!))).toBeLessThan(
          1e-9,
        );
      expect(parameters.get('proj.base_layer.weight')!.tensor.grad).toBeNull();
    });
});

describe('row 37: the inits have the distribution of PEFT', () => {
  for (const { name, attrs } of fixture('row37-lora-init.json').cases)
    test(name, async () => {
      const attune = await open({ seed: 37 });
      const given = attrs as Record<'in' | 'out' | 'r' | 'std' | 'bound', number> & {
        meanWithin3Sigma: number;
        stdWithin3Sigma: number;
      };
      const root = new One(
        new Linear(attune.engine, { inFeatures: given.in, outFeatures: given.out }),
      );
      getPeftModel(modelOf(attune, root), {
        peftType: 'LORA',
        targetModules: ['proj'],
        r: given.r,
        initLoraWeights: attrs.initLoraWeights as boolean | 'gaussian',
      });
      const parameters = new Map(root.namedParameters());
      const a = [...(await parameters.get('proj.lora_A.default.weight')!.tensor.data())];
      const b = await parameters.get('proj.lora_B.default.weight')!.tensor.data();
      const mean = a.reduce((sum, v) => sum + v, 0) / a.length;
      const std = Math.sqrt(a.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (a.length - 1));
      expect(Math.abs(mean)).toBeLessThan(given.meanWithin3Sigma);
      expect(Math.abs(std - given.std)).toBeLessThan(given.stdWithin3Sigma);
      if (given.bound) expect(Math.max(...a.map(Math.abs))).toBeLessThanOrEqual(given.bound);
      expect(b.every((v) => v === 0)).toBe(true);
    });

  test('false: B is random too', async () => {
    const attune = await open();
    const root = new One(new Linear(attune.engine, { inFeatures: 8, outFeatures: 8 }));
    getPeftModel(modelOf(attune, root), {
      peftType: 'LORA',
      targetModules: ['proj'],
      initLoraWeights: false,
    });
    const b = new Map(root.namedParameters()).get('proj.lora_B.default.weight')!;
    const values = await b.tensor.data();
    expect(values.some((v) => v !== 0)).toBe(true);
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / Math.sqrt(8));
  });

  test('a seed gives the same adapter again, another seed another one', async () => {
    const draw = async (seed: number) => {
      const attune = await open({ seed });
      const root = new One(new Linear(attune.engine, { inFeatures: 8, outFeatures: 8 }));
      getPeftModel(modelOf(attune, root), { peftType: 'LORA', targetModules: ['proj'] });
      return new Map(root.namedParameters()).get('proj.lora_A.default.weight')!.tensor.data();
    };
    expect(await draw(3)).toEqual(await draw(3));
    expect(await draw(3)).not.toEqual(await draw(4));
  });
});

describe('row 38: the scale is that of PEFT', () => {
  interface Row38 {
    readonly cases: readonly {
      readonly name: string;
      readonly attrs: Readonly<Record<string, unknown>>;
      readonly scaling: number;
    }[];
  }
  for (const { name, attrs, scaling } of fixture<Row38>('row38-lora-scaling.json').cases)
    test(name, async () => {
      const attune = await open();
      const { engine } = attune;
      const zero = { shape: [64, 1], data: Array<number>(64).fill(0) };
      const { root, model } = one(attune, zero);
      getPeftModel(model, config(attrs));
      const r = attrs.r as number;
      setParameters(root, {
        'proj.lora_A.default.weight': { shape: [r, 1], data: Array(r).fill(1 / r) },
        'proj.lora_B.default.weight': { shape: [64, r], data: Array(64 * r).fill(1) },
      });
      const [y] = exact(engine, root.forward(engine.ones([1, 1])));
      expect(Math.abs(y! / scaling - 1)).toBeLessThan(1e-6);
    });
});

describe('row 40: rank and alpha patterns hit the layers that they hit in PEFT', () => {
  interface Row40 {
    readonly cases: readonly {
      readonly name: string;
      readonly attrs: Readonly<
        Record<'rankPattern' | 'alphaPattern', readonly (readonly [string, number])[]>
      >;
      readonly layers: Readonly<Record<string, readonly [number, number, number]>>;
    }[];
  }
  for (const { name, attrs, layers } of fixture<Row40>('row40-lora-patterns.json').cases)
    test(name, async () => {
      const attune = await open();
      const root = new Tree();
      for (const path of Object.keys(layers))
        root.put(path, new Linear(attune.engine, { inFeatures: 8, outFeatures: 8 }));
      const model = getPeftModel(modelOf(attune, root), {
        peftType: 'LORA',
        r: 8,
        loraAlpha: 16,
        targetModules: ['q_proj', 'v_proj', 'down_proj', 'lm_head'],
        rankPattern: Object.fromEntries(attrs.rankPattern),
        alphaPattern: Object.fromEntries(attrs.alphaPattern),
      });
      const slots = new Map(model.root.namedModules());
      for (const [path, [r, alpha, scaling]] of Object.entries(layers)) {
        const own = (slots.get(path) as AdaptedLinear).configOf('default')!;
        expect([own.r, own.loraAlpha], path).toEqual([r, alpha]);
        expect(loraScaling(own as never), path).toBe(scaling);
        const a = new Map(model.root.namedParameters()).get(`${path}.lora_A.default.weight`)!;
        expect(a.shape).toEqual([r, 8]);
      }
    });
});

describe('row 43: merging', () => {
  const bfloat16Ulp = (v: number) => 2 ** (Math.floor(Math.log2(Math.abs(v) || 1e-30)) - 7);

  for (const { name, inputs, attrs, outputs } of fixture('row43-lora-merge.json').cases) {
    const dtype = name.startsWith('bfloat16') ? 'bfloat16' : 'float32';
    const prepare = async () => {
      const attune = await open();
      const { root, model } = one(attune, inputs.W!, { dtype });
      const lora = getPeftModel(model, config(attrs));
      setParameters(root, {
        'proj.lora_A.default.weight': inputs.A!,
        'proj.lora_B.default.weight': inputs.B!,
      });
      const weight = new Map(root.namedParameters()).get('proj.base_layer.weight')!;
      return { root, lora, weight };
    };
    if (attrs.error)
      test(`${name}: refused, the base unchanged`, async () => {
        const { lora, weight } = await prepare();
        await expect(lora.mergeAdapter({ safeMerge: true })).rejects.toThrow(
          /PEFT_MERGE_NOT_FINITE: merging "default" makes proj infinite/,
        );
        expect([...(await weight.tensor.data())]).toEqual(numbers(inputs.W!));
        await expect(lora.mergeAndUnload({ safeMerge: true })).rejects.toThrow(/NOT_FINITE/);
        expect([...(await weight.tensor.data())]).toEqual(numbers(inputs.W!));
      });
    else
      test(`${name}: the weights of PEFT; unmerging gives the base back exactly`, async () => {
        const { lora, weight } = await prepare();
        for (const safeMerge of [false, true]) {
          await lora.mergeAdapter({ safeMerge });
          const merged = await weight.tensor.data();
          const expected = numbers(outputs.merged!);
          for (const [i, value] of merged.entries())
            expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(
              dtype === 'bfloat16'
                ? bfloat16Ulp(expected[i]!)
                : 1e-6 * Math.abs(expected[i]!) + 1e-7,
            );
          lora.unmergeAdapter();
          expect([...(await weight.tensor.data())]).toEqual(numbers(inputs.W!));
        }
      });
  }

  test('float16: a weight that overflows is refused by safeMerge', async () => {
    const attune = await open();
    const tensor = (shape: number[], value: number) => ({
      shape,
      data: new Array<number>(shape.reduce((n, d) => n * d)).fill(value),
    });
    const { root, model } = one(attune, tensor([2, 2], 60000), { dtype: 'float16' });
    const lora = getPeftModel(model, config({ r: 1, alpha: 1 }));
    setParameters(root, {
      'proj.lora_A.default.weight': tensor([1, 2], 100),
      'proj.lora_B.default.weight': tensor([2, 1], 100),
    });
    await expect(lora.mergeAdapter({ safeMerge: true })).rejects.toThrow(
      /float16 weight overflows/,
    );
  });
});

test('dropout acts while training and not in evaluation', async () => {
  const attune = await open();
  const { engine } = attune;
  const root = new One(new Linear(engine, { inFeatures: 8, outFeatures: 8 }));
  root.linear.weight.replace(engine.zeros([8, 8]));
  getPeftModel(modelOf(attune, root), {
    peftType: 'LORA',
    targetModules: ['proj'],
    loraDropout: 0.5,
    initLoraWeights: false,
  });
  const x = engine.ones([1, 8]);
  const run = async () => [...(await root.forward(x).data())];
  root.eval();
  const evaluated = await run();
  expect(await run()).toEqual(evaluated);
  root.train();
  expect(await run()).not.toEqual(evaluated);
});
