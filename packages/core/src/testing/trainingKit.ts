import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Attune, createAttune } from '../attune.js';
import { definePlugin, PLUGIN_API_VERSION, type Plugin, type PluginContext } from '../di/plugin.js';
import type { CausalLM } from '../models/causalLm.js';
import { AutoModelForCausalLM } from '../models/loading/auto.js';
import { Backends } from '../points.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import { silentLogger } from '../util/logger.js';
import { Float32Backend } from './float32Backend.js';

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

const LETTERS = 'abcdefghijklmno .';

/** A token for each of 15 letters, space and full stop; others are as "a". */
export const kitTokenizer: TextTokenizer = {
  eosToken: null,
  encode: (text) => Array.from(text, (letter) => Math.max(0, LETTERS.indexOf(letter))),
  decode: (ids) => Array.from(ids, (id) => LETTERS[id] ?? '').join(''),
  applyChatTemplate: (messages) => messages.map(({ content }) => String(content)).join(' '),
};

/** A plugin that adds what a kit checks. */
export const kitPlugin = (register: (context: PluginContext) => void): Plugin =>
  definePlugin({ name: 'kit', version: '1.0.0', apiVersion: PLUGIN_API_VERSION, register });

const float32 = definePlugin({
  name: 'kit float32',
  version: '1.0.0',
  apiVersion: PLUGIN_API_VERSION,
  register: (context) =>
    context.add(Backends, { name: 'kit float32', create: async () => new Float32Backend() }),
});

/** An Attune on the reference backend, quiet; "float32" rounds as a device does. */
export const kitAttune = (
  plugins: readonly Plugin[] = [],
  numbers: 'float64' | 'float32' = 'float64',
): Promise<Attune> =>
  createAttune({
    plugins: [...plugins, float32],
    backend: numbers === 'float32' ? float32.name : 'reference',
    logger: silentLogger,
  });

/** A folder that is gone afterwards. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-kit-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}
