import { ops } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import { defaultTargetModules } from './lora/tables.js';
import { TorchUniform } from './vera/torchUniform.js';

const shape = {
  /**
   * Rank of the shared matrices; trained are r + out numbers a layer. Usual 64-1024. Default 256.
   */
  r: z.int().min(1).default(256).meta({ aka: 'rank lorar lorarank' }),
  /** Seed of the shared matrices. Default 0. */
  projectionPrngKey: z.int().min(0).default(0),
  /**
   * Write the shared matrices too. Without, they are drawn again from the key when the adapter is
   * loaded. Default true.
   */
  saveProjection: z.boolean().default(true),
  /** Dropout of what the adapter reads, while training. Default 0. */
  veraDropout: z.number().min(0).lt(1).default(0),
  /** What the vector d starts at. Usual at most 0.1. Default 0.1. */
  dInitial: z.number().default(0.1),
  /** false: b starts at 1 and d at N(0, 1), for tests. Default true. */
  initWeights: z.boolean().default(true),
  /** Which biases are trained too. Default "none". */
  bias: z.enum(['none', 'all', 'vera_only']).default('none'),
  /**
   * Kept for PEFT, which needs it for GPT-2's transposed layers; Attune's layers know their own
   * layout. Default false.
   */
  fanInFanOut: z.boolean().default(false),
};
const config = z.object(shape);

/** What a user may write for VeRA. Names and defaults are PEFT's. */
export interface VeraConfig
  extends OptionsInput<typeof shape>,
    Omit<PeftConfigBase, 'bias' | 'excludeModules'> {
  /** VeRA: two learned vectors a layer, between random matrices that all layers share. */
  readonly peftType: 'VERA';
}

/** The bound of PyTorch's kaiming_uniform, sqrt(3) * sqrt(2 / fan in). */
const bound = (fanIn: number): number => Math.sqrt(3) * (Math.sqrt(2) / Math.sqrt(fanIn));

/**
 * VeRA: y = W x + b + lambda_b * (B (lambda_d * (A dropout(x)))). A [r, in] and B [out, r] are
 * random, frozen, and the same for all layers, cut to each layer's sizes; the vectors lambda_b
 * [out], from 0, and lambda_d [r], from dInitial, are trained. With lambda_b at 0, step 0 is the
 * base.
 *
 * A and B are those that PEFT draws on the CPU for the same key, bit for bit, so files without them
 * (saveProjection: false) go both ways. The matrices of several adapters are their own here; PEFT
 * wants one key for all.
 *
 * @see arXiv:2310.11454 (Kopiczko et al.), eq. 2
 */
export const vera = definePeftMethod({
  peftType: 'VERA',
  config,
  without: ['excludeModules', 'bias'],
  shared: (layers, { r, projectionPrngKey, saveProjection: saved }) => {
    const inFeatures = Math.max(...layers.map((layer) => layer.inFeatures));
    const outFeatures = Math.max(...layers.map((layer) => layer.outFeatures));
    const draw = () => {
      const torch = new TorchUniform(projectionPrngKey); // A first, then B of the same stream
      const a = torch.draw(r * inFeatures, bound(inFeatures));
      return { a, b: torch.draw(outFeatures * r, bound(r)) };
    };
    return {
      A: { shape: [r, inFeatures], init: { values: () => draw().a }, key: 'vera_A', saved },
      B: { shape: [outFeatures, r], init: { values: () => draw().b }, key: 'vera_B', saved },
    };
  },
  params: (layer, { r, dInitial, initWeights }) => ({
    b: {
      shape: [layer.outFeatures],
      init: initWeights ? 'zeros' : 'ones',
      key: 'vera_lambda_b',
    },
    d: {
      shape: [r],
      init: initWeights ? { constant: dInitial } : { normal: 1 },
      key: 'vera_lambda_d',
    },
  }),
  forward: (x, base, p, { veraDropout }, { layer, dropout }) => {
    const a = p.A.slice(1, 0, layer.inFeatures); // [r, in]
    const b = p.B.slice(0, 0, layer.outFeatures); // [out, r]
    const low = ops.linear(dropout(x, veraDropout), a).mul(p.d); // [.., r]
    return base(x).add(ops.linear(low, b).mul(p.b)); // [.., out]
  },
  mergedWeight: (weight, p, _, { layer }) => {
    const a = p.A.slice(1, 0, layer.inFeatures).mul(p.d.unsqueeze(1));
    const b = p.B.slice(0, 0, layer.outFeatures).mul(p.b.unsqueeze(1));
    return weight.add(b.matmul(a)); // W + (lambda_b B) (lambda_d A)
  },
  defaultTargetModules: { ...defaultTargetModules, phi: ['q_proj', 'v_proj'] },
});
