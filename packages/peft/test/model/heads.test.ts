import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
  collatePredictions,
  type LanguageModel,
  sequenceLogProbs,
  upload,
} from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, it, vi } from 'vitest';
import { fixtures, folder, open, readTensors } from '../support.js';

const tiny = join(fixtures, 'tiny-llama');
const ids = ({ engine }: LanguageModel) => engine.tensor([5, 9, 2, 7], [1, 4], 'int32');
const lora = { peftType: 'LORA', r: 2, targetModules: 'all-linear' } as const;
const configIn = (path: string) =>
  JSON.parse(readFileSync(join(path, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;

describe('adapters on a model with another head', () => {
  it('a classifier: what it is for and its scores are those of the base; it writes no text', async () => {
    const attune = await open();
    const base = await AutoModelForSequenceClassification.fromPretrained(tiny, {
      attune,
      numLabels: 1,
    });
    const model = getPeftModel(base, lora);
    expect(model.taskType).toBe('SEQ_CLS');
    expect(model.scoring).toEqual({ numLabels: 1, problemType: 'regression' });
    const scores = await model.scores!({ inputIds: ids(model) }).data();
    expect(scores).toEqual(await base.scores({ inputIds: ids(model) }).data());
    const js = model as unknown as PeftModel; // as JavaScript calls it
    expect(() => js.generate({ inputIds: [1] })).toThrow(
      /GENERATE_OPTION: generate: a model for the task "SEQ_CLS" writes no text/,
    );
    const path = await folder();
    await model.savePretrained(path);
    expect(configIn(path)).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'] });
    expect('generate' in (await model.mergeAndUnload())).toBe(false);
  });

  it('a value head: it is trained whole, saved with the adapter and read again', async () => {
    const attune = await open();
    const load = () =>
      AutoModelForCausalLMWithValueHead.fromPretrained(tiny, { attune, dtype: 'float32', seed: 1 });
    const model = getPeftModel(await load(), lora);
    expect(model.taskType).toBe('CAUSAL_LM');
    const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
    const head = trained.filter(([name]) => name.includes('v_head'));
    expect(head.map(([, { shape }]) => shape)).toEqual([[1, 64], [1]]);
    expect(trained.some(([name]) => name.includes('lora_'))).toBe(true);
    for (const [, parameter] of head) parameter.write(new Float32Array(parameter.size).fill(0.25));
    const values = await model.values!({ inputIds: ids(model) }).data();
    const hidden = model.hiddenStates({ inputIds: ids(model) });
    expect(await model.valuesOf!(hidden).data()).toEqual(values);
    const path = await folder();
    await model.savePretrained(path);
    expect(configIn(path)).toMatchObject({
      task_type: 'CAUSAL_LM',
      modules_to_save: ['v_head.summary'],
    });
    const names = [...(await readTensors(join(path, 'adapter_model.safetensors'))).keys()];
    expect(names.filter((name) => name.includes('v_head')).sort()).toEqual([
      'base_model.model.v_head.summary.bias',
      'base_model.model.v_head.summary.weight',
    ]);
    const again = await PeftModel.fromPretrained(await load(), path);
    expect(await again.values!({ inputIds: ids(again) }).data()).toEqual(values);
    expect((await again.generate({ inputIds: [5], maxNewTokens: 2 })).sequences[0]).toHaveLength(3);
  });

  it('a value head over a base of 4 bits: it and the adapter learn from one pass', async () => {
    const attune = await open();
    const base = await AutoModelForCausalLMWithValueHead.fromPretrained(tiny, {
      attune,
      quantization: { loadIn4bit: true },
      seed: 1,
    });
    const model = getPeftModel(base, lora);
    const { engine } = model;
    const row = { inputIds: [5, 9, 2, 7, 11], labels: [-100, -100, 2, 7, 11] };
    const batch = upload(engine, collatePredictions([row], 8), model);
    const passes = vi.spyOn(base, 'hiddenStates');
    const { sums, values } = sequenceLogProbs(model, batch, { withValues: true });
    expect(passes).toHaveBeenCalledTimes(1);
    const expected = await model.values!({ inputIds: batch.inputIds! }).data();
    const found = await values!.data();
    for (const t of [1, 2, 3]) expect(found[t]).toBeCloseTo(expected[t]!, 6);
    engine.backward(values!.square().sum().sub(sums.sum()));
    const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
    expect(trained.every(([name]) => /lora_|v_head/.test(name))).toBe(true);
    const learning = trained.filter(([name]) => !name.includes('lora_A')); // lora_B is 0 yet
    expect(learning.filter(([name]) => name.includes('v_head'))).toHaveLength(2);
    expect(learning.length).toBeGreaterThan(10);
    for (const [name, { tensor }] of learning)
      expect(Math.max(...(await tensor.grad!.data()).map(Math.abs)), name).toBeGreaterThan(0);
  });
});
