import { z } from 'zod';
import type { DType } from '../../backend/dtype.js';
import { type AttentionContext, type AttentionLike, attendCached } from '../../nn/attention.js';
import { Conv1D } from '../../nn/conv1d.js';
import {
  type Checkpointing,
  type DecoderBody,
  type DecoderInput,
  type DecoderLayerLike,
  DecoderWithHead,
  type EmbeddingLike,
  embedded,
  ModuleList,
  runLayers,
} from '../../nn/decoder.js';
import { Embedding } from '../../nn/embedding.js';
import type { LinearLike } from '../../nn/linear.js';
import type { MlpLike } from '../../nn/mlp.js';
import { Module } from '../../nn/module.js';
import { LayerNorm, type NormLike } from '../../nn/norm.js';
import type { Engine } from '../../tensor/engine.js';
import { dropout } from '../../tensor/ops/dropout.js';
import type { Tensor } from '../../tensor/tensor.js';
import { headSizes } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';

interface Gpt2Sizes {
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly numHeads: number;
  readonly eps: number;
  readonly activation: Activation;
  /** Dropout of what a block adds to the residual stream, while training. */
  readonly residualDropout: number;
  /** Dropout of the softmax's weights, while training. */
  readonly attentionDropout: number;
  readonly dtype: DType;
}

const activations = {
  gelu_new: (x: Tensor) => x.gelu('tanh'),
  gelu_pytorch_tanh: (x: Tensor) => x.gelu('tanh'),
  gelu: (x: Tensor) => x.gelu('none'),
  relu: (x: Tensor) => x.relu(),
  silu: (x: Tensor) => x.silu(),
};

type Activation = keyof typeof activations;

/** Self-attention: c_attn makes queries, keys and values, c_proj the output. */
class Gpt2Attention extends Module implements AttentionLike {
  constructor(
    engine: Engine,
    readonly layer: number,
    readonly sizes: Gpt2Sizes,
    readonly scale: number,
  ) {
    super();
    const { hiddenSize, dtype } = sizes;
    const conv = (outFeatures: number) =>
      new Conv1D(engine, { inFeatures: hiddenSize, outFeatures, dtype });
    this.addChild('c_attn', conv(3 * hiddenSize));
    this.addChild('c_proj', conv(hiddenSize));
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    return x.engine.scope('attention', () => {
      const { hiddenSize, numHeads } = this.sizes;
      const [batch, length] = x.shape as [number, number, number];
      const all = this.child<LinearLike>('c_attn')
        .forward(x)
        .reshape(batch, length, 3 * numHeads, hiddenSize / numHeads);
      const part = (i: number) => all.slice(2, i * numHeads, (i + 1) * numHeads); // [B, T, H, Dh]
      const qkv = [part(0), part(1), part(2)] as const;
      const out = attendCached(this.layer, qkv, context, {
        scale: this.scale,
        dropout: this.training ? this.sizes.attentionDropout : 0,
      });
      return this.child<LinearLike>('c_proj').forward(out);
    });
  }
}

/** c_proj(gelu(c_fc(x))) */
class Gpt2Mlp extends Module implements MlpLike {
  readonly #activation: Activation;

  constructor(engine: Engine, { hiddenSize, innerSize, activation, dtype }: Gpt2Sizes) {
    super();
    this.#activation = activation;
    const conv = (inFeatures: number, outFeatures: number) =>
      new Conv1D(engine, { inFeatures, outFeatures, dtype });
    this.addChild('c_fc', conv(hiddenSize, innerSize));
    this.addChild('c_proj', conv(innerSize, hiddenSize));
  }

  forward(x: Tensor): Tensor {
    return x.engine.scope('mlp', () => {
      const wide = activations[this.#activation](this.child<LinearLike>('c_fc').forward(x));
      return this.child<LinearLike>('c_proj').forward(wide);
    });
  }
}

/** x + attn(ln_1(x)), then + mlp(ln_2(.)). */
class Gpt2Block extends Module implements DecoderLayerLike {
  constructor(
    engine: Engine,
    layer: number,
    readonly sizes: Gpt2Sizes,
    scale: number,
  ) {
    super();
    const norm = () => new LayerNorm(engine, sizes.hiddenSize, sizes.eps, sizes.dtype);
    this.addChild('ln_1', norm());
    this.addChild('attn', new Gpt2Attention(engine, layer, sizes, scale));
    this.addChild('ln_2', norm());
    this.addChild('mlp', new Gpt2Mlp(engine, sizes));
  }

  forward(x: Tensor, context: AttentionContext): Tensor {
    const norm = (name: string) => this.child<NormLike>(name);
    const attention = this.child<AttentionLike>('attn');
    const attended = x.add(this.#drop(attention.forward(norm('ln_1').forward(x), context)));
    const mlp = this.child<MlpLike>('mlp').forward(norm('ln_2').forward(attended));
    return attended.add(this.#drop(mlp));
  }

  #drop(x: Tensor): Tensor {
    return this.training ? dropout(x, this.sizes.residualDropout) : x;
  }
}

/**
 * Embeddings of tokens and positions, blocks, final norm: `transformer` in the checkpoint's names.
 */
class Gpt2Body extends Module implements DecoderBody {
  gradientCheckpointing: Checkpointing = false;

  constructor(
    parts: { wte: EmbeddingLike; wpe: EmbeddingLike; blocks: Gpt2Block[]; norm: NormLike },
    readonly embeddingDropout: number,
  ) {
    super();
    this.addChild('wte', parts.wte);
    this.addChild('wpe', parts.wpe);
    this.addChild('h', new ModuleList(parts.blocks));
    this.addChild('ln_f', parts.norm);
  }

  get embedding(): EmbeddingLike {
    return this.child<EmbeddingLike>('wte');
  }

  forward(input: DecoderInput): Tensor {
    const places = this.child<EmbeddingLike>('wpe').forward(input.positions);
    const sum = embedded(this.embedding, input).add(places); // [B, T, hidden]
    const x = this.training ? dropout(sum, this.embeddingDropout) : sum;
    const blocks = this.child<ModuleList<Gpt2Block>>('h');
    const hidden = runLayers(blocks, x, input, this.gradientCheckpointing);
    return this.child<NormLike>('ln_f').forward(hidden);
  }
}

const size = z.int().positive();
const dropoutKey = z.number().min(0).lt(1).default(0.1);

/**
 * GPT-2. Its linear layers are Conv1D: weights [in, out]. While training it has dropout, 0.1 unless
 * the config says otherwise (`resid_pdrop`, `embd_pdrop`, `attn_pdrop`); that of attention's
 * weights costs a [B, H, T, T] buffer a layer.
 *
 * @see Radford et al. (2019); transformers models/gpt2/modeling_gpt2.py
 */
export const gpt2: ModelFamily = defineModelFamily({
  modelType: 'gpt2',
  config: z.object({
    vocab_size: size,
    n_positions: size.default(1024),
    n_embd: size,
    n_layer: size,
    n_head: size,
    /** Default: 4 n_embd. */
    n_inner: size.nullish(),
    activation_function: z
      .enum(Object.keys(activations) as [Activation, ...Activation[]])
      .default('gelu_new'),
    layer_norm_epsilon: z.number().positive().default(1e-5),
    resid_pdrop: dropoutKey,
    embd_pdrop: dropoutKey,
    attn_pdrop: dropoutKey,
    scale_attn_weights: z.boolean().default(true),
    scale_attn_by_inverse_layer_idx: z.boolean().default(false),
    add_cross_attention: z.literal(false).default(false),
    tie_word_embeddings: z.boolean().default(true),
  }),
  facts: (config) => ({
    hiddenSize: config.n_embd,
    numHiddenLayers: config.n_layer,
    numAttentionHeads: config.n_head,
    maxPositionEmbeddings: config.n_positions,
  }),
  build: (engine, config, { dtype, outputHead }) => {
    const { n_embd: hiddenSize, n_head: numHeads, vocab_size: vocabSize } = config;
    const { headDim } = headSizes({ hidden_size: hiddenSize, num_attention_heads: numHeads });
    const sizes: Gpt2Sizes = {
      hiddenSize,
      innerSize: config.n_inner ?? 4 * hiddenSize,
      numHeads,
      eps: config.layer_norm_epsilon,
      activation: config.activation_function,
      residualDropout: config.resid_pdrop,
      attentionDropout: config.attn_pdrop,
      dtype,
    };
    const block = (i: number) => {
      const divisor = config.scale_attn_by_inverse_layer_idx ? i + 1 : 1;
      const scale = (config.scale_attn_weights ? 1 / Math.sqrt(headDim) : 1) / divisor;
      return new Gpt2Block(engine, i, sizes, scale);
    };
    const body = new Gpt2Body(
      {
        wte: new Embedding(engine, vocabSize, hiddenSize, { dtype }),
        wpe: new Embedding(engine, config.n_positions, hiddenSize, { dtype }),
        blocks: Array.from({ length: config.n_layer }, (_, i) => block(i)),
        norm: new LayerNorm(engine, hiddenSize, config.layer_norm_epsilon, dtype),
      },
      config.embd_pdrop,
    );
    return new DecoderWithHead(engine, body, {
      bodyName: 'transformer',
      hiddenSize,
      vocabSize,
      tieWordEmbeddings: config.tie_word_embeddings,
      dtype,
      outputHead,
    });
  },
  // The first checkpoints hold the causal mask and its fill value.
  ignoredWeights: [/\.attn\.(masked_)?bias$/],
});
