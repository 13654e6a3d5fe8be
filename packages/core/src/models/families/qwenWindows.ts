import { z } from 'zod';
import { type LayerTypes, layerTypesKey, slidingWindowKey, windowsOf } from './layerTypes.js';

/** How Qwen2 and Qwen3 say which layers have a sliding window. */
export const qwenWindowKeys = {
  /** Without it no layer slides, whatever the other keys say. */
  use_sliding_window: z.boolean().default(false),
  sliding_window: slidingWindowKey.default(4096),
  /** The first layers see everything. */
  max_window_layers: z.int().nonnegative().default(28),
  /** Layer by layer, instead of max_window_layers. */
  layer_types: layerTypesKey,
};

/** The sliding window of each layer, 0 for none. @throws CONFIG_INVALID */
export function qwenWindows(config: {
  readonly num_hidden_layers: number;
  readonly use_sliding_window: boolean;
  readonly sliding_window: number | null;
  readonly max_window_layers: number;
  readonly layer_types?: LayerTypes;
}): number[] {
  const { num_hidden_layers: layers, sliding_window: window, layer_types: types } = config;
  if (!config.use_sliding_window || window === null) return new Array<number>(layers).fill(0);
  return windowsOf(layers, window, types, (i) => i >= config.max_window_layers);
}
