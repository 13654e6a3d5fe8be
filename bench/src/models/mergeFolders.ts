import { mkdir, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encode } from '@attune/core/backend';
import {
  layoutSafetensors,
  type TensorToWrite,
  writeJson,
  writeSafetensors,
} from '@attune/core/io';
import { type DecoderConfig, decoderShapes } from './folder.js';

/** A folder with the models of a merge below it. */
export interface MergeFolders extends AsyncDisposable {
  readonly path: string;
  /** The first is the base. */
  readonly models: readonly string[];
  /** What the weights of each take. */
  readonly megabytes: number;
}

type StoredDType = 'float32' | 'bfloat16';
const bytesOf = { float32: 4, bfloat16: 2 };

/** A Llama of about so many bytes. */
export function llamaOf(megabytes: number, dtype: StoredDType): DecoderConfig {
  const large = megabytes > 300;
  const [hidden, inner, vocab] = large ? [768, 2048, 16_384] : [512, 1408, 8192];
  const layer = 4 * hidden * hidden + 3 * hidden * inner;
  const elements = (megabytes * 1e6) / bytesOf[dtype];
  return {
    model_type: 'llama',
    architectures: ['LlamaForCausalLM'],
    vocab_size: vocab,
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: Math.max(1, Math.round((elements - 2 * vocab * hidden) / layer)),
    num_attention_heads: hidden / 64,
    num_key_value_heads: hidden / 64,
    head_dim: 64,
    max_position_embeddings: 1024,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: false,
  };
}

/** Models with random weights: those of the base, and a tenth of as much again for each other. */
export async function randomModels(
  count: number,
  megabytes: number,
  dtype: StoredDType,
): Promise<MergeFolders> {
  const config = llamaOf(megabytes, dtype);
  const path = await mkdtemp(join(tmpdir(), 'attune-bench-merge-'));
  const models: string[] = [];
  let elements = 0;
  for (let k = 0; k < count; k++) {
    const folder = join(path, `model${k}`);
    await mkdir(folder);
    const weights = [...decoderShapes(config)].map(([name, shape], i): TensorToWrite => {
      const size = shape.reduce((n, d) => n * d, 1);
      elements += k === 0 ? size : 0;
      const data = () => encode(noise(size, i + 1, k), dtype);
      return { name, shape, dtype, data };
    });
    await writeSafetensors(join(folder, 'model.safetensors'), weights);
    await writeJson(join(folder, 'config.json'), { ...config, torch_dtype: dtype });
    models.push(folder);
  }
  return {
    path,
    models,
    megabytes: (elements * bytesOf[dtype]) / 1e6,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** Uniform numbers: a xorshift of the base, and one of the model. */
function noise(size: number, seed: number, model: number): Float32Array {
  const values = new Float32Array(size);
  let [a, b] = [seed * 0x9e3779b9, (seed * 31 + model) * 0x85ebca6b];
  const share = model === 0 ? 0 : 0.1;
  for (let i = 0; i < size; i++) {
    a ^= a << 13;
    a ^= a >>> 17;
    a ^= a << 5;
    b ^= b << 13;
    b ^= b >>> 17;
    b ^= b << 5;
    values[i] = (a + share * b) * (0.035 / 2 ** 31);
  }
  return values;
}

/** Models of sparse files: their weights are zeros that take no room on the disk. */
export async function sparseModels(count: number, megabytes: number): Promise<MergeFolders> {
  const [hidden, inner, vocab] = [4096, 11_008, 32_000];
  const layer = 4 * hidden * hidden + 3 * hidden * inner;
  const config = {
    ...llamaOf(megabytes, 'bfloat16'),
    hidden_size: hidden,
    intermediate_size: inner,
    vocab_size: vocab,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    head_dim: 128,
    num_hidden_layers: Math.round((megabytes * 5e5 - 2 * vocab * hidden) / layer),
  };
  const path = await mkdtemp(join(tmpdir(), 'attune-bench-merge-'));
  const models: string[] = [];
  let numBytes = 0;
  for (let k = 0; k < count; k++) {
    const folder = join(path, `model${k}`);
    await mkdir(folder);
    const shapes = [...decoderShapes(config)];
    const tensors = shapes.map(([name, shape]) => ({ name, shape, dtype: 'bfloat16' as const }));
    const layout = layoutSafetensors('model.safetensors', tensors);
    numBytes = layout.numBytes;
    const file = await open(join(folder, 'model.safetensors'), 'w');
    await file.write(layout.header);
    await file.truncate(numBytes);
    await file.close();
    await writeJson(join(folder, 'config.json'), { ...config, torch_dtype: 'bfloat16' });
    models.push(folder);
  }
  return {
    path,
    models,
    megabytes: numBytes / 1e6,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
