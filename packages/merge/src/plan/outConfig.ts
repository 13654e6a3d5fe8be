import type { RawConfig } from '@attune/core/io';
import { isPlainObject } from '@attune/core/util';
import type { MergeConfig } from '../config/mergeConfig.js';
import { layersKeyOf } from './layout.js';
import type { MergeableModel } from './mergeableModel.js';
import { lengthOf, type OutputSection } from './plannedTensors.js';

/** What the output's config.json says otherwise than that of the model it is taken from. */
export interface ConfigChanges {
  readonly dtype: MergeConfig['dtype'];
  /** Rows of the embedding; null: as they were. */
  readonly vocabSize: number | null;
  /** Whether the head is the embedding; null: as it was. */
  readonly tied: boolean | null;
  /** Each layer of the output: its config, and its number there. null: as they were. */
  readonly layers: readonly LayerOrigin[] | null;
}

/** Which layer of which model a layer of the output counts as. */
export interface LayerOrigin {
  readonly config: RawConfig;
  readonly layer: number;
}

/** Lists that have as many entries as there are layers by chance alone. */
const NO_LAYERS = /^architectures$|_ids?$|token|label|rope/;

/** Lists of the numbers of layers. */
const INDEX_LISTS = [
  'mlp_only_layers',
  'cross_attention_layers',
  'moe_layers',
  'full_attn_idxs',
  'attn_layer_indices',
];

/** Rules by the number of a layer. */
const PATTERNS = [
  'sliding_window_pattern',
  'max_window_layers',
  'full_attention_interval',
  'no_rope_layer_interval',
  'decoder_sparse_step',
  'interleave_moe_layer_step',
  'first_k_dense_replace',
  'num_kv_shared_layers',
  'attention_types',
];

/** The layers of slices; null: whole models are merged. */
export function layerOrigins(sections: readonly OutputSection[]): readonly LayerOrigin[] | null {
  const origins: LayerOrigin[] = [];
  for (const { slice, sources, base } of sections) {
    if (slice === null) return null;
    const isBase = ({ model }: { readonly model: MergeableModel }) =>
      model.reference.key === base?.key;
    const { model, begin } = sources.find(isBase) ?? sources[0]!;
    const { config } = model.opened.files;
    for (let i = 0; i < lengthOf(slice); i++) origins.push({ config, layer: begin + i });
  }
  return origins;
}

/**
 * config.json of the output: that of the base, or of the first model, with what the merge changes.
 *
 * @param warnings receives rules by the number of a layer that the slices break
 */
export function outConfig(
  config: RawConfig,
  { dtype, vocabSize, tied, layers }: ConfigChanges,
  warnings: string[],
): RawConfig {
  const key = layersKeyOf(config);
  const inner = isPlainObject(config.text_config) ? config.text_config : null;
  const change = (part: RawConfig): RawConfig => ({
    ...part,
    ...(dtype !== null && withDType(part, dtype, part === config)),
    ...(vocabSize !== null && 'vocab_size' in part && { vocab_size: vocabSize }),
    ...(tied !== null &&
      (part === config || 'tie_word_embeddings' in part) && { tie_word_embeddings: tied }),
    ...(layers && key && (part === inner) === key.isNested && withLayers(part, key.key, layers)),
  });
  if (layers && key) {
    const part = key.isNested ? inner! : config;
    const isAsWas = layers.every(({ layer }, i) => layer === i);
    const broken = PATTERNS.filter((name) => part[name] != null && !('layer_types' in part));
    if (!isAsWas && broken.length > 0)
      warnings.push(
        `config.json has ${broken.join(', ')}, rules by the number of a layer; the slices renumber layers, so some follow another rule than in their model.`,
      );
  }
  return { ...change(config), ...(inner && { text_config: change(inner) }) };
}

/** transformers 5 writes `dtype`, earlier ones `torch_dtype`. */
function withDType(part: RawConfig, dtype: string, isOuter: boolean): RawConfig {
  const names = ['dtype', 'torch_dtype'].filter((name) => name in part);
  if (names.length === 0 && isOuter) names.push('torch_dtype');
  return Object.fromEntries(names.map((name) => [name, dtype]));
}

function withLayers(part: RawConfig, key: string, layers: readonly LayerOrigin[]): RawConfig {
  const changed: Record<string, unknown> = { [key]: layers.length };
  const old = part[key];
  for (const [name, value] of Object.entries(part)) {
    if (!Array.isArray(value)) continue;
    if (INDEX_LISTS.includes(name))
      changed[name] = layers.flatMap(({ config, layer }, i) =>
        (listIn(config, name) ?? value).includes(layer) ? [i] : [],
      );
    else if (value.length === old && !NO_LAYERS.test(name))
      changed[name] = layers.map(({ config, layer }) => (listIn(config, name) ?? value)[layer]);
  }
  return changed;
}

/** A list of a model's own config, in its text_config or beside it. */
function listIn(config: RawConfig, name: string): readonly unknown[] | null {
  const text = isPlainObject(config.text_config) ? config.text_config : config;
  const list = text[name] ?? config[name];
  return Array.isArray(list) ? list : null;
}
