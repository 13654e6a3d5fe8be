import { cp, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attune, AutoModelForCausalLM, createAttune } from '@attune/core';
import { SafetensorsFile, writeSafetensors } from '@attune/core/io';
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fixtures } from '../support.js';

let scratch: string;
let attune: Attune;
const warnings: string[] = [];
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-nested-peft-'));
  const note = (message: string) => warnings.push(message);
  const logger = { debug() {}, info() {}, warn: note, error: note };
  attune = await createAttune({ backend: 'reference', logger, plugins: [peft()] });
});
afterAll(async () => {
  attune.dispose();
  await rm(scratch, { recursive: true });
});

const models = ['nested-gemma3', 'nested-mistral3', 'nested-smolvlm'];
const load = (name: string) =>
  AutoModelForCausalLM.fromPretrained(join(fixtures, name), { attune, dtype: 'float32' });

it.each(models)(
  '%s: an adapter of PEFT on the whole class computes the same on text',
  async (name) => {
    warnings.length = 0;
    const base = await load(name);
    const model = await PeftModel.fromPretrained(base, join(fixtures, name, 'adapter'));
    await using expected = await SafetensorsFile.open(join(fixtures, name, 'forward.safetensors'));
    const ids = await expected.read('input_ids');
    const inputIds = attune.engine.tensor(ids.data as Int32Array, ids.shape as number[], 'int32');
    const logits = await attune.engine.scope('test', () => model.forward({ inputIds })).data();
    const { data } = await expected.read('adapted');
    const worst = Math.max(...Array.from(data as Float32Array, (v, i) => Math.abs(v - logits[i]!)));
    expect(worst).toBeLessThan(5e-5);
    // PEFT put one on the vision tower too.
    expect(warnings.join()).toMatch(/\d+ tensors adapt the towers beside the text model/);
    base.dispose();
  },
);

const oldName = (name: string) =>
  name
    .replace('model.model.language_model.', 'model.language_model.model.')
    .replace('model.model.vision_tower', 'model.vision_tower');

it('an adapter with the names of transformers 4 is the same adapter', async () => {
  const from = join(fixtures, 'nested-gemma3/adapter');
  const folder = await mkdtemp(join(scratch, 'old-'));
  await cp(from, folder, { recursive: true });
  await using source = await SafetensorsFile.open(join(from, 'adapter_model.safetensors'));
  const tensors = source.names.map((name) => ({
    ...source.info(name),
    name: oldName(name),
    data: () => source.readBytes(name),
  }));
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  const base = await load('nested-gemma3');
  const model = await PeftModel.fromPretrained(base, folder);
  const saved = await mkdtemp(join(scratch, 'new-'));
  await model.savePretrained(saved);
  await using ours = await SafetensorsFile.open(join(saved, 'adapter_model.safetensors'));
  for (const name of ours.names) expect(await ours.read(name)).toEqual(await source.read(name));
  expect(ours.names).toHaveLength(8);
  base.dispose();
});

it('an adapter that has one tensor under both names is refused', async () => {
  const from = join(fixtures, 'nested-gemma3/adapter');
  const folder = await mkdtemp(join(scratch, 'both-'));
  await cp(from, folder, { recursive: true });
  await using source = await SafetensorsFile.open(join(from, 'adapter_model.safetensors'));
  const inText = source.names.find((name) => oldName(name) !== name)!;
  const tensors = [...source.names, oldName(inText)].map((name) => {
    const kept = name === oldName(inText) ? inText : name;
    return { ...source.info(kept), name, data: () => source.readBytes(kept) };
  });
  await writeSafetensors(join(folder, 'adapter_model.safetensors'), tensors);
  const base = await load('nested-gemma3');
  await expect(PeftModel.fromPretrained(base, folder)).rejects.toMatchObject({
    code: 'PEFT_TENSOR_TWICE',
  });
  base.dispose();
});

it.each(models)(
  '%s: an adapter of ours has the names of PEFT, and targets the text model alone',
  async (name) => {
    const base = await load(name);
    const model = getPeftModel(base, {
      peftType: 'LORA',
      r: 2,
      targetModules: ['q_proj', 'v_proj'],
    });
    const folder = await mkdtemp(join(scratch, 'a-'));
    await model.savePretrained(folder);
    await using ours = await SafetensorsFile.open(join(folder, 'adapter_model.safetensors'));
    await using theirs = await SafetensorsFile.open(
      join(fixtures, name, 'adapter/adapter_model.safetensors'),
    );
    expect([...ours.names].sort()).toEqual(theirs.names.filter((n) => !/vision/.test(n)).sort());
    const { target_modules: targets } = JSON.parse(
      await readFile(join(folder, 'adapter_config.json'), 'utf8'),
    );
    expect(targets).toContain(ours.names[0]!.replace(/^base_model\.model\.|\.lora_.*$/g, ''));
    expect(targets).toHaveLength(4);
    base.dispose();
  },
);
