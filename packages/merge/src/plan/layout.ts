import type { RawConfig } from '@attune/core/io';
import { isPlainObject } from '@attune/core/util';
import { splitLayer } from './tensorNames.js';

/** Layers of a model: names with `prefix` and a number. */
export interface LayerStack {
  /** `model.layers.` */
  readonly prefix: string;
  readonly numLayers: number;
}

const LAYERS_KEYS = ['num_hidden_layers', 'n_layer', 'num_layers', 'n_layers'];
const STACK = /(^|\.)(layers?|h|blocks?)\.$/;

/** Where a config says how many layers there are: in itself, or in its text_config. */
export interface LayersKey {
  readonly key: string;
  readonly isNested: boolean;
  readonly numLayers: number;
}

/** The part of a config that describes the text model. */
export const textConfigOf = (config: RawConfig): RawConfig =>
  isPlainObject(config.text_config) ? config.text_config : config;

/** null: it says nothing of layers. */
export function layersKeyOf(config: RawConfig): LayersKey | null {
  for (const part of [config, textConfigOf(config)])
    for (const key of LAYERS_KEYS) {
      const numLayers = part[key];
      if (typeof numLayers === 'number') return { key, isNested: part !== config, numLayers };
    }
  return null;
}

/**
 * Finds layers by the names of tensors: the first number of a name, which counts from 0 without
 * gaps. It is a layer where the names say so (`layers.`, `h.`), or there are as many as config.json
 * says. Layers past the number in config.json, as of extra prediction heads, are none.
 */
export function stacksOf(names: Iterable<string>, config: RawConfig): LayerStack[] {
  const numbers = new Map<string, Set<number>>();
  for (const name of names) {
    const split = splitLayer(name);
    if (!split) continue;
    const found = numbers.get(split.prefix) ?? new Set();
    numbers.set(split.prefix, found.add(split.layer));
  }
  const said = layersKeyOf(config)?.numLayers;
  const candidates = [...numbers].filter(([prefix, found]) => {
    const isCounted = Array.from({ length: found.size }, (_, i) => i).every((i) => found.has(i));
    return isCounted && (STACK.test(prefix) || found.size === said);
  });
  return candidates.map(([prefix, found]) => ({
    prefix,
    numLayers:
      candidates.length === 1 && said !== undefined ? Math.min(said, found.size) : found.size,
  }));
}
