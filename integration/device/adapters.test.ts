import { type Attune, AutoModelForCausalLM } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { getPeftModel, PeftModel } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
// How a recorded run is followed is the same in all packages.
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
  VARIANT_UPDATES,
} from '../../packages/core/test/trainer/recordedRun.js';
import { disturb, largestDifference, logits } from '../../packages/peft/test/support.js';
import { fixture, fixtureJson, onDawn } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

const load = (name: string) =>
  AutoModelForCausalLM.fromPretrained(fixture(name), { attune, dtype: 'float32' });
const lora = { peftType: 'LORA', r: 8, loraAlpha: 16, targetModules: 'all-linear' } as const;

describe('switching adapters', () => {
  async function two() {
    const model = getPeftModel(await load('tiny-llama'), lora, 'math');
    disturb(model);
    model.addAdapter('code', { ...lora, r: 4 });
    model.setAdapter('code');
    disturb(model);
    const code = await logits(model);
    model.setAdapter('math');
    return { model, outputs: { code, math: await logits(model) } };
  }

  test('takes no memory, sends nothing to the device and runs nothing on it', async () => {
    const { model, outputs } = await two();
    const { backend, engine } = attune;
    await backend.sync();
    const before = { ...backend.stats };
    const live = engine.liveTensors;
    const sent = (['write', 'dispatch', 'alloc', 'read', 'flush'] as const).map((name) =>
      vi.spyOn(backend, name),
    );
    for (let i = 0; i < 50; i++) {
      model.setAdapter('code');
      model.setAdapter(['math', 'code']);
      model.setAdapter('math');
    }
    for (const call of sent) {
      expect(call).not.toHaveBeenCalled();
      call.mockRestore();
    }
    expect({ ...backend.stats }).toEqual(before);
    expect(engine.liveTensors).toBe(live);
    expect(await logits(model)).toEqual(outputs.math);
    model.setAdapter('code');
    expect(await logits(model)).toEqual(outputs.code);
    // What computed before is compiled, bound and held already.
    const after = { ...backend.stats };
    for (const key of ['pipelines', 'buffersCreated', 'reservedBytes'] as const)
      expect(after[key], key).toBe(before[key]);
    model.unload();
  });
});

describe('LoRA on embeddings and an adapter for each row', () => {
  test('the logits of PEFT, on an embedding, a head and Conv1D; merged too', async () => {
    for (const [name, base] of [
      ['lora-embedding-llama', 'tiny-llama'],
      ['lora-embedding-gemma-scaled', 'tiny-gemma'],
      ['lora-embedding-dora', 'tiny-llama'],
      ['lora-conv1d-embeddings', 'tiny-gpt2'],
    ] as const) {
      const model = await PeftModel.fromPretrained(await load(base), fixture(`methods/${name}`));
      await using file = await SafetensorsFile.open(
        fixture(`methods/${name}/expected.safetensors`),
      );
      const ids = [...(await file.read('input_ids')).data];
      const rows = [ids.slice(0, 9), ids.slice(9)];
      const theirs = (await file.read('logits')).data as Float32Array;
      expect(largestDifference(await logits(model, rows), theirs), name).toBeLessThan(1e-4);
      if (base !== 'tiny-llama') continue;
      const merged = await model.mergeAndUnload({ safeMerge: true });
      expect(largestDifference(await logits(merged, rows), theirs), name).toBeLessThan(1e-4);
    }
  });

  test.each(['lora-embedding-llama', 'lora-embedding-dora'])('updates of %s', async (name) => {
    const { rows, settings, trace, base } = fixtureJson(`methods/${name}/run.json`);
    const model = await PeftModel.fromPretrained(await load(base), fixture(`methods/${name}`), {
      isTrainable: true,
    });
    const updates = await updatesOf(
      model,
      { trainDataset: rows },
      argumentsOf(settings),
      VARIANT_UPDATES,
    );
    expectUpdates(updates, trace.slice(0, VARIANT_UPDATES));
  });

  test('rows compute what they compute by themselves', async () => {
    const model = getPeftModel(await load('tiny-llama'), lora, 'a');
    disturb(model);
    model.addAdapter('b', { ...lora, targetModules: ['embed_tokens', 'lm_head'], useDora: true });
    model.setAdapter('b');
    disturb(model);
    const names = ['b', '__base__', 'a', 'a', 'b'];
    const rows = names.map((_, i) => [5 + i, 9, 40 - i, 7]);
    const together = await model.withAdapterPerRow(names, () => logits(model, rows));
    const alone: number[] = [];
    for (const [i, name] of names.entries()) {
      if (name !== '__base__') model.setAdapter(name);
      const run = () => logits(model, [rows[i]!]);
      alone.push(...(name === '__base__' ? await model.withAdaptersDisabled(run) : await run()));
    }
    expect(largestDifference(together, alone)).toBeLessThan(1e-5);
    const options = { maxNewTokens: 6, eosTokenId: null };
    const { sequences } = await model.generate({ ...options, inputIds: rows, adapterNames: names });
    model.setAdapter('a');
    const one = await model.generate({ ...options, inputIds: [rows[2]!] });
    expect(sequences[2]).toEqual(one.sequences[0]);
    model.unload();
  });

  test('merging into 4 bits, out of them again, and into full precision', async () => {
    const path = fixture('quant-merge/tiny-llama-tied-nf4');
    const base = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama-tied-nf4'), {
      attune,
    });
    const before = await logits(base);
    const model = await PeftModel.fromPretrained(base, path);
    const adapted = await logits(model);
    await model.mergeAdapter();
    expect(largestDifference(await logits(model), adapted)).toBeLessThan(3);
    model.unmergeAdapter();
    expect(await logits(model)).toEqual(adapted);
    const plain = await model.mergeAndUnload({ dequantize: true });
    expect(largestDifference(await logits(plain), adapted)).toBeLessThan(1e-4);
    expect(largestDifference(adapted, before)).toBeGreaterThan(0.01);
  });
});
