import { expect, test } from 'vitest';
import { outConfig } from '../../src/plan/outConfig.js';

const unchanged = { dtype: null, vocabSize: null, tied: null, layers: null };
const at = (config: object, ...layers: number[]) =>
  layers.map((layer) => ({ config: config as Readonly<Record<string, unknown>>, layer }));

test('without changes it is the config as it was', () => {
  const config = { model_type: 'llama', num_hidden_layers: 2, rope_theta: 5e5, x: [1, 2] };
  expect(outConfig(config, unchanged, [])).toEqual(config);
});

test('lists with an entry for each layer follow the layers; other lists stay', () => {
  const config = {
    architectures: ['A', 'B', 'C'],
    num_hidden_layers: 3,
    eos_token_id: [7, 8, 9],
    layer_types: ['full', 'sliding', 'linear'],
    intermediate_size: [10, 20, 30],
    mlp_only_layers: [0, 2],
    torch_dtype: 'float32',
  };
  const other = { ...config, layer_types: ['x', 'y', 'z'], mlp_only_layers: [] };
  const layers = [...at(config, 2, 0), ...at(other, 1, 2)];
  expect(outConfig(config, { ...unchanged, layers, dtype: 'bfloat16' }, [])).toEqual({
    ...config,
    num_hidden_layers: 4,
    layer_types: ['linear', 'full', 'y', 'z'],
    intermediate_size: [30, 10, 20, 30],
    mlp_only_layers: [0, 1],
    torch_dtype: 'bfloat16',
  });
});

test('a nested text model has the changes, and what stands beside it stays', () => {
  const config = {
    model_type: 'gemma3',
    dtype: 'float32',
    tie_word_embeddings: true,
    text_config: {
      num_hidden_layers: 2,
      vocab_size: 10,
      layer_types: ['a', 'b'],
      dtype: 'float32',
    },
    vision_config: { num_hidden_layers: 2, layer_types: ['v', 'w'] },
  };
  const changes = {
    dtype: 'float16',
    vocabSize: 12,
    tied: false,
    layers: at(config, 1),
  } as const;
  expect(outConfig(config, changes, [])).toEqual({
    ...config,
    dtype: 'float16',
    tie_word_embeddings: false,
    text_config: {
      num_hidden_layers: 1,
      vocab_size: 12,
      layer_types: ['b'],
      dtype: 'float16',
    },
  });
});

test('rules by the number of a layer that the slices break are told', () => {
  const config = { num_hidden_layers: 3, sliding_window_pattern: 2, n: 1 };
  const warnings: string[] = [];
  outConfig(config, { ...unchanged, layers: at(config, 0, 1) }, warnings);
  expect(warnings).toEqual([]);
  outConfig(config, { ...unchanged, layers: at(config, 0, 2) }, warnings);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).toMatch(/^config\.json has sliding_window_pattern, rules by the number/);
});
