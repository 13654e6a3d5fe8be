import { join } from 'node:path';
import type { HostTensorData } from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import { getPeftModel, PeftModel } from '@attune/peft';
import { Matrix, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { firstFactors } from '../../src/methods/lora/start.js';

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
  untyped,
} from '../support.js';

const dense = ({ shape, data }: HostTensorData) => ({
  rows: shape[0]!,
  columns: shape[1]!,
  data: data as Float32Array,
});

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
      const adapted = getPeftModel(
        model,
        untyped({
          peftType: 'LORA',
          targetModules: ['proj'],
          r: attrs.r,
          loraAlpha: attrs.alpha,
          useRslora: attrs.useRslora,
          initLoraWeights: attrs.init,
        }),
      );
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

describe('row 45: "orthogonal": A and B are random, and B A = 0', () => {
  const orthogonal = {
    peftType: 'LORA',
    targetModules: ['proj'],
    initLoraWeights: 'orthogonal',
  } as const;
  /** W [6, 10]. */
  const weight = { shape: [6, 10], data: Array.from({ length: 60 }, (_, i) => Math.sin(i)) };

  test.each([2, 4, 8])('r %i', async (r) => {
    const attune = await open();
    const { engine } = attune;
    const { root, model } = one(attune, weight);
    getPeftModel(model, { ...orthogonal, r });
    const parameter = (end: string) => new Map(root.namedParameters()).get(`proj.${end}`)!.tensor;
    const a = parameter('lora_A.default.weight');
    const b = parameter('lora_B.default.weight');
    const size = (values: readonly number[]) =>
      largestDifference(
        values,
        values.map(() => 0),
      );
    expect(size(exact(engine, b.matmul(a)))).toBeLessThan(1e-7);
    expect(size(exact(engine, a))).toBeGreaterThan(0.01);
    expect(size(exact(engine, b))).toBeGreaterThan(0.01);
    // Each has rank r / 2: half of the orthogonal rows.
    const rank = (rows: number, columns: number, data: readonly number[]) =>
      new SingularValueDecomposition(Matrix.from1DArray(rows, columns, [...data]), {
        autoTranspose: true,
      }).diagonal.filter((value) => value > 1e-5).length;
    expect(rank(r, 10, exact(engine, a))).toBe(r / 2);
    expect(rank(6, r, exact(engine, b))).toBe(r / 2);
  });

  test('entries have the deviation of PEFT: sqrt(1/2) / 10', async () => {
    const attune = await open();
    const wide = { shape: [400, 300], data: new Array<number>(120_000).fill(0) };
    const { root, model } = one(attune, wide);
    getPeftModel(model, { ...orthogonal, r: 16 });
    const parameters = new Map(root.namedParameters());
    for (const side of ['A', 'B']) {
      const values = [...(await parameters.get(`proj.lora_${side}.default.weight`)!.tensor.data())];
      const variance = values.reduce((sum, v) => sum + v * v, 0) / values.length;
      expect(Math.abs(variance / 0.005 - 1)).toBeLessThan(0.08);
    }
  });

  test('a seed gives the same pair again; saved and loaded it is the same', async () => {
    const draw = async (seed: number) => {
      const attune = await open({ seed });
      const model = getPeftModel(await load(attune), { ...orthogonal, targetModules: ['q_proj'] });
      return { attune, model, values: await logits(model) };
    };
    const [first, second] = [await draw(1), await draw(1)];
    expect(second.values).toEqual(first.values);
    const path = await folder();
    await first.model.savePretrained(path);
    const again = await PeftModel.fromPretrained(await load(first.attune), path);
    expect(await logits(again)).toEqual(first.values);
    expect(again.peftConfig.default).toMatchObject({ initLoraWeights: 'orthogonal' });
    const plain = await logits(await load(first.attune));
    expect(largestDifference(first.values, plain)).toBeLessThan(1e-5);
  });

  test('an odd rank is refused, as in PEFT', async () => {
    const { model } = one(await open(), weight);
    expect(() => getPeftModel(model, { ...orthogonal, r: 3 })).toThrow(
      /PEFT_RANK: "orthogonal" halves the rank, and proj has r = 3/,
    );
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
      // Their alpha and rank are the same, so the products are; the signs of the start's factors
      // are free.
      const [a, b] = ['A', 'B'].map((side) => `self_attn.q_proj.lora_${side}.weight`);
      for (const layer of [0, 1]) {
        const product = (tensors: typeof one) => {
          const matrix = (end: string) =>
            dense(tensors!.get(`base_model.model.model.layers.${layer}.${end}`)!);
          return [...algebra.product(matrix(b!), matrix(a!)).data];
        };
        expect(largestDifference(product(one), product(other))).toBeLessThan(1e-5);
      }
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
  const pissa = {
    peftType: 'LORA',
    r: 4,
    targetModules: ['q_proj'],
    initLoraWeights: 'pissa',
  } as const;

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

test('a weight has more outputs than a call takes arguments', () => {
  const rows = 200_000;
  const weight = { rows, columns: 1, data: new Float64Array(rows).fill(0.5) };
  const { a, b } = firstFactors('pissa_niter_1', 1, 2, weight);
  // The singular value is sqrt(rows) / 2; B and A have its root each, and the scale is taken out.
  const root = Math.sqrt(Math.sqrt(rows) / 2 / 2);
  expect(Math.abs(a.data[0]!)).toBeCloseTo(root, 9);
  expect(2 * a.data[0]! * b.data[rows - 1]!).toBeCloseTo(0.5, 9);
});
