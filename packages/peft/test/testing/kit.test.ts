import {
  bitfit,
  bottleneck,
  definePeftMethod,
  full,
  type Init,
  ia3,
  type LayerMethod,
  layerSelect,
  lora,
  type PeftMethod,
  prefixTuning,
  promptTuning,
  pTuning,
  vera,
} from '@attune/peft';
import { type PeftKitOptions, peftMethodKit } from '@attune/peft/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const runs: readonly (readonly [PeftMethod, object, PeftKitOptions?])[] = [
  [lora, { r: 3, targetModules: 'all-linear', bias: 'all' }],
  // The norm is held constant, as in the paper (section 4.3).
  [lora, { r: 2, useDora: true }, { exactGradients: false }],
  [lora, { r: 3, targetModules: ['embed_tokens', 'lm_head'], useRslora: true }],
  [lora, { r: 2, targetModules: ['embed_tokens'], useDora: true }, { exactGradients: false }],
  // B A is 0, but neither is.
  [lora, { r: 4, initLoraWeights: 'orthogonal' }, { zeroAtStart: false }],
  [ia3, {}],
  [ia3, { targetModules: 'all-linear', feedforwardModules: '.*(o|up)_proj' }],
  [vera, { r: 5, targetModules: 'all-linear', bias: 'vera_only' }],
  [vera, { r: 5, saveProjection: false, projectionPrngKey: 7 }],
  [bottleneck, { reductionFactor: 4, nonLinearity: 'tanh' }],
  [bottleneck, { variant: 'pfeiffer', bottleneckSize: 3, nonLinearity: 'gelu' }],
  [bitfit, { modulesToSave: ['norm'] }],
  [layerSelect, { lastLayers: 1, head: true }],
  [layerSelect, { targetModules: ['input_layernorm'], finalNorm: true }],
  [full, {}],
  ...[
    [promptTuning, {}] as const,
    [promptTuning, { promptTuningInit: 'SAMPLE_VOCAB', modulesToSave: ['norm'] }] as const,
    [pTuning, { encoderHiddenSize: 5 }] as const,
    [pTuning, { encoderHiddenSize: 4, encoderReparameterizationType: 'LSTM' }] as const,
    [prefixTuning, {}] as const,
    [prefixTuning, { prefixProjection: true, encoderHiddenSize: 6 }] as const,
  ].map(([method, config]) => {
    // Virtual tokens take attention from the first step on.
    return [method, { numVirtualTokens: 4, ...config }, { zeroAtStart: false }] as const;
  }),
];

for (const [method, config, promises] of runs)
  describe(JSON.stringify(config), () => {
    for (const { name, run } of peftMethodKit(method, { config: { ...config }, ...promises }))
      test(name, run);
  });

/** y = (1 + s) (W x + b), with one mistake or none. */
const scale = (mistakes: Partial<LayerMethod>, init: Init = 'zeros'): LayerMethod => ({
  ...(definePeftMethod({
    peftType: 'SCALE',
    config: z.object({}),
    params: (layer) => ({ s: { shape: [layer.outFeatures], init } }),
    forward: (x, base, p) => base(x).mul(p.s.add(1)),
    mergedWeight: (weight, p) => weight.mul(p.s.add(1).unsqueeze(1)),
    mergedBias: (bias, p) => bias.mul(p.s.add(1)),
  }) as LayerMethod),
  ...mistakes,
});

describe('the kit', () => {
  const config = { targetModules: ['q_proj', 'down_proj'] };
  const failures = async (method: PeftMethod) => {
    const found: string[] = [];
    for (const { name, run } of peftMethodKit(method, { config }))
      await run().catch((error: Error) => found.push(`${name}: ${error.message}`));
    return found;
  };

  test('passes a sound method, and one that cannot be merged', async () => {
    expect(await failures(scale({}))).toEqual([]);
    const { mergedWeight: _, mergedBias: __, ...rest } = scale({});
    expect(await failures(rest)).toEqual([]);
  });

  test.each<[string, PeftMethod, RegExp]>([
    ['a start that is not the base', scale({}, { constant: 0.1 }), /leaves the logits.*differ by/],
    [
      'a bias that is not merged',
      scale({ mergedBias: (bias) => bias }),
      /merged.*merged and adapted: they differ/,
    ],
    [
      'a parameter without use',
      scale({
        params: (layer) => ({
          s: { shape: [layer.outFeatures], init: 'zeros' },
          unused: { shape: [1], init: 'zeros' },
        }),
      }),
      /count.*unused.default gets no gradient/,
    ],
    [
      'a gradient that lacks a part',
      scale({
        forward: (x, base, p) => base(x).mul(p.s!.add(1)).add(p.s!.detach().mul(x.mean())),
      }),
      /finite differences.*the tape says/,
    ],
    [
      'a tensor that is not in the file',
      scale({
        shared: () => {
          const value = Math.random();
          return { t: { shape: [1], init: { constant: value }, saved: false } };
        },
        forward: (x, base, p) => base(x).mul(p.s!.mul(p.t!).add(1)),
      }),
      /saved and loaded.*differ by/,
    ],
  ])('finds %s', async (_, method, message) => {
    expect((await failures(method)).join()).toMatch(message);
  });
});
