import { AttuneError, formatShape, sameShape } from '@attune/core';
import { z } from 'zod';
import type { PeftConfig, PeftConfigBase } from './config.js';
import type { BaseModel, GivenAs, PeftMethod } from './definePeftMethod.js';
import type { PlannedPrompt } from './promptSlot.js';

/** What a user may write for any method that gives virtual tokens. Names are PEFT's. */
export interface VirtualTokenConfig
  extends Pick<
    PeftConfigBase,
    'modulesToSave' | 'taskType' | 'baseModelNameOrPath' | 'revision' | 'inferenceMode'
  > {
  /** V, how many virtual tokens stand before every row. They take positions. Usual 8-100. No default. */
  readonly numVirtualTokens: number;
  /** Written to files. Default, and the only value: the model's hidden size, or features of a key of all heads (prefix tuning). */
  readonly tokenDim?: number | null;
  /** Written to files. Default, and the only value: the model's heads, or key-value heads (prefix tuning). */
  readonly numAttentionHeads?: number | null;
  /** Written to files. Default, and the only value: the model's layers. */
  readonly numLayers?: number | null;
  /** Written to files. Default, and the only value: 1, since models here have one stack of layers. */
  readonly numTransformerSubmodules?: 1 | null;
}

const fact = z.int().min(1).nullable().default(null);

/** The options of every method that gives virtual tokens: a part of its `config`. Those that follow from the model are filled in. */
export const virtualTokenOptions = z.object({
  numVirtualTokens: z.int().min(1),
  tokenDim: fact,
  numAttentionHeads: fact,
  numLayers: fact,
  numTransformerSubmodules: z.literal(1).nullable().default(null),
});

/** Numbers of one virtual token: what `prompt_embeddings` in files has in a row. */
export function widthOf(gives: GivenAs, base: BaseModel): number {
  if (gives === 'embeddings') return base.hiddenSize;
  return base.numHiddenLayers * 2 * base.numKeyValueHeads * base.headDim;
}

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
  method: PeftMethod,
  config: PeftConfig,
  base: BaseModel,
): PlannedPrompt {
  const { gives, params, encoder } = method.prompt!;
  const specs = params(config, base);
  const made = encoder?.(config) ?? null;
  const shape = [Number(config.numVirtualTokens), widthOf(gives, base)] as const;
  const own = Object.values(specs);
  if (!made && (own.length !== 1 || !sameShape(own[0]!.shape, shape)))
    throw new AttuneError(
      'PEFT_METHOD_INVALID',
      `${method.peftType} has no encoder, so it must have one parameter, ${formatShape(shape)}; it has ${own.map((spec) => formatShape(spec.shape)).join(', ') || 'none'}.`,
      { remedy: 'Give prompt an encoder that makes the virtual tokens of the parameters.' },
    );
  const { numHiddenLayers: layers, numKeyValueHeads: kvHeads, headDim } = base;
  return { gives, specs, encoder: made, shape, heads: { layers, kvHeads, headDim } };
}
