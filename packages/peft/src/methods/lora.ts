import { AttuneError, ops } from '@attune/core';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import { patternValue } from '../contract/patterns.js';
import { loraOptions } from './lora/config.js';
import { doraForward, doraMagnitude, doraMergedWeight } from './lora/dora.js';
import { embeddingForward, refuseBias } from './lora/embedding.js';
import { factorSpecs, refuseLargeRank } from './lora/factors.js';
import { loraPlusScale } from './lora/plus.js';
import {
  firstValues,
  onResidual,
  residual,
  residualContext,
  startFromFile,
  startSpecs,
  startsFromBase,
} from './lora/start.js';
import { defaultTargetModules, fileFields } from './lora/tables.js';

export type { LoraConfig } from './lora/config.js';

/** alpha / r, with rsLoRA alpha / sqrt(r). */
export const loraScaling = (options: {
  loraAlpha: number;
  r: number;
  useRslora: boolean;
}): number => options.loraAlpha / (options.useRslora ? Math.sqrt(options.r) : options.r);

/**
 * LoRA: y = W x + b + s B A dropout(x), with A [r, in], B [out, r] and s = alpha / r.
 *
 * A starts uniform in +-1/sqrt(in), B at 0, so that step 0 is the base model. Only A and B are
 * trained, in float32; W may be stored in 16 bits or quantised. With useDora the formula is that of
 * lora/dora.ts; embeddings have that of lora/embedding.ts.
 *
 * @see arXiv:2106.09685 (Hu et al.), eq. 3; arXiv:2312.03732 (rsLoRA). The paper draws A from a
 *   normal distribution; the default here is PEFT's. "gaussian" has standard deviation 1/r, as in
 *   PEFT.
 */
export const lora = definePeftMethod({
  peftType: 'LORA',
  config: loraOptions,
  targets: 'linearOrEmbedding',
  params: (layer, { r, initLoraWeights: init, loraBias, useDora, ...options }) => {
    if (layer.embedding) refuseBias(layer, loraBias);
    return {
      ...factorSpecs(layer, init, r),
      ...(loraBias && {
        bias: {
          shape: [layer.outFeatures],
          // PyTorch's default for the bias of B, a linear layer of r inputs.
          init: init === false ? { uniform: 1 / Math.sqrt(r) } : 'zeros',
          key: 'lora_B.bias',
        },
      }),
      ...(startsFromBase(init) && !layer.embedding && startSpecs(layer, init, r)),
      ...(useDora && { magnitude: doraMagnitude(layer, loraScaling({ ...options, r })) }),
    };
  },
  checkNew: refuseLargeRank,
  start: (layer, options, weight) => {
    const { initLoraWeights: init, r } = options;
    if (!startsFromBase(init) || layer.embedding) return null;
    return firstValues(init, r, loraScaling(options), weight);
  },
  forward: (x, layer, p, options, given) => {
    const scale = loraScaling(options);
    if (given.layer.embedding) return embeddingForward(x, layer, p, scale, given);
    const base = onResidual(layer, p, scale);
    const context = residualContext(given, p, scale);
    if (p.magnitude)
      return doraForward(x, base, { ...p, magnitude: p.magnitude }, { ...options, scale }, context);
    const low = ops.linear(context.dropout(x, options.loraDropout), p.A); // [.., r]
    const y = base(x);
    const addend = p.bias ? y.add(p.bias.mul(scale)) : y;
    return low.matmul(p.B, { transposeB: true, scale, addend }); // [.., out]
  },
  mergedWeight: (given, p, options, context) => {
    const { layer } = context;
    const scale = loraScaling(options);
    const weight = residual(given, p, scale);
    if (p.magnitude) {
      const tensors = { ...p, magnitude: p.magnitude };
      return doraMergedWeight(weight, tensors, scale, residualContext(context, p, scale));
    }
    if (p.bias && !layer.hasBias)
      throw new AttuneError(
        'PEFT_NOT_MERGEABLE',
        `loraBias cannot be merged into ${layer.path}, which has no bias of its own.`,
        { remedy: 'Keep the adapter as it is, or train one without loraBias.' },
      );
    return weight.add(p.B.matmul(p.A).mul(scale)); // W + s B A
  },
  mergedBias: (bias, p, options) => (p.bias ? bias.add(p.bias.mul(loraScaling(options))) : bias),
  layerConfig: (options, path) => ({
    ...options,
    r: patternValue(options.rankPattern, path) ?? options.r,
    loraAlpha: patternValue(options.alphaPattern, path) ?? options.loraAlpha,
  }),
  defaultTargetModules,
  fromFile: startFromFile,
  fileFields,
  unsaved: ['loraplusLrRatio', 'loraplusLrEmbedding'],
  lrScale: loraPlusScale,
});
