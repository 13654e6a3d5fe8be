import { Embedding } from '../nn/embedding.js';
import type { Module, Parameter } from '../nn/module.js';
import { LayerNorm, RMSNorm } from '../nn/norm.js';
import type { NamedParameter } from './arena.js';

/** Parameters that an optimizer treats alike. */
export interface ParameterGroup {
  readonly parameters: readonly NamedParameter[];
  /** Decoupled weight decay of the group. */
  readonly weightDecay: number;
  /** What the learning rate is multiplied by in this group. Default 1. */
  readonly lrScale?: number | undefined;
}

/** The factor on the learning rate of a parameter; 1 for most. */
export type LrScaleOf = (name: string, parameter: Parameter) => number;

/**
 * The names that Hugging Face's Trainer keeps free of weight decay, beside normalisation layers.
 */
const NO_DECAY = /bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)/;

/**
 * The trainable parameters in two groups: with weight decay, and (biases, norms) without. A
 * parameter that two modules share is listed once, under its first name. Parameters whose learning
 * rate has another factor (LoRA+) are in groups of their own.
 *
 * @see transformers `Trainer.get_decay_parameter_names`
 */
export function decayGroups(
  root: Module,
  weightDecay: number,
  lrScaleOf: LrScaleOf = () => 1,
): ParameterGroup[] {
  const groups = new Map<
    string,
    { parameters: NamedParameter[]; exempt: boolean; lrScale: number }
  >();
  const seen = new Set<unknown>();
  for (const [path, module] of root.namedModules()) {
    const isNorm = module instanceof LayerNorm || module instanceof RMSNorm;
    const isEmbedding = module instanceof Embedding;
    for (const [own, parameter] of module.ownParameters) {
      if (!parameter.trainable || seen.has(parameter)) continue;
      seen.add(parameter);
      const name = path ? `${path}.${own}` : own;
      const exempt = isNorm || NO_DECAY.test(name.toLowerCase());
      const lrScale = lrScaleOf(name, parameter);
      const key = `${lrScale} ${exempt}`;
      if (!groups.has(key)) groups.set(key, { parameters: [], exempt, lrScale });
      const named = { name, parameter, ...(isEmbedding && { isEmbedding }) };
      groups.get(key)!.parameters.push(named);
    }
  }
  return [...groups.values()]
    .sort((a, b) => a.lrScale - b.lrScale || Number(a.exempt) - Number(b.exempt))
    .map(({ parameters, exempt, lrScale }) => ({
      parameters,
      weightDecay: exempt ? 0 : weightDecay,
      ...(lrScale !== 1 && { lrScale }),
    }));
}
