import type { DType } from '../../backend/dtype.js';
import { Linear, type LinearLike } from '../../nn/linear.js';
import { Module } from '../../nn/module.js';
import type { Engine } from '../../tensor/engine.js';
import type { Tensor } from '../../tensor/tensor.js';
import { CausalLM } from '../causalLm.js';
import type { ForwardInput } from '../languageModel.js';
import { defineHead, type NewHeadOptions } from './head.js';

/**
 * `summary`: one number of each hidden state, with a bias. TRL's ValueHead, without its dropout.
 */
export class ValueHead extends Module {
  constructor(engine: Engine, options: { readonly hiddenSize: number; readonly dtype: DType }) {
    super();
    const { hiddenSize, dtype } = options;
    const sizes = { inFeatures: hiddenSize, outFeatures: 1 };
    this.addChild('summary', new Linear(engine, { ...sizes, bias: true, dtype }));
  }

  /** [..., hidden] -> [..., 1] */
  forward(hidden: Tensor): Tensor {
    return this.child<LinearLike>('summary').forward(hidden);
  }
}

/** A causal language model that also says of each token what it expects from there on: a critic. */
export class CausalLMWithValueHead extends CausalLM {
  readonly headModules = ['v_head.summary'];

  /** [B, T] */
  values(input: ForwardInput): Tensor {
    return this.valuesOf(this.hiddenStates(input));
  }

  /** [..., hidden] -> [...] */
  valuesOf(hidden: Tensor): Tensor {
    return this.root.child<ValueHead>('v_head').forward(hidden).squeeze(-1);
  }
}

/** A value head beside the layer over the vocabulary, under the names that TRL saves it under. */
export const valueHead = defineHead<CausalLMWithValueHead, NewHeadOptions>({
  name: 'value head',
  keepsOutputLayer: true,
  ownTensors: ['v_head.summary.weight', 'v_head.summary.bias'],
  attach(decoder, { engine, config: { hiddenSize }, dtype }) {
    decoder.attach('v_head', new ValueHead(engine, { hiddenSize, dtype }));
    return decoder;
  },
  create: (parts) => new CausalLMWithValueHead(parts),
});
