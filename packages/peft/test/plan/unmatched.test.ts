import { getPeftModel } from '@attune/peft';
import { expect, test } from 'vitest';
import { load, open } from '../support.js';

async function warnings(config: object): Promise<string[]> {
  const said: string[] = [];
  const attune = await open({
    logger: { info: () => {}, warn: (m) => said.push(m), error: () => {} },
  });
  getPeftModel(await load(attune), {
    peftType: 'LORA',
    targetModules: ['q_proj', 'v_proj'],
    ...config,
  });
  return said;
}

test('every option that matches something is taken without a word', async () => {
  expect(
    await warnings({
      targetModules: ['q_proj', 'v_proj', 'up_proj'],
      excludeModules: ['lm_head', 'model.layers.0.mlp.up_proj'],
      rankPattern: { q_proj: 4, 'layers\\.1\\..*': 2 },
      alphaPattern: { 'self_attn.v_proj': 4 },
      layersToTransform: [0, 1],
      layersPattern: 'layers',
    }),
  ).toEqual([]);
  expect(await warnings({ targetModules: 'all-linear', excludeModules: '.*gate_proj' })).toEqual(
    [],
  );
  expect(await warnings({ peftType: 'IA3', targetModules: undefined })).toEqual([]);
  expect(await warnings({ peftType: 'IA3', targetModules: '.*[qv]_proj' })).toEqual([]);
});

test.each<[string, object, string]>([
  [
    'targetModules',
    { targetModules: ['q_proj', 'vproj'] },
    'targetModules ["vproj"] matches no module of llama. Nearest: "v_proj".',
  ],
  [
    'excludeModules',
    { excludeModules: ['kproj', 'lm_head'] },
    'excludeModules ["kproj"] matches no module of llama. Nearest: "k_proj".',
  ],
  [
    'excludeModules, an expression',
    { excludeModules: String.raw`.*layers\.7\..*` },
    String.raw`excludeModules [".*layers\\.7\\..*"] matches no module of llama.`,
  ],
  [
    'rankPattern',
    { rankPattern: { qproj: 4, v_proj: 2 } },
    'rankPattern ["qproj"] matches no adapted layer of llama. Nearest: "q_proj". Names: q_proj, v_proj.',
  ],
  [
    'rankPattern of a layer that is not adapted',
    { rankPattern: { up_proj: 4 } },
    'rankPattern ["up_proj"] matches no adapted layer of llama.',
  ],
  [
    'alphaPattern',
    { alphaPattern: { 'layers.9.self_attn.q_proj': 4, 'mlp.q_proj': 1 } },
    'alphaPattern ["layers.9.self_attn.q_proj","mlp.q_proj"] match no adapted layer of llama.',
  ],
  [
    'layersToTransform',
    { layersToTransform: [0, 5] },
    'layersToTransform [5] are no layers with such modules in llama; there are 0 to 1.',
  ],
  [
    'layersPattern',
    { layersToTransform: [0], layersPattern: ['layers', 'blocks'] },
    'layersPattern ["blocks"] stands before no number of a layer of llama; known: layers.',
  ],
  [
    'feedforwardModules',
    { peftType: 'IA3', targetModules: '.*[qv]_proj', feedforwardModules: ['downproj'] },
    'feedforwardModules ["downproj"] matches no adapted layer of llama.',
  ],
  [
    'excludeModules of a selection',
    { peftType: 'LAYER_SELECT', targetModules: ['mlp', 'mpl'] },
    'targetModules ["mpl"] matches no module of llama. Nearest: "mlp".',
  ],
])('%s that matches nothing is named, with what there is', async (_, config, says) => {
  const said = await warnings(config);
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(says);
});

test('what PEFT refuses stays an error', async () => {
  await expect(warnings({ targetModules: ['qproj'] })).rejects.toThrow(/PEFT_NO_TARGET/);
  await expect(warnings({ layersToTransform: [7] })).rejects.toThrow(/PEFT_NO_TARGET/);
  await expect(warnings({ modulesToSave: ['lmhead'] })).rejects.toThrow(/PEFT_NO_TARGET/);
});
