import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type AdapterTarget, checkAdapter, getPeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixtures, folder, load, open, readTensors } from '../support.js';

const codes = async (path: string, target: AdapterTarget) =>
  (await checkAdapter(path, { target })).map(({ code, effect }) => `${code} ${effect}`).sort();

/** A copy of an adapter that PEFT saved, with other fields in its config. */
async function changed(name: string, fields: Record<string, unknown>): Promise<string> {
  const to = join(await folder(), 'adapter');
  await mkdir(to);
  const from = join(fixtures, name);
  await copyFile(join(from, 'adapter_model.safetensors'), join(to, 'adapter_model.safetensors'));
  const config = JSON.parse(await readFile(join(from, 'adapter_config.json'), 'utf8'));
  await writeFile(join(to, 'adapter_config.json'), JSON.stringify({ ...config, ...fields }));
  return to;
}

describe('adapters that PEFT saved', () => {
  const none: readonly string[] = [];
  for (const [name, vllm, llamaCpp] of [
    ['adapters/lora-qv', none, none],
    ['adapters/all-linear', none, none],
    ['adapters/regex', none, none],
    ['adapters/layers-to-transform', none, none],
    ['adapters/rslora-qv', none, ['RSLORA_SCALE wrong']],
    ['adapters/patterns', ['PATTERN_SCALE wrong'], ['PATTERN_SCALE wrong']],
    ['adapters/dora-qv', ['DORA refused'], ['DORA refused']],
    ['adapters/qwen2-dora-rslora', ['DORA refused'], ['DORA refused', 'RSLORA_SCALE wrong']],
    ['adapters/modules-to-save-lm-head', ['MODULES_TO_SAVE refused'], ['MODULES_TO_SAVE refused']],
    ['adapters/qwen2-bias-all', ['BIAS refused'], ['BIAS refused']],
    ['adapters/qwen2-bias-lora-only', ['BIAS refused'], ['BIAS refused']],
    ['adapters/qwen2-lora-bias', ['BIAS refused'], ['BIAS refused']],
    ['lora-variants/pissa-saved/raw', ['START_FROM_BASE wrong'], ['START_FROM_BASE wrong']],
    ['lora-variants/pissa-saved/plain', none, none],
    ['lora-variants/olora-saved/plain', none, ['RSLORA_SCALE wrong']],
    ['methods/ia3-llama', ['METHOD refused'], ['METHOD refused']],
    ['methods/vera-llama', ['METHOD refused'], ['METHOD refused']],
    [
      'methods/lora-embedding-llama',
      ['EMBEDDING refused', 'HEAD refused'],
      ['EMBEDDING refused', 'HEAD refused'],
    ],
    ['methods/prompt-tuning-llama', ['METHOD refused'], ['METHOD refused']],
    ['methods/p-tuning-mlp-llama', ['METHOD refused'], ['METHOD refused']],
    ['methods/prefix-tuning-llama', ['METHOD refused'], ['METHOD refused']],
    ['methods/lora-conv1d', ['CONV1D refused'], ['CONV1D refused']],
  ] as const)
    test(name, async () => {
      const path = join(fixtures, name);
      expect(await codes(path, 'peft')).toEqual([]);
      expect(await codes(path, 'vllm')).toEqual(vllm);
      expect(await codes(path, 'llama.cpp')).toEqual(llamaCpp);
    });
});

describe('each problem says what, how much, and what to do', () => {
  test('rsLoRA: the scale meant and the one computed', async () => {
    const path = join(fixtures, 'adapters/rslora-qv'); // r 8, alpha 16
    const [problem] = await checkAdapter(path, { target: 'llama.cpp' });
    expect(problem!.message).toMatch(
      /lora_alpha \/ rank and passes over use_rslora: 4 of 4 layers .*q_proj 2 in the place of 5\.6569\./,
    );
    expect(problem!.fix).toMatch(/portable: true/);
    // One of rank 1 has one scale by both rules.
    expect(
      await codes(await changed('adapters/lora-qv', { use_rslora: true, r: 1 }), 'vllm'),
    ).toEqual([]);
  });

  test('alpha patterns alone mislead llama.cpp, rank patterns do not', async () => {
    const ranks = JSON.parse(
      await readFile(join(fixtures, 'adapters/patterns/adapter_config.json'), 'utf8'),
    ).rank_pattern;
    const path = await changed('adapters/patterns', { alpha_pattern: {}, rank_pattern: ranks });
    expect(await codes(path, 'llama.cpp')).toEqual([]);
    expect(await codes(path, 'vllm')).toEqual(['PATTERN_SCALE wrong']);
  });

  test('vLLM: the rank that the server makes room for', async () => {
    const attune = await open();
    const model = getPeftModel(await load(attune), {
      peftType: 'LORA',
      r: 24,
      targetModules: ['q_proj'],
    });
    const out = await folder();
    await model.savePretrained(out);
    const [problem] = await checkAdapter(out, { target: 'vllm' });
    expect(problem).toMatchObject({ code: 'RANK', effect: 'refused' });
    expect(problem!.fix).toMatch(/--max-lora-rank 32/);
    expect(await checkAdapter(out, { target: 'vllm', maxLoraRank: 32 })).toEqual([]);
    expect(await codes(out, 'llama.cpp')).toEqual([]);
    // One layer of a rank of its own is enough.
    expect(
      await codes(await changed('adapters/patterns', { alpha_pattern: {} }), 'vllm'),
    ).not.toContain('RANK refused');
    expect(
      (await checkAdapter(join(fixtures, 'adapters/patterns'), { target: 'vllm', maxLoraRank: 4 }))
        .map(({ code }) => code)
        .sort(),
    ).toEqual(['PATTERN_SCALE', 'RANK']);
  });

  test('bias asked for where the layers have none: vLLM refuses it, the converter finds no tensor', async () => {
    const path = await changed('adapters/lora-qv', { bias: 'all' });
    expect(await codes(path, 'vllm')).toEqual(['BIAS refused']);
    expect(await codes(path, 'llama.cpp')).toEqual([]);
  });

  test('options that a target passes over', async () => {
    const path = await changed('adapters/lora-qv', {
      layer_replication: [[0, 2]],
      alora_invocation_tokens: [1, 2],
    });
    expect(await codes(path, 'vllm')).toEqual(['OPTION wrong', 'OPTION wrong']);
    expect(await codes(path, 'llama.cpp')).toEqual(['OPTION wrong']); // it reads aLoRA
  });

  test('fields that are missing', async () => {
    expect(
      await codes(await changed('adapters/lora-qv', { target_modules: null }), 'vllm'),
    ).toEqual(['CONFIG_FIELD refused']);
    const path = await changed('adapters/lora-qv', { lora_alpha: undefined });
    expect(await codes(path, 'llama.cpp')).toEqual(['CONFIG_FIELD refused']);
    // r and lora_alpha are 8 in PEFT where the file does not say; the tensors have rank 8.
    const noRank = await changed('adapters/rslora-qv', { r: undefined });
    expect(await codes(noRank, 'peft')).toEqual([]);
    expect(await codes(noRank, 'vllm')).toEqual(['CONFIG_FIELD refused']);
    expect(await codes(noRank, 'llama.cpp')).toEqual(['RSLORA_SCALE wrong']);
    const nobody = await changed('adapters/lora-qv', { base_model_name_or_path: null });
    expect(await codes(nobody, 'llama.cpp')).toEqual(['BASE refused']);
    expect(await codes(nobody, 'vllm')).toEqual([]);
  });

  test('PEFT: methods, ranks and starts', async () => {
    expect(await codes(await changed('adapters/lora-qv', { r: 4 }), 'peft')).toEqual([
      'RANK_MISMATCH refused',
    ]);
    expect(
      await codes(await changed('adapters/lora-qv', { init_lora_weights: 'loftq' }), 'peft'),
    ).toEqual(['START_FROM_BASE wrong']);
    expect(await codes(join(fixtures, 'methods/adapter-houlsby-llama'), 'peft')).toEqual([
      'METHOD refused',
    ]);
  });

  test('tensors without a place, and A without B', async () => {
    const { writeSafetensors } = await import('@attune/core/io');
    const to = await changed('adapters/lora-qv', {});
    const path = join(to, 'adapter_model.safetensors');
    const tensors = [...(await readTensors(path)).values()];
    const one = 'base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight';
    await writeSafetensors(
      path,
      tensors.map((t) => ({
        ...t,
        name: t.name === one ? one.replace('lora_B.weight', 'lora_B.default.weight') : t.name,
        data: t.data,
      })),
    );
    for (const target of ['vllm', 'llama.cpp'] as const)
      expect(await codes(to, target)).toEqual(['PAIR refused', 'TENSOR refused']);
    expect(await codes(to, 'peft')).toContain('PAIR refused');
  });

  test('a folder that nobody can read, a target or an option that nobody knows', async () => {
    await expect(checkAdapter(await folder(), { target: 'vllm' })).rejects.toMatchObject({
      code: 'PEFT_ADAPTER_MISSING',
    });
    await expect(
      checkAdapter(join(fixtures, 'adapters/lora-qv'), { target: 'tgi' as never }),
    ).rejects.toMatchObject({ code: 'PEFT_TARGET_UNKNOWN' });
    await expect(
      checkAdapter(join(fixtures, 'adapters/lora-qv'), {
        target: 'vllm',
        maxLoRARank: 64,
      } as never),
    ).rejects.toMatchObject({
      code: 'UNKNOWN_OPTION',
      message: expect.stringMatching(/Did you mean "maxLoraRank"/),
    });
  });
});
