import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { attention } from '../tensor/ops/attention.js';
import { ropePair } from '../tensor/ops/rope.js';
import type { Tensor } from '../tensor/tensor.js';
import { Linear, type LinearLike } from './linear.js';
import { Module } from './module.js';
import type { RotaryTables } from './rotary.js';

/**
 * Keys and values of the tokens that a model has seen, so that a step computes its new tokens alone.
 *
 * `StaticKvCache` (models) is the one that generation uses. Another may put learned keys and values before the
 * prompt (prefix tuning): `append` returns what attention reads, recorded or not.
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
  /** int32 [B, S] or none: see ForwardInput. */
  readonly segments: Tensor | null;
  readonly rotary: RotaryTables;
  readonly cache: KvCache | null;
}

export interface SelfAttentionOptions {
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
}

/** Causal self-attention with rotary positions; projections q_proj, k_proj, v_proj, o_proj. */
export class SelfAttention extends Module {
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
  }

  /** [B, T, hidden] -> [B, T, hidden] */
  forward(x: Tensor, context: AttentionContext): Tensor {
    return x.engine.scope('attention', () => this.#attend(x, context));
  }

  #attend(x: Tensor, context: AttentionContext): Tensor {
    const { numHeads, numKeyValueHeads, headDim } = this.options;
    const [batch, length] = x.shape as [number, number, number];
    const project = (name: string, heads: number) =>
      this.child<LinearLike>(name).forward(x).reshape(batch, length, heads, headDim);
    const [q, k] = ropePair(
      project('q_proj', numHeads), // [B, T, H, Dh]
      project('k_proj', numKeyValueHeads), // [B, T, Hkv, Dh]
      context.rotary,
      context.positions,
    );
    const v = project('v_proj', numKeyValueHeads);
    const seen = context.cache?.append(this.layer, k, v) ?? { keys: k, values: v };
    const out = attention(q, seen.keys, seen.values, {
      queryOffset: context.cache?.length ?? 0,
      segments: context.segments,
    });
    return this.child<LinearLike>('o_proj').forward(out.reshape(batch, length, numHeads * headDim));
  }
}
