import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  Backends,
  type CausalLM,
  createAttune,
  definePlugin,
  type Logger,
  type Plugin,
  silentLogger,
} from '@attune/core';
import type { ReferenceBackend } from '@attune/core/backend';
import { Float32Backend } from '../../src/testing/float32Backend.js';
import { fixture } from '../models/support.js';

export { fixture, fixtureJson, largestDifference } from '../models/support.js';

export { Float32Backend };

export const backendPlugin = (name: string, create: () => ReferenceBackend): Plugin =>
  definePlugin({
    name,
    version: '0',
    apiVersion: 1,
    register: (context) => context.add(Backends, { name, create: async () => create() }),
  });

export const float32Attune = (logger: Logger = silentLogger): Promise<Attune> =>
  createAttune({ plugins: [backendPlugin('float32', () => new Float32Backend())], logger });

export const temporaryFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'attune-test-'));

/** parity/fixtures/tiny-llama: 2 layers, hidden 64, vocabulary 256. */
export const tinyLlama = (attune: Attune): Promise<CausalLM> =>
  AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune, dtype: 'float32' });

/** One layer of 8 features, vocabulary 17: a step takes milliseconds. */
export const minuteLlama = (attune: Attune, seed = 0, changes: object = {}): Promise<CausalLM> =>
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
      rms_norm_eps: 1e-5,
      initializer_range: 0.3,
      tie_word_embeddings: false,
      ...changes,
    },
    { attune, seed },
  );

/** Rows of 3 to 6 ids below 17. */
export const idRows = (count: number): { input_ids: number[] }[] =>
  Array.from({ length: count }, (_, i) => ({
    input_ids: Array.from({ length: 3 + (i % 4) }, (_, t) => (i * 5 + t * 3) % 17),
  }));

/** Every warning and notice, for tests that read them. */
export class ListLogger implements Logger {
  readonly lines: string[] = [];
  info(message: string): void {
    this.lines.push(`info: ${message}`);
  }
  warn(message: string): void {
    this.lines.push(`warn: ${message}`);
  }
  error(message: string): void {
    this.lines.push(`error: ${message}`);
  }
}

/** All parameters as float32 bits, by name. */
export async function weightsOf(model: CausalLM): Promise<Record<string, number[]>> {
  const out: Record<string, number[]> = {};
  for (const [name, parameter] of model.root.namedParameters())
    out[name] = [...(await parameter.tensor.data())];
  return out;
}
