import { CausalLM } from '../causalLm.js';
import { defineHead } from './head.js';

/** The layer over the vocabulary that a decoder has from its family: the next token. */
export const causalLmHead = defineHead<CausalLM>({
  name: 'causal language model',
  keepsOutputLayer: true,
  withOtherTowers: true,
  create: (parts) => new CausalLM(parts),
});
