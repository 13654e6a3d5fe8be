import { AttuneError } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { BaseParameter } from '../contract/baseModel.js';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import { endsWithName, fullMatcher, type PathTest } from '../contract/patterns.js';

const shape = {
  /** Train the last n layers. Usual 1 to a quarter of them. Default null: does not narrow. */
  lastLayers: z.int().min(1).nullable().default(null).meta({ aka: 'lastnlayers numlayers' }),
  /** Train the final norm too. Default false. */
  finalNorm: z.boolean().default(false),
  /** Train the output head too. A tied head is the embedding. Default false. */
  head: z.boolean().default(false),
  /** Train the embedding too. Default false. */
  embedding: z.boolean().default(false),
};
const config = z.object(shape);

/** What a user may write for layer selection. At least one option says what is trained. */
export interface LayerSelectConfig
  extends OptionsInput<typeof shape>,
    Omit<PeftConfigBase, 'bias' | 'layersPattern'> {
  /** Selected parameters of the model are trained: some layers, some modules. */
  readonly peftType: 'LAYER_SELECT';
}

/** What lies outside of the layers, by the names that families give it. */
const outside = {
  finalNorm: /(^|\.)(norm|ln_f|final_layernorm|final_layer_norm)\.\w+$/,
  head: /(^|\.)(lm_head|embed_out|score)\.\w+$/,
  embedding: /(^|\.)(embed_tokens|wte|wpe|embed_in)\.\w+$/,
};

/** The number of the layer that a parameter lies in; null outside of layers. */
const layerOf = ({ name }: BaseParameter): number | null => {
  const number = /\.(\d+)\./.exec(name)?.[1];
  return number === undefined ? null : Number(number);
};

const moduleOf = ({ name }: BaseParameter): string => name.slice(0, name.lastIndexOf('.'));

/**
 * A module fits a name that is its own or that of a module around it; a string is a regular
 * expression for the whole path.
 */
function fitsOf(names: readonly string[] | string | null): PathTest | null {
  if (names === null) return null;
  if (typeof names === 'string') return fullMatcher(names);
  return (path) => {
    const parts = path.split('.');
    const around = parts.map((_, i) => parts.slice(0, i + 1).join('.'));
    return names.some((name) => around.some((p) => endsWithName(p, name)));
  };
}

/**
 * Layer selection: some layers are trained whole, the others stay frozen. Which: the last n
 * (`lastLayers`), or those of `layersToTransform`, or all; in them the modules that `targetModules`
 * names, or all. The final norm, the head and the embedding are trained only when they are asked
 * for.
 *
 * The adapter trains float32 copies: 4 bytes a selected parameter beside the base, which stays the
 * base. PEFT has no such method; in Python one sets `requires_grad` by name. Without any choice,
 * see FULL.
 *
 * @see arXiv:1911.03090 (Lee et al., "What would Elsa do?": the last quarter of the layers)
 */
export const layerSelect = definePeftMethod({
  peftType: 'LAYER_SELECT',
  config,
  without: ['layersPattern', 'bias'],
  select: (base, options) => {
    const { lastLayers, layersToTransform, targetModules, excludeModules } = options;
    const { numHiddenLayers, parameters, tieWordEmbeddings } = base;
    const numbers =
      lastLayers === null
        ? layersToTransform
        : Array.from({ length: lastLayers }, (_, i) => numHiddenLayers - lastLayers + i);
    const asked = Object.keys(outside) as (keyof typeof outside)[];
    const others = asked.filter((part) => options[part]);
    if (numbers === null && targetModules === null && others.length === 0)
      throw invalid('LAYER_SELECT without a choice.', 'Give lastLayers: 2, say, or use FULL.');
    if (lastLayers !== null && layersToTransform !== null)
      throw invalid('both lastLayers and layersToTransform are given.', 'Give one of them.');
    const wanted = numbers === null ? null : [numbers].flat();
    const wrong = wanted?.find((n) => n < 0 || n >= numHiddenLayers);
    if (wrong !== undefined)
      throw invalid(
        lastLayers === null
          ? `layersToTransform names layer ${wrong}; the model has ${numHiddenLayers}, from 0.`
          : `lastLayers is ${lastLayers}; the model has ${numHiddenLayers}.`,
        'Choose fewer layers.',
      );
    // A tied head has no parameter of its own.
    const whole = others.map((part) =>
      part === 'head' && tieWordEmbeddings ? outside.embedding : outside[part],
    );
    const [isTarget, isExcluded] = [fitsOf(targetModules), fitsOf(excludeModules)];
    const chosen = parameters.filter((parameter) => {
      const path = moduleOf(parameter);
      if (isExcluded?.(path)) return false;
      const layer = layerOf(parameter);
      if (layer === null && whole.some((pattern) => pattern.test(parameter.name))) return true;
      if (numbers === null && targetModules === null) return false;
      if (wanted !== null && (layer === null || !wanted.includes(layer))) return false;
      return isTarget?.(path) ?? true;
    });
    return chosen.map(({ name }) => name);
  },
});

const invalid = (what: string, remedy: string): AttuneError =>
  new AttuneError('PEFT_CONFIG_INVALID', `peftConfig: ${what}`, { remedy });
