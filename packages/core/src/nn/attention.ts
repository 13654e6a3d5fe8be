import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { attention } from '../tensor/ops/attention.js';
import { linears } from '../tensor/ops/linears.js';
import { ropePair } from '../tensor/ops/rope.js';
import type { Tensor } from '../tensor/tensor.js';
import { Linear, type LinearLike } from './linear.js';
import { weightsTogether } from './linearsTogether.js';
import { Module } from './module.js';
import type { NormLike } from './norm.js';
import type { RotaryTables } from './rotary.js';
import { before, type KeyValues } from './virtualTokens.js';

/**
 * Keys and values of the tokens that a model has seen, so that a step computes its new tokens
 * alone.
 *
 * `StaticKvCache` (models) is the one that generation uses.
 */
export interface KvCache {
  /** Tokens cached before this forward pass: the position of its first query. */
  readonly length: number;
  /** Most tokens that fit. */
  readonly capacity: number;
  /**
   * Adds the keys and values of a layer.
   *
   * @param keys [B, T, Hkv, D]
   * @param values [B, T, Hkv, D]
   * @returns keys and values of all tokens so far, [B, S, Hkv, D] with S >= length + T
   */
  append(layer: number, keys: Tensor, values: Tensor): { keys: Tensor; values: Tensor };
  /** Called once after the last layer: `tokens` more are cached. */
  advance(tokens: number): void;
}

/** What every layer of one forward pass shares. */
export interface AttentionContext {
  /** int32 [B, T] */
  readonly positions: Tensor;
  /** int32 [B, S] or none: see ForwardInput; [B, S + T] with places, see AttentionOptions. */
  readonly segments: Tensor | null;
  readonly cache: KvCache | null;
  /**
   * What virtual tokens put before the keys and values of this pass, for each layer. None: there
   * are none, or they are cached.
   */
  readonly virtual?: readonly KeyValues[] | null;
  /**
   * Tokens of the longest sequence so far, those virtual ones and those in the cache included:
   * frequencies of some rotary embeddings follow it.
   */
  readonly length: number;
}

/** How the scores of a layer are made of queries and keys. */
export interface ScoreOptions {
  /** Multiplies q k^T. Default 1/sqrt(headDim). */
  readonly scale?: number;
  /** Sliding window in tokens, the query's own included. Default 0: none. */
  readonly window?: number;
  /** Soft cap of the scores (Gemma 2). Default 0: none. */
  readonly softcap?: number;
  /** Dropout of the softmax's weights, now: 0 while not training. Default 0. */
  readonly dropout?: number;
}

/**
 * Attention of one layer over the new tokens, virtual ones before them, and what is cached. The
 * attention of any family goes through it.
 *
 * @param layer which of the model's layers this is, from 0
 * @param projected q `[B, T, H, D]`, k and v `[B, T, Hkv, D]`
 * @returns `[B, T, H * D]`
 */
export function attendCached(
  layer: number,
  projected: readonly [Tensor, Tensor, Tensor],
  context: AttentionContext,
  options: ScoreOptions = {},
): Tensor {
  const [q, k, v] = projected;
  const [batch, length, heads, headDim] = q.shape as [number, number, number, number];
  const virtual = context.virtual?.[layer];
  const keys = virtual ? before(virtual.keys, k) : k;
  const values = virtual ? before(virtual.values, v) : v;
  const seen = context.cache?.append(layer, keys, values) ?? { keys, values };
  const out = attention(q, seen.keys, seen.values, {
    scale: options.scale ?? 1 / Math.sqrt(headDim),
    window: options.window ?? 0,
    softcap: options.softcap ?? 0,
    dropout: options.dropout ?? 0,
    queryOffset: (context.cache?.length ?? 0) + keys.shape[1]! - length,
    segments: context.segments,
  });
  return out.reshape(batch, length, heads * headDim);
}

/** Attention as a layer of any decoder uses it. */
export interface AttentionLike extends Module {
  /** Sliding window in tokens, the query's own included. Absent or 0: none. */
  readonly window?: number;
  /** [B, T, hidden] -> [B, T, hidden] */
  forward(x: Tensor, context: AttentionContext): Tensor;
}

/** The sizes and rules of {@link SelfAttention}. */
export interface SelfAttentionOptions extends ScoreOptions {
  readonly hiddenSize: number;
  readonly numHeads: number;
  /** Fewer than numHeads: grouped-query attention (Ainslie et al., arXiv:2305.13245). */
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** Bias of q_proj, k_proj and v_proj. */
  readonly qkvBias: boolean;
  /** Bias of o_proj. */
  readonly outputBias: boolean;
  readonly dtype: DType;
  /** Turns queries and keys; null: the layer sees no positions. Its owner disposes it. */
  readonly rotary: RotaryTables | null;
  /**
   * Makes q_norm and k_norm, over the features of each head, before they turn (Qwen3, Gemma 3).
   * Default none.
   */
  readonly headNorm?: ((features: number) => NormLike) | undefined;
}

const projections = ['q_proj', 'k_proj', 'v_proj'];

/** Causal self-attention; projections q_proj, k_proj, v_proj, o_proj. */
export class SelfAttention extends Module implements AttentionLike {
  constructor(
    engine: Engine,
    readonly layer: number,
    readonly options: SelfAttentionOptions,
  ) {
    super();
    const { hiddenSize, numHeads, numKeyValueHeads, headDim, qkvBias, outputBias, dtype } = options;
    const project = (name: string, inFeatures: number, outFeatures: number, bias: boolean) =>
      this.addChild(name, new Linear(engine, { inFeatures, outFeatures, bias, dtype }));
    project('q_proj', hiddenSize, numHeads * headDim, qkvBias);
    project('k_proj', hiddenSize, numKeyValueHeads * headDim, qkvBias);
    project('v_proj', hiddenSize, numKeyValueHeads * headDim, qkvBias);
    project('o_proj', numHeads * headDim, hiddenSize, outputBias);
    if (options.headNorm) {
      this.addChild('q_norm', options.headNorm(headDim));
      this.addChild('k_norm', options.headNorm(headDim));
    }
  }

  get window(): number {
    return this.options.window ?? 0;
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    const { numHeads, numKeyValueHeads, headDim, rotary } = this.options;
    const [batch, length] = x.shape as [number, number, number];
    const inHeads = (projected: Tensor, heads: number) =>
      projected.reshape(batch, length, heads, headDim);
    return x.engine.scope('attention', () => {
      const weights = weightsTogether(x.engine, this, projections);
      // At once where they can be; else each where it is needed, without a function in between.
      const made = weights && linears(x, weights);
      const queries = made ? made[0]! : this.child<LinearLike>('q_proj').forward(x);
      let q = this.#norm('q_norm', inHeads(queries, numHeads)); // [B, T, H, Dh]
      const keys = made ? made[1]! : this.child<LinearLike>('k_proj').forward(x);
      let k = this.#norm('k_norm', inHeads(keys, numKeyValueHeads)); // [B, T, Hkv, Dh]
      if (rotary) [q, k] = ropePair(q, k, rotary.at(context.length), context.positions);
      const values = made ? made[2]! : this.child<LinearLike>('v_proj').forward(x);
      const v = inHeads(values, numKeyValueHeads);
      const out = attendCached(this.layer, [q, k, v], context, this.options);
      return this.child<LinearLike>('o_proj').forward(out);
    });
  }

  #norm(name: 'q_norm' | 'k_norm', x: Tensor): Tensor {
    return this.options.headNorm ? this.child<NormLike>(name).forward(x) : x;
  }
}
