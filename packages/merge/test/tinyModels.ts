import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DType } from '@attune/core';
import { type TensorToWrite, tensorToWrite, writeWeights } from '@attune/core/io';
import { Rng } from '@attune/core/util';

/** How a tiny model is made; sizes are odd where a model's may be. */
export interface TinyOptions {
  readonly layers?: number;
  readonly hidden?: number;
  readonly inner?: number;
  readonly vocab?: number;
  readonly tied?: boolean;
  readonly dtype?: DType;
  readonly seed?: number;
  /** Files of at most so many bytes. */
  readonly maxShardSize?: number;
  /** Changes what is written. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly tensors?: (shapes: Map<string, readonly number[]>) => void;
  /** Tokens by id; null: no tokenizer. */
  readonly tokens?: readonly string[] | null;
}

type Family = 'llama' | 'qwen2' | 'gpt2';

/** Shapes of a model's tensors by name. */
export function tinyShapes(
  family: Family,
  { layers = 2, hidden = 16, inner = 21, vocab = 13, tied = false }: TinyOptions,
): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  if (family === 'gpt2') {
    shapes.set('transformer.wte.weight', [vocab, hidden]);
    shapes.set('transformer.wpe.weight', [32, hidden]);
    for (let i = 0; i < layers; i++) {
      const layer = (name: string, ...shape: number[]) =>
        shapes.set(`transformer.h.${i}.${name}`, shape);
      for (const norm of ['ln_1', 'ln_2'])
        for (const part of ['weight', 'bias']) layer(`${norm}.${part}`, hidden);
      layer('attn.c_attn.weight', hidden, 3 * hidden);
      layer('attn.c_attn.bias', 3 * hidden);
      layer('attn.c_proj.weight', hidden, hidden);
      layer('attn.c_proj.bias', hidden);
      layer('mlp.c_fc.weight', hidden, 4 * hidden);
      layer('mlp.c_fc.bias', 4 * hidden);
      layer('mlp.c_proj.weight', 4 * hidden, hidden);
      layer('mlp.c_proj.bias', hidden);
    }
    for (const part of ['weight', 'bias']) shapes.set(`transformer.ln_f.${part}`, [hidden]);
  } else {
    shapes.set('model.embed_tokens.weight', [vocab, hidden]);
    for (let i = 0; i < layers; i++) {
      const layer = (name: string, ...shape: number[]) =>
        shapes.set(`model.layers.${i}.${name}`, shape);
      for (const norm of ['input_layernorm', 'post_attention_layernorm'])
        layer(`${norm}.weight`, hidden);
      layer('self_attn.q_proj.weight', hidden, hidden);
      for (const side of ['k', 'v']) layer(`self_attn.${side}_proj.weight`, hidden / 2, hidden);
      layer('self_attn.o_proj.weight', hidden, hidden);
      if (family === 'qwen2') {
        layer('self_attn.q_proj.bias', hidden);
        for (const side of ['k', 'v']) layer(`self_attn.${side}_proj.bias`, hidden / 2);
      }
      layer('mlp.gate_proj.weight', inner, hidden);
      layer('mlp.up_proj.weight', inner, hidden);
      layer('mlp.down_proj.weight', hidden, inner);
    }
    shapes.set('model.norm.weight', [hidden]);
  }
  if (!tied) shapes.set('lm_head.weight', [vocab, hidden]);
  return shapes;
}

const classes = { llama: 'LlamaForCausalLM', qwen2: 'Qwen2ForCausalLM', gpt2: 'GPT2LMHeadModel' };

const configOf = (family: Family, options: TinyOptions) => {
  const { layers = 2, hidden = 16, inner = 21, vocab = 13, tied = false } = options;
  const common = {
    architectures: [classes[family]],
    model_type: family,
    torch_dtype: options.dtype ?? 'float32',
    tie_word_embeddings: tied,
    vocab_size: vocab,
  };
  if (family === 'gpt2')
    return { ...common, n_layer: layers, n_embd: hidden, n_head: 2, n_positions: 32 };
  return {
    ...common,
    num_hidden_layers: layers,
    hidden_size: hidden,
    intermediate_size: inner,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 32,
    rms_norm_eps: 1e-6,
    rope_theta: 10000.0,
  };
};

/** Writes a tiny model as transformers does; its numbers are those of its seed. */
export async function writeTiny(
  folder: string,
  family: Family,
  options: TinyOptions = {},
): Promise<string> {
  const shapes = tinyShapes(family, options);
  options.tensors?.(shapes);
  await mkdir(folder, { recursive: true });
  const rng = new Rng(options.seed ?? 0, 0);
  const tensors = [...shapes].map(([name, shape]): TensorToWrite => {
    const length = shape.reduce((a, b) => a * b, 1);
    const values = Float32Array.from({ length }, () => rng.uniform() - 0.5);
    return tensorToWrite(name, values, shape, options.dtype ?? 'float32');
  });
  await writeWeights(folder, tensors, { maxShardSize: options.maxShardSize ?? '1GB' });
  const config = { ...configOf(family, options), ...options.config };
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  await writeFile(join(folder, 'generation_config.json'), '{"bos_token_id": 1}\n');
  const { tokens = Array.from({ length: options.vocab ?? 13 }, (_, i) => `t${i}`) } = options;
  if (tokens !== null) {
    const vocab = Object.fromEntries(tokens.map((token, id) => [token, id]));
    const tokenizer = {
      version: '1.0',
      added_tokens: [],
      model: { type: 'WordLevel', vocab, unk_token: tokens[0] },
    };
    await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
    await writeFile(join(folder, 'tokenizer_config.json'), '{}\n');
  }
  return folder;
}
