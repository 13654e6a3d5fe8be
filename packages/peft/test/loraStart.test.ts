import { join } from 'node:path';
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
  readTensors,
} from './support.js';

describe('row 44: PiSSA and OLoRA start with the part of the weight that PEFT takes', () => {
  for (const { name, inputs, attrs, outputs } of fixture('row44-lora-start.json').cases)
    test(name, async () => {
      const attune = await open();
      const { engine } = attune;
      const { root, model } = one(attune, inputs.W!);
      const x = engine.tensor(
        Array.from({ length: 24 }, (_, i) => Math.sin(i)),
        [2, 12],
      );
      const plain = exact(engine, root.forward(x));
      const adapted = getPeftModel(model, {
        peftType: 'LORA',
        targetModules: ['proj'],
        r: attrs.r,
        loraAlpha: attrs.alpha,
        useRslora: attrs.useRslora,
        initLoraWeights: attrs.init,
      });
      expect(exact(engine, root.forward(x)), 'the base until the start is there').toEqual(plain);
      await adapted.ready();
      const parameter = (end: string) => new Map(root.namedParameters()).get(`proj.${end}`)!.tensor;
      const a = parameter('lora_A.default.weight');
      const b = parameter('lora_B.default.weight');
      expect(largestDifference(exact(engine, b.matmul(a)), numbers(outputs.BA!))).toBeLessThan(
        1e-5,
      );
      expect(
        largestDifference(exact(engine, b.square().sum(0).sqrt()), numbers(outputs.columnsOfB!)),
      ).toBeLessThan(1e-5);
      // W - s B0 A0 + s B A = W, and the base's own weight is not touched.
      expect(largestDifference(exact(engine, root.forward(x)), plain)).toBeLessThan(1e-5);
      expect([...(await parameter('base_layer.weight').data())]).toEqual(numbers(inputs.W!));
    });
});

describe('row 56: adapters that PEFT saved, and the plain LoRA of them', () => {
  for (const name of ['pissa-saved', 'olora-saved'])
    test(name, async () => {
      const attune = await open();
      const path = join(fixtures, 'lora-variants', name);
      const expected = await readTensors(join(path, 'expected.safetensors'));
      const ids = [...expected.get('input_ids')!.data];
      const rows = [ids.slice(0, 9), ids.slice(9)];
      const theirs = expected.get('logits')!.data;
      const base = await load(attune, 'tiny-qwen2');
      const before = await logits(base, rows);
      const model = await PeftModel.fromPretrained(base, join(path, 'raw'));
      expect(largestDifference(await logits(model, rows), theirs)).toBeLessThan(1e-4);
      expect(largestDifference(theirs, before)).toBeGreaterThan(0.05);

      const ours = await folder();
      await model.savePretrained(ours, { plainLora: true });
      const [one, other] = await Promise.all(
        [ours, join(path, 'plain')].map((at) => readTensors(join(at, 'adapter_model.safetensors'))),
      );
      expect([...one!].map(([key, t]) => [key, t.shape])).toEqual(
        [...other!].map(([key, t]) => [key, t.shape]),
      );
      expect(model.unload()).toBe(base);
      expect(await logits(base, rows), 'the base bit for bit').toEqual(before);
      for (const at of [ours, join(path, 'plain')]) {
        const plain = await PeftModel.fromPretrained(base, at);
        expect(plain.peftConfig.default).toMatchObject({ r: 8, initLoraWeights: true });
        expect(largestDifference(await logits(plain, rows), theirs)).toBeLessThan(1e-4);
        plain.unload();
      }
    });
});

describe('a start with a part of the base', () => {
  const pissa = { peftType: 'LORA', r: 4, targetModules: ['q_proj'], initLoraWeights: 'pissa' };

  test('moves with its adapter: off it is the base, merged it computes the same', async () => {
    const attune = await open();
    const base = await load(attune);
    const before = await logits(base);
    const model = getPeftModel(base, { ...pissa, useDora: true });
    await model.ready();
    expect(largestDifference(await logits(model), before)).toBeLessThan(1e-4);
    disturb(model, 0.05);
    const adapted = await logits(model);
    expect(await model.withAdaptersDisabled(() => logits(model))).toEqual(before);
    await model.mergeAdapter({ safeMerge: true });
    expect(largestDifference(await logits(model), adapted)).toBeLessThan(1e-4);
    await expect(model.savePretrained(await folder(), { plainLora: true })).rejects.toThrow(
      /PEFT_NOT_PLAIN_LORA: .*magnitudes/,
    );
  });

  test('saved and loaded by loadWeights and fromPretrained', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), pissa);
    await model.ready();
    disturb(model, 0.05);
    const adapted = await logits(model);
    const path = await folder();
    await model.savePretrained(path);
    const again = getPeftModel(await load(attune), pissa);
    await again.loadWeights(path);
    expect(largestDifference(await logits(again), adapted)).toBeLessThan(1e-5);
    const loaded = await PeftModel.fromPretrained(await load(attune), path);
    expect(largestDifference(await logits(loaded), adapted)).toBeLessThan(1e-5);
  });

  test('a rank larger than the layer, and combining, are refused', async () => {
    const attune = await open();
    const model = await load(attune);
    expect(() => getPeftModel(model, { ...pissa, r: 65 })).toThrow(
      /PEFT_RANK: "pissa" takes 65 directions of .*q_proj, a weight \[64, 64\]/,
    );
    const lora = getPeftModel(model, pissa);
    await expect(
      lora.addWeightedAdapter({ adapters: ['default'], weights: [1], adapterName: 'b' }),
    ).rejects.toThrow(/PEFT_COMBINATION: .*initLoraWeights "pissa"/);
  });
});
