import type { KvCache } from '../nn/attention.js';
import type { Engine } from '../tensor/engine.js';
import { embedding } from '../tensor/ops/embedding.js';
import { concat } from '../tensor/ops/movement.js';
import { assign, writeRowsPair } from '../tensor/ops/update.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import type { LanguageModel } from './languageModel.js';

export type { KvCache } from '../nn/attention.js';

/** The sizes of a {@link StaticKvCache}. */
export interface StaticKvCacheOptions {
  readonly numLayers: number;
  readonly batchSize: number;
  /** Tokens that fit, prompt included. */
  readonly capacity: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
}

/**
 * A cache for `tokens` tokens of each row, and the virtual tokens of the model's adapters before
 * them.
 */
export const cacheFor = (
  { engine, config, adapters }: LanguageModel,
  batchSize: number,
  tokens: number,
): StaticKvCache =>
  new StaticKvCache(engine, {
    numLayers: config.numHiddenLayers,
    batchSize,
    capacity: tokens + (adapters?.numVirtualTokens ?? 0),
    numKeyValueHeads: config.numKeyValueHeads,
    headDim: config.headDim,
  });

/**
 * Memory for `capacity` tokens taken once: every step of generation has the same shapes and
 * buffers.
 */
export class StaticKvCache implements KvCache {
  readonly capacity: number;
  readonly #layers: readonly { readonly keys: Tensor; readonly values: Tensor }[];
  #length = 0;

  constructor(
    readonly engine: Engine,
    readonly options: StaticKvCacheOptions,
  ) {
    const { numLayers, batchSize, capacity, numKeyValueHeads, headDim } = options;
    this.capacity = capacity;
    const shape = [batchSize, capacity, numKeyValueHeads, headDim];
    this.#layers = Array.from({ length: numLayers }, () => ({
      keys: engine.keep(engine.empty(shape)),
      values: engine.keep(engine.empty(shape)),
    }));
  }

  get length(): number {
    return this.#length;
  }

  /** @throws KV_CACHE_FULL, KV_CACHE_GRADIENT */
  append(layer: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor } {
    if (this.engine.gradEnabled && (keys.requiresGrad || values.requiresGrad))
      throw new AttuneError(
        'KV_CACHE_GRADIENT',
        'gradients do not pass through a key-value cache.',
        {
          remedy: 'Call the model inside engine.noGrad(), or without a cache.',
        },
      );
    if (this.#length + keys.shape[1]! > this.capacity)
      throw new AttuneError(
        'KV_CACHE_FULL',
        `the cache holds ${this.#length} of ${this.capacity} tokens; ${keys.shape[1]} more do not fit.`,
        { remedy: 'Make the cache with a larger capacity: prompt length + maxNewTokens.' },
      );
    const held = this.#layers[layer]!;
    writeRowsPair([held.keys, held.values], [keys, values], this.#length);
    return held;
  }

  advance(tokens: number): void {
    this.#length += tokens;
  }

  /** Row r takes over what row `from[r]` holds. */
  reorder(from: readonly number[]): void {
    const { engine } = this;
    engine.noGrad(() =>
      engine.scope('reorder cache', () => {
        const rows = engine.tensor(from, [from.length], 'int32');
        for (const { keys, values } of this.#layers)
          for (const held of [keys, values])
            assign(held, embedding(held.reshape(from.length, -1), rows).reshape(...held.shape));
      }),
    );
  }

  /**
   * Token t of row r becomes what token `from[r * capacity + t]` is, counted through all rows of
   * this cache and then those of `other`. From then on `length` tokens are held.
   */
  take(from: readonly number[], other: StaticKvCache | null, length: number): void {
    const { engine, capacity, options } = this;
    const { batchSize, numKeyValueHeads, headDim } = options;
    engine.noGrad(() =>
      engine.scope('move cache', () => {
        const ids = engine.tensor(from, [batchSize, capacity], 'int32');
        const tokens = (held: Tensor) => held.reshape(-1, numKeyValueHeads * headDim);
        for (const [layer, own] of this.#layers.entries())
          for (const name of ['keys', 'values'] as const)
            engine.scope('layer', () => {
              const held = tokens(own[name]);
              const all = other ? concat([held, tokens(other.#layers[layer]![name])], 0) : held;
              assign(own[name], embedding(all, ids).reshape(...own[name].shape));
            });
      }),
    );
    this.#length = length;
  }

  /** Forgets every token; the memory stays. */
  reset(): void {
    this.#length = 0;
  }

  dispose(): void {
    for (const { keys, values } of this.#layers) {
      keys.dispose();
      values.dispose();
    }
  }
}
