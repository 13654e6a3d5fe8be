import { definePlugin } from '@attune/core';
import { definePeftMethod, getPeftModel, PeftMethods, peft } from '@attune/peft';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { disturb, folder, largestDifference, load, logits, open } from './support.js';

/** y = W x + b + shift; its parameter has no key of its own, and it cannot be merged. */
const shift = definePeftMethod({
  peftType: 'SHIFT',
  config: z.object({ start: z.number().default(0) }),
  params: (layer, config) => ({
    shift: { shape: [layer.outFeatures], init: { constant: config.start } },
  }),
  forward: (x, base, p) => base(x).add(p.shift),
});

const plugins = () => [
  peft(),
  definePlugin({
    name: 'test',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(PeftMethods, shift),
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
  model.addAdapter('second', { peftType: 'SHIFT', targetModules, start: 0.5 });
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
  expect(() => getPeftModel(model, { peftType: 'SHIFT' })).toThrow(
    /PEFT_TARGETS_NEEDED: SHIFT has no default targetModules for llama/,
  );
});
