import { mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  loglikelihoodTask,
  runEvaluationTask,
  SFTTrainer,
  type TrainerCallback,
} from '@attune/core';
import { extractLora, getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { folder, logits, open } from '../support.js';

// A PeftModel whose adapters were taken off would train all weights and save none: no use of it
// goes through.

const lora = { peftType: 'LORA', r: 2, targetModules: ['q_proj'] } as const;

const tiny = (attune: Attune): Promise<CausalLM> =>
  AutoModelForCausalLM.fromConfig(
    {
      model_type: 'llama',
      vocab_size: 17,
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      tie_word_embeddings: false,
    },
    { attune },
  );

const rows = [{ input_ids: [1, 2, 3, 4] }, { input_ids: [5, 6, 7] }];

const trainerOf = (
  model: CausalLM | PeftModel,
  outputDir: string,
  callbacks: readonly TrainerCallback[] = [],
  args: object = {},
) =>
  new SFTTrainer({
    model,
    trainDataset: rows,
    evalDataset: rows,
    callbacks,
    args: { outputDir, maxSteps: 3, preflight: 'off', saveSteps: 1, ...args },
  });

const uses: Readonly<Record<string, (p: PeftModel, out: string) => unknown>> = {
  'new SFTTrainer': (p, out) => trainerOf(p, out),
  forward: (p) => logits(p),
  hiddenStates: (p) => p.hiddenStates({ inputIds: p.engine.tensor([1, 2], [1, 2], 'int32') }),
  generate: (p) => p.generate({ inputIds: [[1, 2]], maxNewTokens: 1 }),
  generateStream: async (p) => {
    for await (const _ of p.generateStream({ inputIds: [[1, 2]], maxNewTokens: 1 }));
  },
  savePretrained: (p, out) => p.savePretrained(out),
  loadWeights: (p, out) => p.loadWeights(out),
  addAdapter: (p) => p.addAdapter('more', lora),
  attachTensors: (p) => p.attachTensors('more', lora, new Map()),
  loadAdapter: (p, out) => p.loadAdapter(out),
  'PeftModel.fromPretrained': (p, out) => PeftModel.fromPretrained(p, out),
  getPeftModel: (p) => getPeftModel(p, lora),
  addWeightedAdapter: (p) =>
    p.addWeightedAdapter({ adapters: ['default'], weights: [1], adapterName: 'more' }),
  setAdapter: (p) => p.setAdapter('default'),
  'setAdapter of none': (p) => p.setAdapter([]),
  deleteAdapter: (p) => p.deleteAdapter('default'),
  copyAdapter: (p) => p.copyAdapter('default', 'more'),
  withAdapters: (p) => p.withAdapters('default', () => 0),
  withAdaptersDisabled: (p) => p.withAdaptersDisabled(() => 0),
  withAdapterPerRow: (p) => p.withAdapterPerRow(['__base__'], () => 0),
  mergeAdapter: (p) => p.mergeAdapter(),
  unmergeAdapter: (p) => p.unmergeAdapter(),
  mergeAndUnload: (p) => p.mergeAndUnload(),
  unload: (p) => p.unload(),
  ready: (p) => p.ready(),
  adapters: (p) => p.adapters,
  root: (p) => p.root,
  gradientCheckpointingEnable: (p) => p.gradientCheckpointingEnable(),
  dequantize: (p) => p.dequantize(),
  printTrainableParameters: (p) => p.printTrainableParameters(),
  extractLora: (p) => extractLora(p, p, { rank: 1 }),
};

describe.each(['mergeAndUnload', 'unload'] as const)('after %s', (how) => {
  test.each(Object.entries(uses))('%s names the model to use', async (_, use) => {
    const attune = await open();
    const base = await tiny(attune);
    const p = getPeftModel(base, lora);
    expect(await p[how]()).toBe(base);
    const out = await mkdtemp(join(tmpdir(), 'attune-unloaded-'));
    await expect((async () => use(p, out))()).rejects.toThrow(
      new RegExp(
        `PEFT_UNLOADED: ${how}\\(\\) took .* Use the model that ${how}\\(\\) returned`,
        's',
      ),
    );
    expect(await readdir(out)).toEqual([]);
    // What it was made of is a plain model.
    expect(base.adapters).toBeNull();
    await base.savePretrained(out);
    expect(await readdir(out)).toContain('model.safetensors');
  });

  test.each([
    'train',
    'evaluate',
    'predict',
    'preview',
    'profile',
    'planMemory',
    'saveModel',
  ] as const)('trainer.%s of a trainer made before', async (method) => {
    const attune = await open();
    const p = getPeftModel(await tiny(attune), lora);
    const out = await folder();
    const trainer = trainerOf(p, out);
    await p[how]();
    const given = { evaluate: rows, predict: rows, saveModel: out }[method as string];
    await expect((async () => trainer[method](given as never))()).rejects.toThrow(/PEFT_UNLOADED/);
    expect(await readdir(out)).toEqual([]);
  });

  test('a trainer of the base that had adapters does not go on without them', async () => {
    const attune = await open();
    const base = await tiny(attune);
    const p = getPeftModel(base, lora);
    const out = await folder();
    const trainer = trainerOf(base, out);
    await p[how]();
    for (const use of [() => trainer.train(), () => trainer.evaluate(), () => trainer.saveModel()])
      await expect(use()).rejects.toThrow(/ADAPTERS_CHANGED: .* taken off .* Make a new trainer/s);
    expect(await readdir(out)).toEqual([]);
  });

  test('in the middle of a run the run ends, with the checkpoints that it has', async () => {
    const attune = await open();
    for (const which of ['adapted', 'base'] as const) {
      const base = await tiny(attune);
      const p = getPeftModel(base, lora);
      const out = await folder();
      const onSave = async () => void (await p[how]());
      const trainer = trainerOf(which === 'base' ? base : p, out, [{ onSave }]);
      await expect(trainer.train()).rejects.toThrow(/PEFT_UNLOADED|ADAPTERS_CHANGED/);
      expect(await readdir(out)).toEqual(['checkpoint-1']);
      expect(await readdir(join(out, 'checkpoint-1'))).toContain('adapter_model.safetensors');
    }
  });
});

test('an evaluation task on it', async () => {
  const attune = await open();
  const p = getPeftModel(await tiny(attune), lora);
  p.unload();
  const tokenizer = { encode: () => [1, 2], decode: () => '' } as never;
  const task = loglikelihoodTask({
    name: 'x',
    rows: [{ context: 'a', choices: ['b', 'c'], answer: 0 }],
  });
  await expect(runEvaluationTask(task, { model: p, tokenizer })).rejects.toThrow(/PEFT_UNLOADED/);
});

describe('a model from which nothing would be saved', () => {
  test('the last adapter was deleted', async () => {
    const attune = await open();
    const p = getPeftModel(await tiny(attune), lora);
    p.deleteAdapter('default');
    const out = await folder();
    await expect(p.savePretrained(out)).rejects.toThrow(/PEFT_NO_ADAPTER: .*unload\(\) gives/s);
    await expect(p.mergeAndUnload()).rejects.toThrow(/PEFT_NO_ADAPTER/);
    await expect(trainerOf(p, out).train()).rejects.toThrow(/PEFT_NO_ADAPTER: training/);
    await expect(trainerOf(p, out).saveModel()).rejects.toThrow(/PEFT_NO_ADAPTER/);
    expect(await readdir(out)).toEqual([]);
    // It is not lost: another adapter, or the base.
    p.addAdapter('new', lora);
    await trainerOf(p, out).train();
    await p.savePretrained(out);
    expect(await readdir(join(out, 'new'))).toContain('adapter_model.safetensors');
    expect(p.unload().adapters).toBeNull();
  });

  test('no adapter is active, or none is selected', async () => {
    const attune = await open();
    const p = getPeftModel(await tiny(attune), lora);
    const out = await folder();
    await expect(p.savePretrained(out, { selectedAdapters: [] })).rejects.toThrow(
      /selectedAdapters is empty.*Name what to save: "default"/s,
    );
    p.setAdapter([]);
    const noneActive = /no adapter is active.*Call setAdapter first: "default"/s;
    await expect(trainerOf(p, out).train()).rejects.toThrow(noneActive);
    await expect(p.mergeAdapter()).rejects.toThrow(noneActive);
    await expect(p.mergeAndUnload()).rejects.toThrow(noneActive);
  });

  test('a merged adapter does not compute, so it learns nothing', async () => {
    const attune = await open();
    const p = getPeftModel(await tiny(attune), lora);
    await p.mergeAdapter();
    await expect(trainerOf(p, await folder()).train()).rejects.toThrow(/PEFT_MERGED: training/);
  });

  test('weights of the base that are trained beside an adapter', async () => {
    const attune = await open();
    const p = getPeftModel(await tiny(attune), lora);
    new Map(p.root.namedParameters()).get('lm_head.weight')!.trainable = true;
    const out = await folder();
    const beside = /PEFT_TRAINED_BESIDE: lm_head.weight of the base is trainable.* modulesToSave/s;
    await expect(trainerOf(p, out).train()).rejects.toThrow(beside);
    await expect(p.savePretrained(out)).rejects.toThrow(beside);
    // Without checkpoints it may be meant: all of it is in the merged model.
    await trainerOf(p, out, [], { saveStrategy: 'no' }).train();
    expect((await p.mergeAndUnload()).adapters).toBeNull();
  });

  test('the adapter in training is deleted, or another takes its place', async () => {
    const attune = await open();
    for (const change of ['deleteAdapter', 'setAdapter'] as const) {
      const p = getPeftModel(await tiny(attune), lora);
      p.addAdapter('other', lora);
      const onStepEnd = () => p[change](change === 'setAdapter' ? 'other' : 'default');
      const trainer = trainerOf(p, await folder(), [{ onStepEnd }], { saveStrategy: 'no' });
      await expect(trainer.train()).rejects.toThrow(
        /ADAPTERS_CHANGED: the active adapters were "default" .* and are "other" now/,
      );
    }
  });
});

test('of two PeftModels of a base the one without its adapters is refused', async () => {
  const attune = await open();
  const base = await tiny(attune);
  const [first, second] = [PeftModel.on(base), PeftModel.on(base)];
  first.addAdapter('default', lora);
  const other = /PEFT_OTHER_HOST: .* adapters of another PeftModel/;
  expect(() => second.addAdapter('more', lora)).toThrow(other);
  expect(() => second.unload()).toThrow(other);
  expect(() => trainerOf(second, 'never')).toThrow(other);
  expect(first.adapterNames).toEqual(['default']);
  await logits(first);
});

test('two merges at once do not add the adapter twice', async () => {
  const attune = await open();
  const p = getPeftModel(await tiny(attune), lora);
  const both = await Promise.allSettled([p.mergeAdapter({ safeMerge: true }), p.mergeAndUnload()]);
  expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  expect(String((both[1] as PromiseRejectedResult).reason)).toMatch(/being merged/);
  expect((await p.mergeAndUnload()).adapters).toBeNull();
});
