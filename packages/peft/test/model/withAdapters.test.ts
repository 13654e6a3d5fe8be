import { existsSync } from 'node:fs';
import {
  collatePredictions,
  inference,
  type LanguageModel,
  type Objective,
  sequenceLogProbs,
  type TokenExample,
  Trainer,
  upload,
} from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { disturb, folder, largestDifference, load, logits, open } from '../support.js';

const lora = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: ['q_proj', 'v_proj'] } as const;

/** Adapters "default" and "other", away from their first values; "default" is active. */
async function two(changes: object = {}) {
  const attune = await open();
  const base = await load(attune);
  const before = await logits(base);
  const model = getPeftModel(base, lora);
  model.addAdapter('other', { ...lora, modulesToSave: ['norm'], ...changes });
  disturb(model);
  const own = await logits(model);
  model.setAdapter('other');
  disturb(model);
  const other = await logits(model);
  model.setAdapter(['default', 'other']);
  const both = await logits(model);
  model.setAdapter('default');
  expect(new Set([before, own, other, both].map((values) => values.join())).size).toBe(4);
  return { model, before, own, other, both };
}

describe('withAdapters', () => {
  test('others compute, or several, or none; for functions and for async ones', async () => {
    const { model, before, own, other, both } = await two();
    const under = (names: string | readonly string[]) =>
      model.adapters.withAdapters(names, () => logits(model));
    expect(await under('other')).toEqual(other);
    expect(await under(['default', 'other'])).toEqual(both);
    expect(await under([])).toEqual(before);
    expect(await logits(model)).toEqual(own);
    const ids = model.engine.tensor([5, 9], [1, 2], 'int32');
    const sync = model.withAdapters('other', () => model.forward({ inputIds: ids }));
    model.setAdapter('other');
    expect(await sync.data()).toEqual(await model.forward({ inputIds: ids }).data());
  });

  test('the innermost call decides, whichever kind it is', async () => {
    const { model, before, own, other } = await two();
    const now = () => logits(model);
    const inner = await model.withAdapters('other', async () => [
      await now(),
      await model.withAdaptersDisabled(now),
      await model.withAdapters('default', now),
      await now(),
    ]);
    expect(inner).toEqual([other, before, own, other]);
    expect(await model.withAdaptersDisabled(() => model.withAdapters('other', now))).toEqual(other);
    // Where two wait at once the later one decides, and each takes away its own.
    let end = () => {};
    const first = model.withAdapters('other', () => new Promise<void>((done) => (end = done)));
    const second = model.withAdaptersDisabled(async () => {
      end();
      await first;
      return now();
    });
    expect(await second).toEqual(before);
    expect(await now()).toEqual(own);
  });

  test('ends after an error, also of an async function', async () => {
    const { model, own } = await two();
    const fail = () => {
      throw new Error('no');
    };
    expect(() => model.withAdapters('other', fail)).toThrow('no');
    await expect(model.withAdapters('other', async () => fail())).rejects.toThrow('no');
    expect(await logits(model)).toEqual(own);
  });

  test('what is chosen, trained and saved stays as it is', async () => {
    const { model, other } = await two();
    const trained = () =>
      [...model.root.namedParameters()].filter(([, p]) => p.trainable).map(([name]) => name);
    const before = trained();
    expect(before.every((name) => name.includes('.default.'))).toBe(true);
    const out = await folder();
    await model.withAdapters('other', async () => {
      expect(model.activeAdapters).toEqual(['default']);
      expect(trained()).toEqual(before);
      await model.savePretrained(out);
      await model.loadWeights(out); // those of "default"
    });
    const again = await PeftModel.fromPretrained(await load(await open()), out);
    await again.loadAdapter(`${out}/other`, { adapterName: 'other' });
    expect(await logits(again)).toEqual(await logits(model));
    expect(await again.withAdapters('other', () => logits(again))).toEqual(other);
  });

  test('layers that are computed again for their gradients have the adapters of before', async () => {
    const { model } = await two();
    model.setAdapter(['default', 'other']);
    const { engine } = model;
    const inputIds = engine.tensor([5, 9, 2], [1, 3], 'int32');
    const grads = async () => {
      engine.scope('step', () => {
        const alone = model.withAdapters('default', () => model.forward({ inputIds }));
        engine.backward(alone.square().sum());
      });
      const all: number[][] = [];
      for (const [, parameter] of model.root.namedParameters()) {
        const { grad } = parameter.tensor;
        if (grad) all.push([...(await grad.data())]);
        parameter.clearGrad();
      }
      return all;
    };
    const held = await grads();
    expect(held).toHaveLength(8); // A and B of two layers' q and v, of "default" alone
    model.gradientCheckpointingEnable();
    expect(await grads()).toEqual(held);
  });

  test('mistakes', async () => {
    const { model, own, other } = await two();
    expect(() => model.withAdapters('others', () => 0)).toThrow(
      /PEFT_ADAPTER_UNKNOWN: there is no adapter "others"/,
    );
    const use = /PEFT_IN_USE: deleteAdapter: withAdapters\(\["other"\]\) is open/;
    model.withAdapters('other', () => {
      expect(() => model.deleteAdapter('other')).toThrow(use);
      expect(() => model.unload()).toThrow(/PEFT_IN_USE: unload/);
    });
    await model.withAdaptersDisabled(async () => {
      expect(() => model.checkTraining({ saves: true })).toThrow(/PEFT_IN_USE: training/);
      await expect(model.mergeAdapter()).rejects.toThrow(/PEFT_IN_USE: mergeAdapter/);
      await expect(model.mergeAndUnload()).rejects.toThrow(/PEFT_IN_USE: mergeAndUnload/);
    });
    model.withAdapterPerRow(['default', '__base__'], () => {
      expect(() => model.deleteAdapter('default')).toThrow(/PEFT_IN_USE/);
    });
    expect(await model.withAdapters('other', () => logits(model))).toEqual(other);
    expect(await logits(model)).toEqual(own);
    model.addAdapter('p', { peftType: 'PROMPT_TUNING', numVirtualTokens: 2 });
    model.addAdapter('q', { peftType: 'PROMPT_TUNING', numVirtualTokens: 3 });
    expect(model.withAdapters('q', () => model.numVirtualTokens)).toBe(3);
    expect(() => model.withAdapters(['p', 'q'], () => 0)).toThrow(
      /PEFT_CONFLICT: withAdapters: "p" and "q" both give virtual tokens/,
    );
    await model.mergeAdapter();
    expect(() => model.withAdapters('other', () => 0)).toThrow(/PEFT_MERGED: withAdapters/);
  });
});

describe('copyAdapter', () => {
  const examples: TokenExample[] = [{ inputIds: [3, 8, 1, 12, 7], labels: [3, 8, 1, 12, 7] }];
  const sums = (model: LanguageModel) =>
    sequenceLogProbs(model, upload(model.engine, collatePredictions(examples, 8), model)).sums;

  for (const [name, config] of [
    ['LoRA with biases and modules', { ...lora, bias: 'all', modulesToSave: ['norm'] }],
    ['DoRA', { ...lora, useDora: true }],
    ['PiSSA', { ...lora, initLoraWeights: 'pissa' }],
    ['VeRA', { peftType: 'VERA', r: 4 }],
    ['IA3', { peftType: 'IA3' }],
    ['P-tuning', { peftType: 'P_TUNING', numVirtualTokens: 2 }],
    ['prefix tuning', { peftType: 'PREFIX_TUNING', numVirtualTokens: 2 }],
  ] as const)
    test(`a frozen copy is the reference of a model that was trained before: ${name}`, async () => {
      const attune = await open();
      const model = getPeftModel(await load(attune, 'tiny-qwen2'), config as never);
      await model.ready();
      disturb(model);
      const start = await logits(model);
      const live = model.engine.liveTensors;
      await model.adapters.copyAdapter('default', 'reference');
      expect(model.engine.liveTensors).toBe(live);
      expect(model.activeAdapters).toEqual(['default']);
      const reference = () => model.withAdapters('reference', () => logits(model));
      expect(await reference()).toEqual(start);
      const ratio = async () => {
        const own = sums(model);
        const ratios = own.sub(
          model.withAdapters('reference', () => inference(model, () => sums(model))),
        );
        return (await ratios.data())[0]!;
      };
      expect(Math.abs(await ratio())).toBeLessThan(1e-6);
      for (const [, parameter] of model.root.namedParameters())
        if (parameter.trainable)
          parameter.write(Float32Array.from(await parameter.tensor.data(), (x) => 1.1 * x));
      expect(await logits(model)).not.toEqual(start);
      expect(await reference()).toEqual(start);
      expect(Math.abs(await ratio())).toBeGreaterThan(1e-6);
      // It stays frozen when it is active.
      model.setAdapter('reference');
      expect([...model.root.namedParameters()].some(([, p]) => p.trainable)).toBe(false);
      // It is in no file that nobody asked for; then it is an adapter like any other.
      const out = await folder();
      await model.savePretrained(out);
      expect(existsSync(`${out}/reference`)).toBe(false);
      expect(existsSync(`${out}/adapter_model.safetensors`)).toBe(true);
      await model.savePretrained(out, { selectedAdapters: ['reference'] });
      const again = await PeftModel.fromPretrained(
        await load(await open(), 'tiny-qwen2'),
        `${out}/reference`,
      );
      // What an encoder gives is rounded to float32 in a file.
      expect(largestDifference(await logits(again), start)).toBeLessThan(1e-6);
    });

  test('a run goes on from a checkpoint with the reference that it had', async () => {
    const outputDir = await folder();
    const run = async (maxSteps: number, resumeFromCheckpoint: boolean) => {
      const model = getPeftModel(await load(await open()), lora);
      disturb(model);
      await model.adapters.copyAdapter('default', 'reference');
      const start = await logits(model);
      const objective: Objective<TokenExample> = {
        name: 'ratio',
        collate: (given) => collatePredictions(given, 8),
        countItems: ({ inputIds }) => inputIds!.shape[0]!,
        loss(policy, batch) {
          const own = () => sequenceLogProbs(policy, batch).sums;
          const ratios = own().sub(
            policy.adapters!.withAdapters('reference', () => inference(policy, own)),
          );
          return { loss: ratios.logSigmoid().sum().neg() };
        },
      };
      const args = {
        outputDir,
        maxSteps,
        perDeviceTrainBatchSize: 1,
        learningRate: 0.05,
        lrSchedulerType: 'constant',
        loggingSteps: 1,
        saveSteps: 1,
      } as const;
      const trainer = new Trainer({ model, objective, trainDataset: examples, args });
      await trainer.train({ resumeFromCheckpoint });
      expect(await model.withAdapters('reference', () => logits(model))).toEqual(start);
      expect(await logits(model)).not.toEqual(start);
      expect(existsSync(`${outputDir}/checkpoint-${maxSteps}/adapter_config.json`)).toBe(true);
      expect(existsSync(`${outputDir}/checkpoint-${maxSteps}/reference`)).toBe(false);
      await trainer.saveModel(`${outputDir}/final`);
      expect(existsSync(`${outputDir}/final/reference`)).toBe(false);
      return trainer.state.logHistory.flatMap(({ loss }) => loss ?? []);
    };
    const first = await run(2, false);
    expect(first[0]).toBeCloseTo(Math.log(2), 6); // policy and reference are one
    expect(first[1]).toBeLessThan(0.69);
    const resumed = await run(3, true);
    expect(resumed.slice(0, 2)).toEqual(first);
    expect(resumed[2]).toBeLessThan(first[1]!);
  });

  test('of a copy alone, files are of the copy', async () => {
    const model = getPeftModel(await load(await open()), lora);
    const before = model.getNbTrainableParameters().trainable;
    await model.copyAdapter('default', 'reference');
    expect(model.getNbTrainableParameters().trainable).toBe(before);
    model.deleteAdapter('default');
    const out = await folder();
    await model.savePretrained(out);
    expect(existsSync(`${out}/reference/adapter_model.safetensors`)).toBe(true);
  });

  test('mistakes', async () => {
    const { model } = await two();
    await expect(model.copyAdapter('mine', 'reference')).rejects.toThrow(/PEFT_ADAPTER_UNKNOWN/);
    await expect(model.copyAdapter('default', 'other')).rejects.toThrow(/PEFT_ADAPTER_EXISTS/);
    await expect(model.copyAdapter('default', 'a b')).rejects.toThrow(/PEFT_ADAPTER_NAME/);
  });
});
