import type { PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';

/** Keeps results while a stage runs: for stages that are called without a pipeline. */
export class MemoryCache implements StageCache {
  readonly #values = new Map<string, PlainJson>();

  async get(key: string): Promise<PlainJson | undefined> {
    return this.#values.get(key);
  }

  async set(key: string, value: PlainJson): Promise<void> {
    this.#values.set(key, value);
  }
}
