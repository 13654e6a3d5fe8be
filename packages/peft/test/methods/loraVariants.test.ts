import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { BitsAndBytesLinear } from '@attune/core/nn';
import { decayGroups } from '@attune/core/training';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  disturb,
  exact,
  fixture,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  numbers,
  one,
  open,
  setParameters,
  untyped,
} from '../support.js';

describe('row 42: DoRA: forward, gradients and merge are those of PEFT', () => {
  for (const { name, inputs, attrs, outputs, grads } of fixture('row42-dora.json').cases)
    test(name, async () => {
      const attune = await open();
      const { engine } = attune;
      const { root, model } = one(attune, inputs.W!, { bias: inputs.bias });
      const dora = getPeftModel(
        model,
        untyped({
          peftType: 'LORA',
          targetModules: ['proj'],
          r: attrs.r,
          loraAlpha: attrs.alpha,
          useRslora: attrs.useRslora,
          useDora: true,
        }),
      );
      const parameter = (end: string) => new Map(root.namedParameters()).get(`proj.${end}`)!.tensor;
      expect(
        largestDifference(
          exact(engine, parameter('lora_magnitude_vector.default')),
          numbers(outputs.start!),
        ),
      ).toBeLessThan(1e-12);
      setParameters(root, {
        'proj.lora_A.default.weight': inputs.A!,
        'proj.lora_B.default.weight': inputs.B!,
        'proj.lora_magnitude_vector.default': inputs.m!,
      });
      const x = engine.tensor(numbers(inputs.x!), inputs.x!.shape);
      x.requiresGrad = true;
      const out = root.forward(x);
      expect(largestDifference(exact(engine, out), numbers(outputs.out!))).toBeLessThan(1e-10);
      const dOut = engine.tensor(numbers(outputs.dOut!), outputs.dOut!.shape);
      engine.backward(out.mul(dOut).sum());
      for (const [tensor, expected] of [
        [x, grads.x],
        [parameter('lora_A.default.weight'), grads.A],
        [parameter('lora_B.default.weight'), grads.B],
        [parameter('lora_magnitude_vector.default'), grads.m],
      ] as const)
        expect(largestDifference(exact(engine, tensor.grad!), numbers(expected!))).toBeLessThan(
          1e-9,
        );
      await dora.mergeAdapter();
      expect(
        largestDifference(exact(engine, parameter('base_layer.weight')), numbers(outputs.merged!)),
      ).toBeLessThan(1e-10);
      dora.unmergeAdapter();
      expect([...(await parameter('base_layer.weight').data())]).toEqual(numbers(inputs.W!));
    });
});

describe('DoRA', () => {
  const dora = {
    peftType: 'LORA',
    r: 2,
    targetModules: ['q_proj', 'down_proj'],
    useDora: true,
  } as const;

  test('active dropout drops what the base contributes to the change too', async () => {
    const attune = await open();
    const { engine } = attune;
    const weight = { shape: [2, 2], data: [3, 4, 0, 2] };
    const { root, model } = one(attune, weight, { bias: { shape: [2], data: [10, 20] } });
    getPeftModel(model, { ...dora, targetModules: ['proj'], loraDropout: 0.5 });
    setParameters(root, {
      'proj.lora_magnitude_vector.default': { shape: [2], data: [10, 6] },
    });
    root.train();
    // B is 0 and m is twice and three times the norms: y = W x + b + (m/|W| - 1) W x', x' one of 0,
    // 2 each.
    const seen = new Set<string>();
    for (let i = 0; i < 40; i++) seen.add(exact(engine, root.forward(engine.ones([1, 2]))).join());
    expect([...seen].sort()).toEqual(['17,22', '23,22', '25,30', '31,30'].sort());
    root.eval();
    expect(exact(engine, root.forward(engine.ones([1, 2])))).toEqual([24, 26]);
  });

  test('on a trained bias, and beside another adapter, the merged weight computes the same', async () => {
    const attune = await open();
    const base = await load(attune, 'tiny-qwen2');
    const model = getPeftModel(base, { ...dora, bias: 'all' }, 'one');
    disturb(model);
    model.addAdapter('two', { ...dora, useDora: false });
    model.setAdapter('two');
    disturb(model);
    for (const active of [['one'], ['two', 'one'], ['one', 'two']]) {
      model.setAdapter(active);
      const before = await logits(model);
      await model.mergeAdapter({ safeMerge: true });
      expect(largestDifference(await logits(model), before), active.join()).toBeLessThan(1e-4);
      model.unmergeAdapter();
    }
  });

  test("on GPT-2's transposed weights", async () => {
    const attune = await open();
    const base = await load(attune, 'tiny-gpt2', 'float32');
    const plain = await logits(base);
    const model = getPeftModel(base, { ...dora, targetModules: ['c_attn', 'c_proj'] });
    expect(largestDifference(await logits(model), plain)).toBeLessThan(1e-5);
    disturb(model);
    const adapted = await logits(model);
    expect(largestDifference(adapted, plain)).toBeGreaterThan(0.01);
    await model.mergeAdapter();
    expect(largestDifference(await logits(model), adapted)).toBeLessThan(1e-5);
  });

  test('on a quantised base: starts at it, and follows the dequantised weights', async () => {
    const attune = await open();
    const model = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama-tied-nf4'), {
      attune,
    });
    const quantized = model.root.submodule('model.layers.0.self_attn.q_proj');
    expect(quantized).toBeInstanceOf(BitsAndBytesLinear);
    const plain = await logits(model);
    const adapted = getPeftModel(model, dora);
    expect(largestDifference(await logits(adapted), plain)).toBeLessThan(1e-4);
    disturb(adapted);
    const path = await folder();
    await adapted.savePretrained(path);

    // The same adapter on the same weights, held in float32.
    const full = await load(attune, 'tiny-llama-tied');
    const { engine } = attune;
    for (const [at, module] of model.root.namedModules())
      if (module instanceof BitsAndBytesLinear) {
        const weight = engine.noGrad(() => module.dequantize());
        full.root
          .submodule(at.replace('.base_layer', ''))
          .ownParameters.get('weight')!
          .replace(weight);
      }
    const expected = await logits(await PeftModel.fromPretrained(full, path));
    expect(largestDifference(await logits(adapted), expected)).toBeLessThan(1e-4);
    expect(largestDifference(expected, plain)).toBeGreaterThan(0.01);
  });

  test('with loraBias it is refused, as in PEFT', async () => {
    const attune = await open();
    const model = await load(attune);
    expect(() => getPeftModel(model, { ...dora, loraBias: true })).toThrow(
      /PEFT_CONFIG_INVALID: peftConfig.loraBias is true: With useDora B has no bias/,
    );
  });

  test('magnitudes are saved under the name that PEFT gives them', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), dora);
    const path = await folder();
    await model.savePretrained(path);
    const file = await SafetensorsFile.open(join(path, 'adapter_model.safetensors'));
    expect(
      file.info('base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector').shape,
    ).toEqual([64]);
    await file.close();
  });
});

describe('row 46: LoRA+: rates and weight decay are those of PEFT', () => {
  interface Row46 {
    readonly cases: readonly {
      readonly name: string;
      readonly attrs: {
        readonly base: string;
        readonly learningRate: number;
        readonly weightDecay: number;
        readonly config: Readonly<Record<string, unknown>>;
        readonly plus: Readonly<Record<string, number>>;
      };
      readonly groups: Readonly<Record<string, readonly [number, number]>>;
    }[];
  }
  for (const { name, attrs, groups } of fixture<Row46>('row46-loraplus.json').cases)
    test(name, async () => {
      const attune = await open();
      const { config, plus, learningRate, weightDecay, base } = attrs;
      const model = getPeftModel(await load(attune, base), {
        peft_type: 'LORA',
        ...config,
        ...plus,
      });
      const ours = decayGroups(model.root, weightDecay, (_, parameter) =>
        model.learningRateScale(parameter, learningRate),
      );
      const inTree = (name: string) =>
        name
          .replace('magnitude_vector.default.weight', 'magnitude_vector.default')
          // A trained bias is the adapter's own here, the base's own in PEFT.
          .replace(/(lora_B\.default\.)?bias$/, (end, ofB) => (ofB ? end : 'bias.default'));
      expect(
        Object.fromEntries(
          ours.flatMap(({ parameters, weightDecay: decay, lrScale = 1 }) =>
            parameters.map((p) => [p.name, [learningRate * lrScale, decay]]),
          ),
        ),
      ).toEqual(
        Object.fromEntries(Object.entries(groups).map(([name, group]) => [inTree(name), group])),
      );
    });

  test('the options are not written; a loaded adapter gets them with `config`', async () => {
    const attune = await open();
    const options = { peftType: 'LORA', targetModules: ['q_proj'], loraplusLrRatio: 4 } as const;
    const model = getPeftModel(await load(attune), options);
    const path = await folder();
    await model.savePretrained(path);
    expect(await readFile(join(path, 'adapter_config.json'), 'utf8')).not.toMatch(/plus/);
    const scales = async (config = {}) => {
      const again = await PeftModel.fromPretrained(await load(attune), path, {
        isTrainable: true,
        config,
      });
      const trained = [...again.root.namedParameters()].filter(([, p]) => p.trainable);
      return new Set(trained.map(([, p]) => again.learningRateScale(p, 1)));
    };
    expect(await scales()).toEqual(new Set([1]));
    expect(await scales({ loraplusLrRatio: 4 })).toEqual(new Set([1, 4]));
  });
});
