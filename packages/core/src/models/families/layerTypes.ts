import { z } from 'zod';
import { AttuneError } from '../../util/errors.js';

/**
 * `layer_types` of a config.json: which layers see everything before them, and which a sliding
 * window.
 */
export const layerTypesKey = z.array(z.enum(['full_attention', 'sliding_attention'])).nullish();

export type LayerTypes = z.output<typeof layerTypesKey>;

/** Tokens of a sliding window, or null for none. */
export const slidingWindowKey = z.int().positive().nullish();

/**
 * The sliding window of each layer, 0 for none.
 *
 * @param types as in the config; null: `slides` says which layers slide
 * @throws CONFIG_INVALID where there are not as many types as layers, or a layer slides without a
 *   window
 */
export function windowsOf(
  numLayers: number,
  window: number | null | undefined,
  types: LayerTypes,
  slides: (layer: number) => boolean,
): number[] {
  if (types && types.length !== numLayers)
    throw new AttuneError(
      'CONFIG_INVALID',
      `config.json: layer_types has ${types.length} entries for ${numLayers} layers (num_hidden_layers).`,
      { remedy: 'Use the config.json that came with the checkpoint.' },
    );
  return Array.from({ length: numLayers }, (_, i) => {
    const sliding = types ? types[i] === 'sliding_attention' : slides(i);
    if (!sliding) return 0;
    if (window) return window;
    throw new AttuneError(
      'CONFIG_INVALID',
      `config.json: layer ${i} has sliding attention, but sliding_window is ${String(window)}.`,
      { remedy: 'Use the config.json that came with the checkpoint.' },
    );
  });
}
