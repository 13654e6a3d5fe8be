import type { Module } from '../nn/module.js';
import { LayerNorm, RMSNorm } from '../nn/norm.js';
import type { NamedParameter } from './arena.js';

/** Parameters that an optimizer treats alike. */
export interface ParameterGroup {
  readonly parameters: readonly NamedParameter[];
  /** Decoupled weight decay of the group. */
  readonly weightDecay: number;
}

/** The names that Hugging Face's Trainer keeps free of weight decay, beside normalisation layers. */
const NO_DECAY = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)/;

/**
 * The trainable parameters in two groups: with weight decay, and (biases, norms) without.
 * A parameter that two modules share is listed once, under its first name.
 *
 * @see transformers `Trainer.get_decay_parameter_names`
 */
export function decayGroups(root: Module, weightDecay: number): ParameterGroup[] {
  const decayed: NamedParameter[] = [];
  const plain: NamedParameter[] = [];
  const seen = new Set<unknown>();
  for (const [path, module] of root.namedModules()) {
    const isNorm = module instanceof LayerNorm || module instanceof RMSNorm;
    for (const [own, parameter] of module.ownParameters) {
      if (!parameter.trainable || seen.has(parameter)) continue;
      seen.add(parameter);
      const name = path ? `${path}.${own}` : own;
      const exempt = isNorm || NO_DECAY.test(name.toLowerCase());
      (exempt ? plain : decayed).push({ name, parameter });
    }
  }
  return [
    { parameters: decayed, weightDecay },
    { parameters: plain, weightDecay: 0 },
  ].filter((group) => group.parameters.length > 0);
}
