import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PlainJson } from '@attune/core/util';
import type { StageCache } from '../../src/index.js';

/** A Llama of 7,000 weights with a vocabulary of bytes. */
export const tinyConfig = {
  model_type: 'llama',
  vocab_size: 260,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
};

/** Bytes as tokens, from 3 on; 1 begins a text unless it is told not to. */
export const bytes = {
  eosToken: '</s>',
  eosTokenId: 2,
  bosTokenId: null,
  encode: (text: string): number[] => [...Buffer.from(text)].map((byte) => byte + 3),
};

/** Words, numbers, spaces and signs as tokens, as in parity/data/ifd.py: 256 ids, BOS 1. */
export const pieces = {
  eosToken: '</s>',
  eosTokenId: 2,
  bosTokenId: 1,
  encode: (text: string): number[] => [
    1,
    ...(text.match(/[A-Za-z]+|[0-9]+|[^A-Za-z0-9]/gu) ?? []).map(
      (piece) => 3 + ([...piece].reduce((sum, c, i) => sum + c.codePointAt(0)! * (i + 1), 0) % 253),
    ),
  ],
};

/** Fixtures of the whole repository. */
export const parityFixtures = join(import.meta.dirname, '../../../../parity/fixtures');

/** What parity/data wrote for this package. */
export const fixtureJson = <T>(name: string): T =>
  JSON.parse(readFileSync(join(import.meta.dirname, '../fixtures', name), 'utf8')) as T;

/** A cache that says what was asked of it. */
export class CountingCache implements StageCache {
  readonly values = new Map<string, PlainJson>();
  hits = 0;

  async get(key: string): Promise<PlainJson | undefined> {
    const value = this.values.get(key);
    if (value !== undefined) this.hits++;
    return value;
  }

  async set(key: string, value: PlainJson): Promise<void> {
    this.values.set(key, value);
  }
}
