import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attune, createAttune } from '../attune.js';
import type { Plugin } from '../di/plugin.js';
import type { CausalLM } from '../models/causalLm.js';
import { AutoModelForCausalLM } from '../models/loading/auto.js';
import { silentLogger } from '../util/logger.js';

/** A Llama of one layer with 8 features and 17 tokens: an update takes milliseconds. */
export const kitLlama = (attune: Attune, seed = 0): Promise<CausalLM> =>
  AutoModelForCausalLM.fromConfig(
    {
      model_type: 'llama',
      vocab_size: 17,
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      initializer_range: 0.3,
    },
    { attune, seed },
  );

/** Rows of token ids for it, 3 to 6 long. */
export const kitRows = (count: number): { input_ids: number[] }[] =>
  Array.from({ length: count }, (_, i) => ({
    input_ids: Array.from({ length: 3 + (i % 4) }, (_, t) => (i * 5 + t * 3) % 17),
  }));

/** An Attune on the reference backend, quiet. */
export const kitAttune = (plugins: readonly Plugin[] = []): Promise<Attune> =>
  createAttune({ plugins, backend: 'reference', logger: silentLogger });

/** A folder that is gone afterwards. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-kit-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
