import { AttuneError } from '@attune/core';
import { formatShape, sameShape } from '@attune/core/tensor';
import type { BaseModel } from '../contract/baseModel.js';
import type { PeftConfig } from '../contract/config.js';
import type { GivenAs, PromptMethod } from '../contract/methodKinds.js';
import { widthOf } from '../contract/virtualTokenConfig.js';
import type { PlannedPrompt } from '../slots/plannedSlot.js';
import { encoderName, PROMPT_EMBEDDINGS, PROMPT_SLOT } from '../slots/promptSlot.js';

/**
 * Fills in what follows from the model, as PEFT writes it.
 *
 * @throws PEFT_OTHER_BASE where the config (of a file) says otherwise
 */
export function fitVirtualTokens(config: PeftConfig, gives: GivenAs, base: BaseModel): PeftConfig {
  const isPrefix = gives === 'keyValues';
  const { hiddenSize, numKeyValueHeads, headDim } = base;
  const facts = {
    tokenDim: isPrefix ? numKeyValueHeads * headDim : hiddenSize,
    numAttentionHeads: isPrefix ? numKeyValueHeads : base.numAttentionHeads,
    numLayers: base.numHiddenLayers,
    numTransformerSubmodules: 1,
  };
  for (const [name, fact] of Object.entries(facts)) {
    const given = config[name] ?? fact;
    if (given === fact) continue;
    const count = config.numVirtualTokens;
    const theirs = { ...facts, [name]: Number(given) };
    const width = isPrefix ? theirs.numLayers * 2 * theirs.tokenDim : theirs.tokenDim;
    throw new AttuneError(
      'PEFT_OTHER_BASE',
      `${name} is ${given}; of this model (${base.modelType}) it is ${fact}: virtual tokens of [${count}, ${width}] do not fit where [${count}, ${widthOf(gives, base)}] are taken.`,
      {
        remedy: `Leave ${name} out, or load the adapter on the model that it was trained on${config.baseModelNameOrPath ? `: ${config.baseModelNameOrPath}` : ''}.`,
      },
    );
  }
  return { ...config, ...facts };
}

/** What a config means on a model. @throws PEFT_METHOD_INVALID */
export function planVirtualTokens(
  method: PromptMethod,
  config: PeftConfig,
  base: BaseModel,
): PlannedPrompt {
  const { gives, params, encoder } = method.prompt;
  const own = Object.entries(params(config, base));
  const made = encoder?.(config) ?? null;
  const shape = [Number(config.numVirtualTokens), widthOf(gives, base)] as const;
  if (!made && (own.length !== 1 || !sameShape(own[0]![1].shape, shape)))
    throw new AttuneError(
      'PEFT_METHOD_INVALID',
      `${method.peftType} has no encoder, so it must have one parameter, ${formatShape(shape)}; it has ${own.map(([, spec]) => formatShape(spec.shape)).join(', ') || 'none'}.`,
      { remedy: 'Give prompt an encoder that makes the virtual tokens of the parameters.' },
    );
  const parameters = own.map(([name, { key = name, shape, init }]) => ({
    path: PROMPT_SLOT,
    name,
    key,
    fileName: made ? encoderName(key) : PROMPT_EMBEDDINGS,
    shape,
    init,
    isTrained: true,
    isShared: false,
  }));
  const { numHiddenLayers: layers, numKeyValueHeads: kvHeads, headDim } = base;
  const heads = { layers, kvHeads, headDim };
  return { kind: 'prompt', method, config, gives, encoder: made, parameters, shape, heads };
}
