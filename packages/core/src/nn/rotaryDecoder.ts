import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { SelfAttention } from './attention.js';
import { Decoder, DecoderLayer, DecoderWithHead } from './decoder.js';
import { Embedding } from './embedding.js';
import { GatedMlp } from './mlp.js';
import { RMSNorm } from './norm.js';
import { type RopeScaling, RotaryTables } from './rotary.js';

/** The sizes of a pre-norm decoder with rotary positions and a gated feed-forward block. */
export interface DecoderOptions {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling;
  /** Positions that the tables of rotary embeddings have. */
  readonly maxPositionEmbeddings: number;
  readonly qkvBias: boolean;
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** The output layer reads the embedding's weight; the model then has no `lm_head`. */
  readonly tieWordEmbeddings: boolean;
  /** The row of the embedding that is not trained by looking it up. Default null: none. */
  readonly paddingIdx?: number | null;
  /** Storage of every weight. */
  readonly dtype: DType;
  /** Sliding window of each layer, 0 for none. Default: no layer has one. */
  readonly windows?: readonly number[] | undefined;
  /** Whether the queries and keys of each layer turn. Default: all do. */
  readonly rotaryLayers?: readonly boolean[] | undefined;
  /** Norms of queries and keys over the features of a head: q_norm, k_norm. Default false. */
  readonly headNorms?: boolean | undefined;
  /** false: no `lm_head` is made. Default true. */
  readonly outputHead?: boolean | undefined;
}

/**
 * The decoder of Llama and its relatives, named as in their checkpoints: `model.embed_tokens`,
 * `model.layers.N.self_attn.q_proj`, ..., `model.norm`, and `lm_head` unless it is tied.
 */
export class RotaryDecoder extends DecoderWithHead {
  constructor(engine: Engine, options: DecoderOptions) {
    const { vocabSize, hiddenSize, rmsNormEps, dtype, windows, rotaryLayers, paddingIdx } = options;
    const rotary = new RotaryTables(engine, {
      headDim: options.headDim,
      theta: options.ropeTheta,
      scaling: options.ropeScaling,
      maxPositions: options.maxPositionEmbeddings,
    });
    const norm = () => new RMSNorm(engine, hiddenSize, rmsNormEps, dtype);
    const headNorm = (features: number) => new RMSNorm(engine, features, rmsNormEps, dtype);
    const layer = (i: number) =>
      new DecoderLayer({
        attention: new SelfAttention(engine, i, {
          ...options,
          numHeads: options.numAttentionHeads,
          rotary: rotaryLayers?.[i] === false ? null : rotary,
          window: windows?.[i] ?? 0,
          headNorm: options.headNorms ? headNorm : undefined,
        }),
        mlp: new GatedMlp(engine, { ...options, bias: options.mlpBias }),
        norm,
      });
    const body = new Decoder({
      embedding: new Embedding(engine, vocabSize, hiddenSize, { dtype, paddingIdx }),
      layers: Array.from({ length: options.numHiddenLayers }, (_, i) => layer(i)),
      norm: norm(),
    });
    super(engine, body, { ...options, owned: [rotary] });
  }
}
