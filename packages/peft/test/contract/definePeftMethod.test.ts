import { join } from 'node:path';
import { definePlugin } from '@attune/core';
import {
  definePeftMethod,
  getPeftModel,
  PeftMethods,
  PeftModel,
  type PromptMethod,
  peft,
  virtualTokenOptions,
} from '@attune/peft';
import { peftMethodKit } from '@attune/peft/testing';
import { expect, test } from 'vitest';
import { z } from 'zod';
import {
  disturb,
  folder,
  largestDifference,
  load,
  logits,
  open,
  readTensors,
  untyped,
} from '../support.js';

/** y = W x + b + shift; its parameter has no key of its own, and it cannot be merged. */
const shift = definePeftMethod({
  peftType: 'SHIFT',
  config: z.object({ start: z.number().default(0) }),
  params: (layer, config) => ({
    shift: { shape: [layer.outFeatures], init: { constant: config.start } },
  }),
  forward: (x, base, p) => base(x).add(p.shift),
});

/** Trains all norms. */
const norms = definePeftMethod({
  peftType: 'NORMS',
  config: z.object({}),
  without: ['targetModules', 'bias'],
  select: ({ parameters }) => parameters.map((p) => p.name).filter((n) => /norm\.weight$/.test(n)),
});

/** y = f(x) + g * s on whole blocks; s is one frozen vector for all of them. */
const nudge = definePeftMethod({
  peftType: 'NUDGE',
  config: z.object({ half: z.number().nullable().default(null) }),
  targets: 'module',
  resolve: (config, { hiddenSize }) => ({
    ...config,
    half: config.half ?? hiddenSize / 2,
    targetModules: config.targetModules ?? ['self_attn', 'mlp'],
  }),
  params: () => ({ gain: { shape: [1], init: 'zeros' } }),
  shared: ([layer]) => ({
    direction: {
      shape: [layer!.outFeatures],
      init: { values: () => Float32Array.from({ length: layer!.outFeatures }, (_, i) => i / 64) },
      key: 'nudge_direction',
    },
  }),
  forward: (x, base, p) => base(x).add(p.direction.mul(p.gain)),
});

/** Virtual tokens g * e / (1 + |e|), g being one number; the step from e is theirs to save. */
const softPrompt = definePeftMethod({
  peftType: 'SOFT_PROMPT',
  config: virtualTokenOptions.extend({ gain: z.number().default(1) }),
  prompt: {
    gives: 'embeddings',
    params: ({ numVirtualTokens, gain }, { hiddenSize }) => ({
      e: { shape: [numVirtualTokens, hiddenSize], init: { normal: 1 } },
      g: { shape: [1], init: { constant: gain } },
    }),
    encoder: () => (p) => p.e.div(p.e.abs().add(1)).mul(p.g),
  },
}) as PromptMethod;

const plugins = () => [
  peft(),
  definePlugin({
    name: 'test',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => {
      for (const method of [shift, norms, nudge, softPrompt]) context.add(PeftMethods, method);
    },
  }),
];

test('options and parameters are typed without annotations', () => {
  definePeftMethod({
    peftType: 'TYPED',
    config: z.object({ size: z.number().default(1), on: z.boolean().default(false) }),
    params: (layer, config) => ({
      a: { shape: [config.size, layer.inFeatures], init: config.on ? 'ones' : 'zeros' },
      ...(config.on && { b: { shape: [1], init: { normal: 1 } } }),
    }),
    forward: (x, base, p, config, { dropout }) => {
      const size: number = config.size;
      // @ts-expect-error there is no such option
      config.sizes;
      // @ts-expect-error there is no such parameter
      p.c;
      // @ts-expect-error it is there only when it is on
      p.b.mul(size);
      return base(dropout(x, 0)).add(p.a.mul(size));
    },
    // @ts-expect-error a merged weight is a tensor
    mergedWeight: (_weight, _p, config) => config.size,
  });
});

test('a name that PEFT would not write is refused', () => {
  expect(() =>
    definePeftMethod({
      peftType: 'my-method',
      config: z.object({}),
      params: () => ({}),
      forward: (x, base) => base(x),
    }),
  ).toThrow(/PEFT_METHOD_INVALID/);
});

test('adapters of two methods work together', async () => {
  const attune = await open({ plugins: plugins() });
  const base = await load(attune);
  const targetModules = ['q_proj'];
  const model = getPeftModel(base, { peftType: 'LORA', targetModules }, 'first');
  disturb(model);
  const first = await logits(model);
  model.addAdapter('second', untyped({ peftType: 'SHIFT', targetModules, start: 0.5 }));
  model.setAdapter('second');
  const second = await logits(model);
  model.setAdapter(['first', 'second']);
  const both = await logits(model);
  for (const one of [first, second]) expect(largestDifference(both, one)).toBeGreaterThan(1e-3);
});

test('a method without mergedWeight says that it cannot be merged, and saves all the same', async () => {
  const attune = await open({ plugins: plugins() });
  const model = getPeftModel(await load(attune), {
    peftType: 'SHIFT',
    targetModules: 'all-linear',
  });
  await expect(model.mergeAndUnload()).rejects.toThrow(
    /PEFT_NOT_MERGEABLE: SHIFT adapters cannot be merged/,
  );
  expect([...model.root.namedParameters()].map(([name]) => name)).toContain(
    'model.layers.0.self_attn.q_proj.shift.default',
  );
  await model.savePretrained(await folder());
});

test('a method without default targets asks for them', async () => {
  const attune = await open({ plugins: plugins() });
  const model = await load(attune);
  expect(() => getPeftModel(model, untyped({ peftType: 'SHIFT' }))).toThrow(
    /PEFT_TARGETS_NEEDED: SHIFT has no default targetModules for llama/,
  );
});

test('a method adapts layers, selects parameters, or gives virtual tokens', () => {
  const rest = { peftType: 'X', config: z.object({}) } as const;
  for (const parts of [
    {},
    { params: () => ({}) },
    { ...norms, ...nudge },
    { ...norms, prompt: softPrompt.prompt },
    { prompt: softPrompt.prompt }, // without numVirtualTokens
  ])
    expect(() => definePeftMethod({ ...rest, ...parts } as never)).toThrow(/PEFT_METHOD_INVALID/);
});

test('selected parameters are trained as copies: the base stays, files have them, they merge', async () => {
  const attune = await open({ plugins: plugins() });
  const base = await load(attune);
  const before = await logits(base);
  const model = getPeftModel(base, untyped({ peftType: 'NORMS' }));
  expect(await logits(model)).toEqual(before);
  const trained = [...model.root.namedParameters()].filter(([, p]) => p.trainable);
  expect(trained).toHaveLength(5);
  disturb(model);
  const adapted = await logits(model);
  expect(largestDifference(adapted, before)).toBeGreaterThan(0.01);
  expect(await model.withAdaptersDisabled(() => logits(model))).toEqual(before);
  const path = await folder();
  await model.savePretrained(path);
  expect([...(await readTensors(join(path, 'adapter_model.safetensors'))).keys()]).toContain(
    'base_model.model.model.norm.weight',
  );
  const again = await PeftModel.fromPretrained(await load(attune), path);
  expect(await logits(again)).toEqual(adapted);
  expect(await logits(await model.mergeAndUnload())).toEqual(adapted);
  expect(() => again.addAdapter('x', untyped({ peftType: 'NORMS', bias: 'all' }))).toThrow(
    /UNKNOWN_OPTION/,
  );
});

test('blocks are adapted, and layers inside of them by another adapter', async () => {
  const attune = await open({ plugins: plugins() });
  const base = await load(attune);
  const before = await logits(base);
  const model = getPeftModel(base, untyped({ peftType: 'NUDGE' }), 'nudge');
  expect(await logits(model)).toEqual(before);
  disturb(model);
  const nudged = await logits(model);
  model.addAdapter('lora', { peftType: 'LORA', targetModules: ['q_proj', 'down_proj'] });
  model.addAdapter('norms', untyped({ peftType: 'NORMS' }));
  model.setAdapter('lora');
  disturb(model);
  const lora = await logits(model);
  model.setAdapter(['nudge', 'lora', 'norms']);
  for (const one of [before, nudged, lora])
    expect(largestDifference(await logits(model), one)).toBeGreaterThan(1e-3);
  model.setAdapter('nudge');
  expect(await logits(model)).toEqual(nudged);

  const path = await folder();
  await model.savePretrained(path, { selectedAdapters: ['nudge', 'lora'] });
  const file = await readTensors(join(path, 'nudge', 'adapter_model.safetensors'));
  expect(file.get('base_model.nudge_direction')!.shape).toEqual([64]);
  expect(file.get('base_model.model.model.layers.1.mlp.gain')!.shape).toEqual([1]);
  const again = await PeftModel.fromPretrained(await load(attune), join(path, 'nudge'));
  expect(await logits(again)).toEqual(nudged);
  await again.loadAdapter(join(path, 'lora'), { adapterName: 'lora' });
  again.setAdapter('lora');
  expect(await logits(again)).toEqual(lora);

  model.deleteAdapter('nudge');
  expect(await logits(model.unload())).toEqual(before);
  expect([...base.root.namedModules()].some(([p]) => p.includes('base_layer'))).toBe(false);
});

for (const { name, run } of peftMethodKit(softPrompt, {
  config: { numVirtualTokens: 3, gain: 0.5 },
  zeroAtStart: false,
}))
  test(name, run);

test('virtual tokens without an encoder are one parameter of their shape', async () => {
  const { prompt, ...rest } = softPrompt;
  const bare = { ...rest, prompt: { ...prompt, encoder: () => null } };
  const attune = await open({
    plugins: [
      peft(),
      definePlugin({
        name: 'bare',
        version: '1.0.0',
        apiVersion: 1,
        register: (context) => context.add(PeftMethods, bare),
      }),
    ],
  });
  const model = await load(attune);
  expect(() =>
    getPeftModel(model, untyped({ peftType: 'SOFT_PROMPT', numVirtualTokens: 3 })),
  ).toThrow(
    /PEFT_METHOD_INVALID: SOFT_PROMPT has no encoder, so it must have one parameter, \[3, 64\]; it has \[3, 64\], \[1\]/,
  );
});
