import { AttuneError, ops } from '@attune/core';
import { definePeftMethod } from '../definePeftMethod.js';
import { patternValue } from '../targets.js';
import { loraOptions } from './lora/config.js';
import { doraForward, doraMagnitude, doraMergedWeight } from './lora/dora.js';
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
 * trained, in float32; W may be stored in 16 bits or quantised. With useDora the formula is that of lora/dora.ts.
 *
 * @see arXiv:2106.09685 (Hu et al.), eq. 3; arXiv:2312.03732 (rsLoRA). The paper draws A from a normal
 *   distribution; the default here is PEFT's. "gaussian" has standard deviation 1/r, as in PEFT.
 */
export const lora = definePeftMethod({
  peftType: 'LORA',
  config: loraOptions,
  params: (layer, { r, initLoraWeights: init, loraBias, useDora, ...options }) => ({
    A: {
      shape: [r, layer.inFeatures],
      init: startsFromBase(init)
        ? 'zeros'
        : init === 'gaussian'
          ? { normal: 1 / r }
          : 'kaimingUniform',
      key: 'lora_A.weight',
    },
    B: {
      shape: [layer.outFeatures, r],
      init: init === false ? 'kaimingUniform' : 'zeros',
      key: 'lora_B.weight',
    },
    ...(loraBias && {
      bias: {
        shape: [layer.outFeatures],
        // PyTorch's default for the bias of B, a linear layer of r inputs.
        init: init === false ? { uniform: 1 / Math.sqrt(r) } : 'zeros',
        key: 'lora_B.bias',
      },
    }),
    ...(startsFromBase(init) && startSpecs(layer, init, r)),
    ...(useDora && { magnitude: doraMagnitude(layer, loraScaling({ ...options, r })) }),
  }),
  start: (_, options, weight) => {
    const { initLoraWeights: init, r } = options;
    return startsFromBase(init) ? firstValues(init, r, loraScaling(options), weight) : null;
  },
  forward: (x, layer, p, options, given) => {
    const scale = loraScaling(options);
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
