import { z } from 'zod';
import type { DType } from '../../backend/dtype.js';
import { type AttentionContext, type AttentionLike, attendCached } from '../../nn/attention.js';
import { Decoder, DecoderLayer, DecoderWithHead } from '../../nn/decoder.js';
import { Embedding } from '../../nn/embedding.js';
import { Linear, type LinearLike } from '../../nn/linear.js';
import { gated, type MlpLike } from '../../nn/mlp.js';
import { Module } from '../../nn/module.js';
import { RMSNorm } from '../../nn/norm.js';
import { RotaryTables } from '../../nn/rotary.js';
import type { Engine } from '../../tensor/engine.js';
import { ropePair } from '../../tensor/ops/rope.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AttuneError } from '../../util/errors.js';
import { decoderConfig, headSizes, paddingIndex, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { slidingWindowKey } from './layerTypes.js';
import { longestSequence, rotaryFromConfig } from './rotaryConfig.js';

interface FusedAttentionOptions {
  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  readonly window: number;
  readonly rotary: RotaryTables;
  readonly dtype: DType;
}

/** Self-attention whose queries, keys and values come from one product, qkv_proj. */
class FusedSelfAttention extends Module implements AttentionLike {
  constructor(
    engine: Engine,
    readonly layer: number,
    readonly options: FusedAttentionOptions,
  ) {
    super();
    const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, dtype } = options;
    const width = numAttentionHeads * headDim;
    const outFeatures = width + 2 * numKeyValueHeads * headDim;
    this.addChild(
      'o_proj',
      new Linear(engine, { inFeatures: width, outFeatures: hiddenSize, dtype }),
    );
    this.addChild('qkv_proj', new Linear(engine, { inFeatures: hiddenSize, outFeatures, dtype }));
  }

  get window(): number {
    return this.options.window;
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    return x.engine.scope('attention', () => this.#attend(x, context));
  }

  #attend(x: Tensor, context: AttentionContext): Tensor {
    const { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim, rotary } = this.options;
    const [batch, length] = x.shape as [number, number, number];
    const all = this.child<LinearLike>('qkv_proj')
      .forward(x)
      .reshape(batch, length, heads + 2 * kvHeads, headDim);
    const [q, k] = ropePair(
      all.slice(2, 0, heads), // [B, T, H, Dh]
      all.slice(2, heads, heads + kvHeads), // [B, T, Hkv, Dh]
      rotary.at(context.length),
      context.positions,
    );
    const v = all.slice(2, heads + kvHeads, heads + 2 * kvHeads);
    const out = attendCached(this.layer, [q, k, v], context, this.options);
    return this.child<LinearLike>('o_proj').forward(out);
  }
}

/** down_proj(silu(gate) * up), gate and up being the halves of one product, gate_up_proj. */
class FusedMlp extends Module implements MlpLike {
  constructor(
    engine: Engine,
    readonly intermediateSize: number,
    hiddenSize: number,
    dtype: DType,
  ) {
    super();
    const linear = (inFeatures: number, outFeatures: number) =>
      new Linear(engine, { inFeatures, outFeatures, dtype });
    this.addChild('gate_up_proj', linear(hiddenSize, 2 * intermediateSize));
    this.addChild('down_proj', linear(intermediateSize, hiddenSize));
  }

  forward(x: Tensor): Tensor {
    return x.engine.scope('mlp', () => {
      const both = this.child<LinearLike>('gate_up_proj').forward(x);
      const gate = both.slice(2, 0, this.intermediateSize);
      const up = both.slice(2, this.intermediateSize, 2 * this.intermediateSize);
      return this.child<LinearLike>('down_proj').forward(gated(gate, up));
    });
  }
}

const noDropout = z.literal(0).nullish();

/**
 * Phi-3, Phi-3.5 and Phi-4 (mini): Llama with fused projections, a part of each head that turns,
 * and for long contexts other frequencies from `original_max_position_embeddings` tokens on: those
 * of the longest sequence of a batch are those of all.
 *
 * @see arXiv:2404.14219; transformers models/phi3/modeling_phi3.py
 */
export const phi3: ModelFamily = defineModelFamily({
  modelType: 'phi3',
  config: decoderConfig.extend({
    pad_token_id: z.int().nullish().default(32_000),
    rms_norm_eps: z.number().positive().default(1e-5),
    tie_word_embeddings: z.boolean().default(false),
    /** Counts before the one within the scaling. */
    original_max_position_embeddings: z.number().positive().default(4096),
    sliding_window: slidingWindowKey,
    /** Dropout of the residual stream; not implemented here, so only 0 is accepted. */
    resid_pdrop: noDropout,
    embd_pdrop: noDropout,
  }),
  facts: (config) => rotaryFacts(longRope(config), { partial: true }),
  build: (engine, raw, { dtype, outputHead }) => {
    const config = longRope(raw);
    const { hidden_size: hiddenSize, intermediate_size: intermediateSize } = config;
    const sizes = headSizes(config);
    const { theta, scaling, partialRotaryFactor } = rotaryFromConfig(config, { partial: true });
    const turned = Math.trunc(sizes.headDim * partialRotaryFactor);
    const rotary = new RotaryTables(engine, {
      headDim: turned,
      theta,
      scaling,
      maxPositions: longestSequence(scaling, config),
    });
    const norm = () => new RMSNorm(engine, hiddenSize, config.rms_norm_eps, dtype);
    const window = config.sliding_window ?? 0;
    const layer = (i: number) =>
      new DecoderLayer({
        attention: new FusedSelfAttention(engine, i, {
          ...sizes,
          hiddenSize,
          window,
          rotary,
          dtype,
        }),
        mlp: new FusedMlp(engine, intermediateSize, hiddenSize, dtype),
        norm,
      });
    const body = new Decoder({
      embedding: new Embedding(engine, config.vocab_size, hiddenSize, {
        dtype,
        paddingIdx: paddingIndex(config),
      }),
      layers: Array.from({ length: config.num_hidden_layers }, (_, i) => layer(i)),
      norm: norm(),
    });
    return new DecoderWithHead(engine, body, {
      hiddenSize,
      vocabSize: config.vocab_size,
      tieWordEmbeddings: config.tie_word_embeddings,
      dtype,
      outputHead,
      owned: [rotary],
    });
  },
  ignoredWeights: [/rotary_emb\.inv_freq$/],
});

type Keys = Parameters<typeof rotaryFromConfig>[0];

/**
 * The first files of Phi-3 call longrope "su", some "yarn".
 *
 * @throws ROPE_UNSUPPORTED for what Phi-3 has not
 */
function longRope<C extends Keys>(config: C): C {
  const old = config.rope_scaling && Object.keys(config.rope_scaling).length > 0;
  const key = old ? 'rope_scaling' : 'rope_parameters';
  const found = config[key];
  const type = found?.rope_type ?? found?.type ?? 'default';
  if (type === 'default' || type === 'longrope') return config;
  if (type === 'su' || type === 'yarn')
    return { ...config, [key]: { ...found, rope_type: 'longrope' } };
  throw new AttuneError(
    'ROPE_UNSUPPORTED',
    `config.json: ${key} asks for rotary embeddings of type ${JSON.stringify(type)}; phi3 has default and longrope.`,
    { remedy: 'Use the config.json that came with the checkpoint.' },
  );
}
