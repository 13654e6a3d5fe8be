import type { DType } from '../../backend/dtype.js';
import { type AttentionContext, type AttentionLike, SelfAttention } from '../../nn/attention.js';
import { Decoder, type DecoderLayerLike, DecoderWithHead } from '../../nn/decoder.js';
import { Embedding } from '../../nn/embedding.js';
import { GatedMlp, type MlpLike } from '../../nn/mlp.js';
import { Module } from '../../nn/module.js';
import { addThenNorm, type NormLike, RMSNorm } from '../../nn/norm.js';
import type { RotaryTables } from '../../nn/rotary.js';
import type { Engine } from '../../tensor/engine.js';
import type { Tensor } from '../../tensor/tensor.js';
import { embeddingScale } from './gemmaConfig.js';

/** x + norm(attention(norm(x))), then + norm(mlp(norm(.))): a norm before and after each block. */
export class SandwichLayer extends Module implements DecoderLayerLike {
  constructor(attention: AttentionLike, mlp: MlpLike, norm: () => NormLike) {
    super();
    this.addChild('self_attn', attention);
    this.addChild('mlp', mlp);
    this.addChild('input_layernorm', norm());
    this.addChild('post_attention_layernorm', norm());
    this.addChild('pre_feedforward_layernorm', norm());
    this.addChild('post_feedforward_layernorm', norm());
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    const norm = (name: string) => this.child<NormLike>(name);
    const normed = norm('input_layernorm').forward(x);
    const attention = this.child<AttentionLike>('self_attn').forward(normed, context);
    const after = norm('post_attention_layernorm').forward(attention);
    const [attended, between] = addThenNorm(x, after, norm('pre_feedforward_layernorm'));
    const mlp = this.child<MlpLike>('mlp').forward(between);
    return attended.add(norm('post_feedforward_layernorm').forward(mlp));
  }
}

export interface GemmaDecoderOptions {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly tieWordEmbeddings: boolean;
  /** The row of the embedding that is not trained by looking it up; null: none. */
  readonly paddingIdx: number | null;
  /** Scores are q k^T / sqrt(queryPreAttnScalar). */
  readonly queryPreAttnScalar: number;
  /** Soft caps of scores and of logits, 0 for none. */
  readonly attentionSoftcap: number;
  readonly logitSoftcap: number;
  /** Norms of queries and keys over the features of a head. */
  readonly headNorms: boolean;
  /** What differs from layer to layer. `window` 0: the layer sees everything before it. */
  readonly layers: readonly { readonly window: number; readonly rotary: RotaryTables }[];
  /** All tables of rotary embeddings, disposed with the model. */
  readonly tables: readonly RotaryTables[];
  readonly dtype: DType;
  readonly outputHead?: boolean | undefined;
}

/** The decoder of Gemma 2 and 3, with the names of their checkpoints. */
export function gemmaDecoder(engine: Engine, options: GemmaDecoderOptions): DecoderWithHead {
  const { vocabSize, hiddenSize, rmsNormEps, dtype, paddingIdx } = options;
  const norm = () => new RMSNorm(engine, hiddenSize, rmsNormEps, dtype, 1);
  const headNorm = (features: number) => new RMSNorm(engine, features, rmsNormEps, dtype, 1);
  const layers = options.layers.map(
    ({ window, rotary }, i) =>
      new SandwichLayer(
        new SelfAttention(engine, i, {
          ...options,
          numHeads: options.numAttentionHeads,
          qkvBias: options.attentionBias,
          outputBias: options.attentionBias,
          scale: options.queryPreAttnScalar ** -0.5,
          softcap: options.attentionSoftcap,
          window,
          rotary,
          headNorm: options.headNorms ? headNorm : undefined,
        }),
        new GatedMlp(engine, { ...options, bias: false, activation: 'gelu_pytorch_tanh' }),
        norm,
      ),
  );
  const scale = embeddingScale(hiddenSize, dtype);
  const embedding = new Embedding(engine, vocabSize, hiddenSize, { dtype, scale, paddingIdx });
  const body = new Decoder({ embedding, layers, norm: norm() });
  return new DecoderWithHead(engine, body, { ...options, owned: options.tables });
}
