import { numel, type ops } from '@attune/core';
import { defineKernel, f32, type Kernel, u32 } from './kernel.js';
import { named, stage } from './stage.js';

/** One lane: a few numbers decide about a whole update, on the device. */
const alone = { workgroup: 1, grid: [1, 1, 1] } as const;

const clipFactorKernel = defineKernel({
  op: 'clipFactor',
  plan: ({ inputs, outputs, attrs }) => [
    stage({
      key: `clipFactor${inputs[1] ? ':scaled' : ''}`,
      reads: named(inputs, 'squares', 'lossScale'),
      writes: { clip: outputs[0]! },
      params: { n: u32(numel(inputs[0]!.shape)), maxNorm: f32(attrs.maxNorm as number) },
      ...alone,
      // A bit test: comparisons with NaN and infinity may be folded away by a compiler.
      body: `  var total = 0.0;
  for (var i = 0u; i < p.n; i++) { total += squares(i); }
  let scale = ${inputs[1] ? 'lossScale(0u)' : '1.0'};
  let norm = sqrt(total) / scale;
  let finite = (bitcast<u32>(norm) & 0x7f800000u) != 0x7f800000u;
  clip[0] = norm;
  clip[1] = select(1.0, min(1.0, p.maxNorm / (norm + 1e-6)), p.maxNorm > 0.0) / scale;
  clip[2] = select(0.0, 1.0, finite);`,
    }),
  ],
});

const guardFiniteKernel = defineKernel({
  op: 'guardFinite',
  plan: ({ inputs, outputs, attrs }) => {
    const { sticky, scaled } = attrs as unknown as ops.GuardAttrs;
    return [
      stage({
        key: 'guardFinite',
        reads: named(inputs, 'loss'),
        writes: named(outputs, 'clip', 'stopped'),
        params: { sticky: u32(sticky), scaled: u32(scaled) },
        ...alone,
        // A bit test: comparisons with NaN and infinity may be folded away by a compiler.
        body: `  let lossBad = (bitcast<u32>(loss(0u)) & 0x7f800000u) == 0x7f800000u;
  let bad = lossBad || clip[2] == 0.0;
  if (bad || stopped[0] == 1.0) { clip[2] = 0.0; }
  if (p.sticky == 1u && select(bad, lossBad, p.scaled == 1u)) { stopped[0] = 1.0; }`,
      }),
    ];
  },
});

const updateLossScaleKernel = defineKernel({
  op: 'updateLossScale',
  plan: ({ inputs, outputs, attrs }) => {
    const { growth, backoff, interval } = attrs as unknown as ops.LossScaleAttrs;
    return [
      stage({
        key: 'updateLossScale',
        reads: { clip: inputs[0]! },
        writes: { scale: outputs[0]! },
        params: { growth: f32(growth), backoff: f32(backoff), interval: f32(interval) },
        ...alone,
        body: `  let finite = clip(2u) == 1.0;
  let grows = finite && scale[1] + 1.0 >= p.interval;
  scale[0] = scale[0] * select(p.backoff, select(1.0, p.growth, grows), finite);
  scale[1] = select(0.0, scale[1] + 1.0, finite && !grows);`,
      }),
    ];
  },
});

/**
 * What is decided from the norm of a gradient: its clipping, and what follows where it is not
 * finite.
 */
export const clippingKernels: readonly Kernel[] = [
  clipFactorKernel,
  guardFiniteKernel,
  updateLossScaleKernel,
];
