import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CausalLM, type LanguageModel, TOKENS } from '@attune/core';
import { writeSafetensors } from '@attune/core/io';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { disturb, fixtures, folder, largestDifference, load, logits, open } from '../support.js';

const lora = { peftType: 'LORA', r: 4, loraAlpha: 8, targetModules: ['q_proj', 'v_proj'] } as const;
const everything = {
  ...lora,
  targetModules: 'all-linear',
  modulesToSave: ['lm_head', 'norm'],
} as const;

/** Sum of log-probabilities of fixed labels, and its gradient. */
function backward(model: LanguageModel): void {
  const { engine } = model;
  engine.scope('step', () => {
    const inputIds = engine.tensor([5, 9, 2, 7], [1, 4], 'int32');
    engine.backward(model.forward({ inputIds }).logSoftmax().slice(2, 3, 4).sum());
  });
}

const names = (model: LanguageModel, which: (name: string) => boolean = () => true) =>
  [...model.root.namedParameters()].map(([name]) => name).filter(which);

describe('a new adapter', () => {
  test('equals the base model, for every way to add one', async () => {
    const attune = await open();
    for (const [base, config] of [
      ['tiny-llama', lora],
      ['tiny-llama', everything],
      ['tiny-qwen2', { ...lora, bias: 'all' }],
      ['tiny-qwen2', { ...lora, loraBias: true }],
    ] as const) {
      const model = await load(attune, base);
      const before = await logits(model);
      expect(await logits(getPeftModel(model, config))).toEqual(before);
      expect(await logits(model), 'the base given to it has the adapter too').toEqual(before);
    }
  });

  test('only its own parameters get gradients', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), everything);
    disturb(model); // B = 0 would hide A's gradient
    model.root.train();
    backward(model);
    for (const [name, parameter] of model.root.namedParameters()) {
      const own = /lora_[AB]\.default|modules_to_save\.default/.test(name);
      expect(parameter.trainable, name).toBe(own);
      expect(parameter.tensor.grad !== null, name).toBe(own);
    }
    // PEFT's rule for modulesToSave is a plain suffix.
    const norms = ['input_layernorm', 'post_attention_layernorm'];
    expect(names(model, (n) => n.includes('modules_to_save'))).toEqual(
      [
        ...[0, 1].flatMap((i) => norms.map((name) => `model.layers.${i}.${name}`)),
        'model.norm',
        'lm_head',
      ].map((path) => `${path}.modules_to_save.default.weight`),
    );
  });

  test('is float32 over a 16-bit base', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune, 'tiny-llama', 'bfloat16'), everything);
    for (const [name, { tensor }] of model.root.namedParameters())
      expect(tensor.dtype, name).toBe(/\.default\./.test(name) ? 'float32' : 'bfloat16');
  });

  test('the default targets of LoRA on Llama are those of PEFT', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), { peftType: 'LORA' });
    expect(model.peftConfig.default?.targetModules).toEqual(['q_proj', 'v_proj']);
  });

  test('counts as PEFT counts and prints its line', async () => {
    const said: string[] = [];
    const attune = await open({
      logger: { info: (m) => said.push(m), warn: () => {}, error: () => {} },
    });
    const model = getPeftModel(await load(attune), { ...lora, r: 8 });
    const line = model.printTrainableParameters();
    expect(line).toMatchInlineSnapshot(
      `"trainable params: 3,584 || all params: 110,400 || trainable%: 3.2464"`,
    );
    expect(said).toEqual([line]);
  });

  for (const [base, dtype, config] of [
    ['tiny-llama', 'float32', everything],
    ['tiny-qwen2', 'bfloat16', { ...lora, bias: 'all' }],
  ] as const)
    test(`leaves nothing behind but its parameters: ${base}`, async () => {
      const attune = await open();
      const model = await load(attune, base, dtype);
      const live = attune.engine.liveTensors;
      const bytes = () => attune.backend.stats.liveBytes;
      const before = bytes();
      const adapted = getPeftModel(model, config);
      const parameters = adapted.getNbTrainableParameters().trainable;
      expect(bytes()).toBe(before + 4 * parameters);
      await logits(adapted);
      await adapted.mergeAdapter({ safeMerge: true });
      adapted.unmergeAdapter();
      expect(attune.engine.liveTensors).toBe(live);
      adapted.unload();
      expect(bytes()).toBe(before);
    });
});

describe('several adapters', () => {
  async function two(): Promise<{ model: PeftModel; base: CausalLM; outputs: Float32Array[] }> {
    const attune = await open();
    const base = await load(attune);
    const plain = await logits(base);
    const model = getPeftModel(base, lora, 'math');
    disturb(model);
    const math = await logits(model);
    model.addAdapter('code', { ...lora, r: 2, targetModules: ['q_proj', 'up_proj'] });
    expect(await logits(model), 'adding changes nothing').toEqual(math);
    model.setAdapter('code');
    disturb(model);
    return { model, base, outputs: [plain, math, await logits(model)] };
  }

  test('switch without copying the base', async () => {
    const { model, outputs } = await two();
    const { stats } = model.engine.backend;
    const created = stats.buffersCreated;
    model.setAdapter('math');
    model.setAdapter('code');
    model.setAdapter('math');
    expect(stats.buffersCreated).toBe(created);
    expect(await logits(model)).toEqual(outputs[1]);
    model.setAdapter('code');
    expect(await logits(model)).toEqual(outputs[2]);
    expect(model.activeAdapters).toEqual(['code']);
  });

  test('only the active one is trainable', async () => {
    const { model } = await two();
    const trained = () =>
      new Set(
        [...model.root.namedParameters()]
          .filter(([, p]) => p.trainable)
          .map(([name]) => /\.(math|code)\./.exec(name)?.[1]),
      );
    expect(trained()).toEqual(new Set(['code']));
    model.setAdapter(['math', 'code']);
    expect(trained()).toEqual(new Set(['math', 'code']));
  });

  test('several active ones add up, and merge to the same', async () => {
    const { model, outputs } = await two();
    model.setAdapter(['math', 'code']);
    const both = await logits(model);
    expect(both).not.toEqual(outputs[1]);
    await model.mergeAdapter();
    expect(largestDifference(await logits(model), both)).toBeLessThan(1e-4);
    model.unmergeAdapter();
    expect(await logits(model)).toEqual(both);
  });

  test('deleting one leaves the other', async () => {
    const { model, outputs } = await two();
    const bytes = model.engine.backend.stats.liveBytes;
    model.deleteAdapter('code');
    expect(model.activeAdapters).toEqual(['math']);
    expect(await logits(model)).toEqual(outputs[1]);
    expect(names(model, (n) => n.includes('.code.'))).toEqual([]);
    expect(model.engine.backend.stats.liveBytes).toBeLessThan(bytes);
  });

  test('loading onto a model that has one adds to it', async () => {
    const { model, base, outputs } = await two();
    const out = await folder();
    await model.savePretrained(out, { selectedAdapters: ['math'] });
    const again = await PeftModel.fromPretrained(base, `${out}/math`, { adapterName: 'third' });
    expect(again).toBe(model);
    expect(again.adapterNames).toEqual(['math', 'code', 'third']);
    expect(await logits(again)).toEqual(outputs[1]);
    const frozen = [...again.root.namedParameters()].every(([, p]) => !p.trainable);
    expect(frozen, 'loaded for inference').toBe(true);
  });

  test('two that load at once end up on one model', async () => {
    const attune = await open();
    const path = join(fixtures, 'adapters/lora-qv');
    const base = await load(attune);
    const [a, b] = await Promise.all(
      ['a', 'b'].map((adapterName) => PeftModel.fromPretrained(base, path, { adapterName })),
    );
    expect(a).toBe(b);
    expect(a!.adapterNames).toHaveLength(2);
  });

  test('mistakes', async () => {
    const { model } = await two();
    expect(() => model.setAdapter('maths')).toThrow(
      /PEFT_ADAPTER_UNKNOWN: there is no adapter "maths"\.\n {2}Fix: Adapters: "math", "code"/,
    );
    expect(() => getPeftModel(model, lora, 'math')).toThrow(/PEFT_ADAPTER_EXISTS/);
    expect(() => model.addAdapter('a.b', lora)).toThrow(/PEFT_ADAPTER_NAME/);
    expect(() =>
      model.addAdapter('x', { ...lora, modulesToSave: ['_proj'], targetModules: ['q_proj'] }),
    ).toThrow(/PEFT_CONFLICT: "model\.layers\.0\.self_attn\.q_proj"/);
    expect(() => model.addAdapter('x', { ...lora, targetModules: ['qproj'] })).toThrow(
      /PEFT_NO_TARGET: targetModules \["qproj"\] match none of the 15 linear layers of llama/,
    );
    expect(() => model.addAdapter('x', { ...lora, modulesToSave: ['header'] })).toThrow(
      /PEFT_NO_TARGET: modulesToSave: llama has no module "header"/,
    );
    expect(model.adapterNames).toEqual(['math', 'code']);
  });

  test('a rank that no layer has: refused, but not in a file', async () => {
    const attune = await open();
    const base = await load(attune);
    expect(() => getPeftModel(base, { ...lora, r: 1000 })).toThrow(
      /PEFT_RANK: r is 1000, and the weight of model\.layers\.0\.self_attn\.q_proj is \[64, 64\][\s\S]*at most 64/,
    );
    expect(base.adapters).toBeNull();
    // Larger than one size alone, as PEFT's users give for grouped keys and values.
    getPeftModel(base, { ...lora, r: 48, targetModules: ['k_proj'] }).unload();
    const plan = { peft_type: 'LORA', r: 65, target_modules: ['q_proj'] };
    const out = await folder();
    const tensors = [0, 1].flatMap((i) =>
      [['A', [65, 64]] as const, ['B', [64, 65]] as const].map(([side, shape]) => ({
        name: `base_model.model.model.layers.${i}.self_attn.q_proj.lora_${side}.weight`,
        dtype: 'float32' as const,
        shape,
        data: async () => new Float32Array(65 * 64),
      })),
    );
    await writeSafetensors(join(out, 'adapter_model.safetensors'), tensors);
    await writeFile(join(out, 'adapter_config.json'), JSON.stringify(plan));
    const loaded = await PeftModel.fromPretrained(base, out);
    expect(loaded.peftConfig.default?.r).toBe(65);
  });
});

describe('adapters off', () => {
  test('the base, for functions and for async ones; on again after, also after errors', async () => {
    const attune = await open();
    const base = await load(attune, 'tiny-qwen2');
    const before = await logits(base);
    const first = await logits(base, [[5]]);
    const model = getPeftModel(base, { ...lora, bias: 'all', modulesToSave: ['norm'] });
    disturb(model);
    const adapted = await logits(model);
    expect(adapted).not.toEqual(before);
    expect(await model.withAdaptersDisabled(async () => await logits(model))).toEqual(before);
    expect(await logits(model)).toEqual(adapted);
    const sync = model.withAdaptersDisabled(() =>
      model.forward({ inputIds: attune.engine.tensor([5], [1, 1], 'int32') }),
    );
    expect(await sync.data()).toEqual(first);
    expect(() =>
      model.withAdaptersDisabled(() => {
        throw new Error('no');
      }),
    ).toThrow('no');
    await expect(
      model.withAdaptersDisabled(() => Promise.reject(new Error('no'))),
    ).rejects.toThrow();
    expect(await logits(model)).toEqual(adapted);
  });

  test('between a forward and its backward, gradients still arrive', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), everything);
    disturb(model);
    const { engine } = model;
    const grads = async (withReference: boolean) => {
      engine.scope('step', () => {
        const inputIds = engine.tensor([5, 9], [1, 2], 'int32');
        const loss = model.forward({ inputIds }).square().sum();
        if (withReference)
          engine.noGrad(() => model.withAdaptersDisabled(() => model.forward({ inputIds })));
        engine.backward(loss);
      });
      const all: number[] = [];
      for (const [, parameter] of model.root.namedParameters())
        if (parameter.trainable) {
          all.push(...(await parameter.tensor.grad!.data()));
          parameter.clearGrad();
        }
      return all;
    };
    expect(await grads(true)).toEqual(await grads(false));
  });
});

describe('merging', () => {
  for (const [base, config] of [
    ['tiny-llama', everything],
    ['tiny-llama', { ...lora, useRslora: true, rankPattern: { q_proj: 2 } }],
    ['tiny-qwen2', { ...lora, bias: 'all', modulesToSave: ['norm'] }],
    ['tiny-qwen2', { ...lora, bias: 'lora_only', loraBias: true }],
  ] as const)
    test(`${base} ${JSON.stringify(config)}`, async () => {
      const attune = await open();
      const plain = await load(attune, base);
      const tree = names(plain);
      const before = await logits(plain);
      const model = getPeftModel(plain, config);
      disturb(model);
      const adapted = await logits(model);

      await model.mergeAdapter();
      expect(largestDifference(await logits(model), adapted)).toBeLessThan(1e-4);
      expect(() => model.setAdapter('default')).toThrow(/PEFT_MERGED/);
      expect(() => model.withAdaptersDisabled(() => 0)).toThrow(/unmergeAdapter\(\) first/);
      model.unmergeAdapter();
      expect(await logits(model)).toEqual(adapted);

      const merged = await model.mergeAndUnload({ safeMerge: true });
      expect(merged).toBe(plain);
      expect(merged.adapters).toBeNull();
      expect(names(merged)).toEqual(tree);
      expect(largestDifference(await logits(merged), adapted)).toBeLessThan(1e-4);
      expect(largestDifference(await logits(merged), before)).toBeGreaterThan(1e-3);
      expect([...merged.root.namedParameters()].every(([, p]) => p.trainable)).toBe(true);

      // The merged model is a plain one: it can be saved, and adapted again.
      expect(await logits(getPeftModel(merged, lora))).toEqual(await logits(merged));
    });

  test('unload gives the base back, merged or not', async () => {
    const attune = await open();
    const base = await load(attune);
    const before = await logits(base);
    for (const merge of [false, true]) {
      const model = getPeftModel(base, lora);
      disturb(model);
      if (merge) await model.mergeAdapter();
      expect(model.unload()).toBe(base);
      expect(await logits(base)).toEqual(before);
    }
  });

  test('loraBias needs a bias to go to', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), { ...lora, loraBias: true });
    await expect(model.mergeAndUnload()).rejects.toThrow(
      /PEFT_NOT_MERGEABLE: loraBias cannot be merged into model\.layers\.1/,
    );
    expect(model.activeAdapters).toEqual(['default']);
  });
});

test('a tied embedding is not saved as a module: its head would be lost', async () => {
  const attune = await open();
  const model = await load(attune, 'tiny-llama-tied');
  expect(() => getPeftModel(model, { ...lora, modulesToSave: ['embed_tokens'] })).toThrow(
    /PEFT_TIED_EMBEDDING/,
  );
  expect(() => getPeftModel(model, { ...lora, modulesToSave: ['lm_head'] })).toThrow(
    /Its head is the embedding/,
  );
});

test('a Trainer reaches all this through the service', async () => {
  const attune = await open();
  const model = await load(attune);
  const adapted = attune.service(TOKENS.AdapterService)!.apply(model, lora);
  expect(adapted.adapters?.activeAdapters).toEqual(['default']);
  expect(model.adapters).toBe(adapted.adapters);
});

test('one entry that matches nothing is warned of, with what it was', async () => {
  const said: string[] = [];
  const attune = await open({
    logger: { info: () => {}, warn: (m) => said.push(m), error: () => {} },
  });
  getPeftModel(await load(attune), { ...lora, targetModules: ['q_proj', 'vproj'] });
  expect(said).toHaveLength(1);
  expect(said[0]).toMatch(/targetModules \["vproj"\] matches no module of llama/);
});
