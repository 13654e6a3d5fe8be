import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesPerElement, encode } from '@attune/core/backend';
import { type RawConfig, type TensorToWrite, writeJson, writeSafetensors } from '@attune/core/io';
import { someValues } from './tinyLm.js';

/** Sizes that a Llama-like config.json must spell out here. */
export interface DecoderConfig extends RawConfig {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly tie_word_embeddings: boolean;
}

export interface ModelFolder extends AsyncDisposable {
  readonly path: string;
  /** Bytes of the weights. */
  readonly bytes: number;
}

/**
 * Values of the repeating pattern that fills every weight: a draw for each of 10^9 would take
 * minutes.
 */
const PATTERN = someValues(2 ** 16).map((value) => value * 0.07); // standard deviation 0.02

/**
 * Writes a model folder with random weights, as transformers lays it out, into the temporary
 * folder.
 */
export async function randomModelFolder(
  config: DecoderConfig,
  dtype: 'float32' | 'bfloat16',
): Promise<ModelFolder> {
  const path = await mkdtemp(join(tmpdir(), 'attune-bench-'));
  const weights = [...decoderShapes(config)].map(([name, shape]): TensorToWrite => {
    const size = shape.reduce((n, d) => n * d, 1);
    return { name, shape, dtype, data: () => filled(size, dtype, patternOf(name)) };
  });
  await writeSafetensors(join(path, 'model.safetensors'), weights);
  await writeJson(join(path, 'config.json'), { ...config, dtype });
  const elements = weights.reduce((n, w) => n + w.shape.reduce((m, d) => m * d, 1), 0);
  return {
    path,
    bytes: elements * bytesPerElement[dtype],
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

const patternOf = (name: string): ArrayLike<number> => {
  if (name.endsWith('norm.weight')) return [1];
  return name.endsWith('.bias') ? [0] : PATTERN;
};

function filled(size: number, dtype: 'float32' | 'bfloat16', values: ArrayLike<number>) {
  const pattern = encode(values, dtype);
  const data = dtype === 'float32' ? new Float32Array(size) : new Uint16Array(size);
  for (let at = 0; at < size; at += pattern.length)
    data.set(pattern.subarray(0, Math.min(pattern.length, size - at)), at);
  return data;
}

/** Names and shapes of the weights of Llama and Qwen2. */
export function* decoderShapes(c: DecoderConfig): Generator<[string, number[]]> {
  const heads = c.num_attention_heads * c.head_dim;
  const keyValue = c.num_key_value_heads * c.head_dim;
  yield ['model.embed_tokens.weight', [c.vocab_size, c.hidden_size]];
  yield ['model.norm.weight', [c.hidden_size]];
  if (!c.tie_word_embeddings) yield ['lm_head.weight', [c.vocab_size, c.hidden_size]];
  for (let layer = 0; layer < c.num_hidden_layers; layer++) {
    const at = `model.layers.${layer}`;
    yield [`${at}.input_layernorm.weight`, [c.hidden_size]];
    yield [`${at}.post_attention_layernorm.weight`, [c.hidden_size]];
    for (const [name, out] of [
      ['q', heads],
      ['k', keyValue],
      ['v', keyValue],
    ] as const) {
      yield [`${at}.self_attn.${name}_proj.weight`, [out, c.hidden_size]];
      if (c.model_type === 'qwen2') yield [`${at}.self_attn.${name}_proj.bias`, [out]];
    }
    yield [`${at}.self_attn.o_proj.weight`, [c.hidden_size, heads]];
    yield [`${at}.mlp.gate_proj.weight`, [c.intermediate_size, c.hidden_size]];
    yield [`${at}.mlp.up_proj.weight`, [c.intermediate_size, c.hidden_size]];
    yield [`${at}.mlp.down_proj.weight`, [c.hidden_size, c.intermediate_size]];
  }
}
