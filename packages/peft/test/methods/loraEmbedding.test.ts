import { join } from 'node:path';
import { type HostTensorData, writeSafetensors } from '@attune/core/io';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  disturb,
  fixtures,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
} from '../support.js';

const lora = {
  peftType: 'LORA',
  r: 4,
  loraAlpha: 8,
  targetModules: ['embed_tokens', 'q_proj'],
} as const;

// Logits, gradients, runs, merge and files against PEFT: methods.test.ts, `lora-embedding-*` and
// `lora-conv1d*`.

describe('LoRA on an embedding', () => {
  test('starts as the base: A is 0, B normal with deviation 1, whatever initLoraWeights says', async () => {
    for (const initLoraWeights of [true, 'gaussian', 'pissa', 'orthogonal'] as const) {
      const attune = await open();
      const base = await load(attune);
      const before = await logits(base);
      const model = getPeftModel(base, {
        ...lora,
        targetModules: ['embed_tokens'],
        initLoraWeights,
      });
      await model.ready();
      expect(await logits(model), String(initLoraWeights)).toEqual(before);
      const parameters = new Map(model.root.namedParameters());
      const values = (side: string) =>
        parameters.get(`model.embed_tokens.lora_embedding_${side}.default`)!.tensor.data();
      expect((await values('A')).every((v) => v === 0)).toBe(true);
      const b = [...(await values('B'))];
      const variance = b.reduce((sum, v) => sum + v * v, 0) / b.length;
      expect(Math.abs(variance - 1)).toBeLessThan(3 * Math.sqrt(2 / b.length));
    }
  });

  test('false: A is random too', async () => {
    const base = await load(await open());
    const before = await logits(base);
    const model = getPeftModel(base, { ...lora, initLoraWeights: false });
    expect(largestDifference(await logits(model), before)).toBeGreaterThan(0.1);
  });

  test('an id is looked up in A alone: other ids do not move', async () => {
    const model = getPeftModel(await load(await open()), {
      ...lora,
      targetModules: ['embed_tokens'],
    });
    const row = async (id: number) => [...(await logits(model, [[id]]))];
    const before = [await row(5), await row(6)];
    const a = new Map(model.root.namedParameters()).get(
      'model.embed_tokens.lora_embedding_A.default',
    )!;
    const values = await a.tensor.data();
    for (let r = 0; r < 4; r++) values[r * 256 + 5] = 1;
    a.write(values as Float32Array);
    expect(await row(6)).toEqual(before[1]);
    expect(largestDifference(await row(5), before[0]!)).toBeGreaterThan(0.1);
  });

  test('dropout leaves ids alone', async () => {
    const model = getPeftModel(await load(await open()), {
      ...lora,
      targetModules: ['embed_tokens'],
      loraDropout: 0.5,
    });
    disturb(model);
    const evaluated = await logits(model);
    model.root.train();
    expect(await logits(model)).toEqual(evaluated);
  });

  test('PEFT writes the base’s own embedding beside it: nothing to load, or another base', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), lora);
    disturb(model);
    const path = await folder();
    await model.savePretrained(path);
    const file = join(path, 'adapter_model.safetensors');
    const own = [...(await readTensors(file)).values()];
    const base = await readTensors(join(fixtures, 'tiny-llama', 'model.safetensors'));
    const table = base.get('model.embed_tokens.weight')!;
    const name = 'base_model.model.model.embed_tokens.base_layer.weight';
    const write = (carried: HostTensorData) =>
      writeSafetensors(
        file,
        [...own, carried].map((t) => ({ ...t, data: async () => t.data })),
      );
    await write({ ...table, name });
    const again = await PeftModel.fromPretrained(await load(attune), path);
    expect(await logits(again)).toEqual(await logits(model));
    await write({ ...table, name, data: Float32Array.from(table.data, (v) => v * 1.1) });
    await expect(PeftModel.fromPretrained(await load(attune), path)).rejects.toThrow(
      /PEFT_BASE_CHANGED/,
    );
  });

  test('a tied head reads the base’s weight, and the user is told', async () => {
    const said: string[] = [];
    const attune = await open({
      logger: { info: () => {}, warn: (m) => said.push(m), error: () => {} },
    });
    const base = await load(attune, 'tiny-llama-tied');
    const { engine } = base;
    const head = () =>
      engine.noGrad(() => base.head(engine.ones([1, 64]))).data() as Promise<Float32Array>;
    const before = await head();
    const model = getPeftModel(base, lora);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(/"model\.embed_tokens" is the output head too .* cannot be merged/);
    disturb(model);
    expect(await head()).toEqual(before);
    await expect(model.mergeAndUnload()).rejects.toThrow(/PEFT_NOT_MERGEABLE: "default" adapts/);
    model.unload();
    getPeftModel(await load(attune), lora);
    expect(said).toHaveLength(1);
  });

  test('merges in 16 bits, and unmerges bit for bit', async () => {
    const model = getPeftModel(await load(await open(), 'tiny-llama', 'bfloat16'), lora);
    disturb(model);
    const adapted = await logits(model);
    await model.mergeAdapter({ safeMerge: true });
    expect(largestDifference(await logits(model), adapted)).toBeLessThan(0.1);
    model.unmergeAdapter();
    expect(await logits(model)).toEqual(adapted);
  });

  test('combines with another, and is a plain LoRA beside a PiSSA', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), { ...lora, initLoraWeights: 'pissa' });
    await model.ready();
    disturb(model);
    const adapted = await logits(model);
    const path = await folder();
    await model.savePretrained(path, { plainLora: true });
    model.unload();
    const base = await load(attune);
    const plain = await PeftModel.fromPretrained(base, path);
    expect(largestDifference(await logits(plain), adapted)).toBeLessThan(1e-4);
    expect(
      (await readTensors(join(path, 'adapter_model.safetensors'))).get(
        'base_model.model.model.embed_tokens.lora_embedding_A',
      )!.shape,
    ).toEqual([8, 256]);

    await plain.addWeightedAdapter({
      adapters: ['default', 'default'],
      weights: [0.75, 0.25],
      adapterName: 'both',
      combinationType: 'linear',
    });
    plain.setAdapter('both');
    expect(largestDifference(await logits(plain), adapted)).toBeLessThan(1e-4);
  });

  test('mistakes', async () => {
    const model = await load(await open());
    expect(() => getPeftModel(model, { ...lora, loraBias: true })).toThrow(
      /PEFT_CONFIG_INVALID: loraBias is true, and model\.embed_tokens is an embedding/,
    );
    expect(() => getPeftModel(model, { ...lora, targetModules: ['embed_token'] })).toThrow(
      /PEFT_NO_TARGET: [\s\S]*Nearest: "embed_tokens"/,
    );
    expect(() =>
      getPeftModel(model, {
        peftType: 'IA3',
        targetModules: ['embed_tokens'],
        feedforwardModules: [],
      }),
    ).toThrow(/PEFT_TARGET_NOT_LINEAR/);
    expect(() => getPeftModel(model, { ...lora, targetModules: ['norm'] })).toThrow(
      /PEFT_TARGET_NOT_LINEAR: .*"model\.norm", which is not a linear layer and not an embedding/,
    );
    expect(model.adapters).toBeNull();
  });
});
