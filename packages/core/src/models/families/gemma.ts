import { SelfAttention } from '../../nn/attention.js';
import { Decoder, DecoderLayer, DecoderWithHead } from '../../nn/decoder.js';
import { Embedding } from '../../nn/embedding.js';
import { GatedMlp } from '../../nn/mlp.js';
import { RMSNorm } from '../../nn/norm.js';
import { RotaryTables } from '../../nn/rotary.js';
import { headSizes, paddingIndex, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { embeddingScale, gemmaActivation, gemmaConfig } from './gemmaConfig.js';
import { longestSequence, rotaryFromConfig, rotaryKeys } from './rotaryConfig.js';

/**
 * Gemma 1: Llama with a GELU gate, embeddings times sqrt(hidden), and norms that multiply by 1 +
 * weight.
 *
 * @see arXiv:2403.08295; transformers models/gemma/modeling_gemma.py
 */
export const gemma: ModelFamily = defineModelFamily({
  modelType: 'gemma',
  config: gemmaConfig.extend({
    ...rotaryKeys,
    hidden_act: gemmaActivation,
    hidden_activation: gemmaActivation,
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, { dtype, outputHead }) => {
    const { hidden_size: hiddenSize, intermediate_size: intermediateSize } = config;
    const { numAttentionHeads: numHeads, ...heads } = headSizes(config);
    const { theta, scaling } = rotaryFromConfig(config);
    const rotary = new RotaryTables(engine, {
      headDim: heads.headDim,
      theta,
      scaling,
      maxPositions: longestSequence(scaling, config),
    });
    const norm = () => new RMSNorm(engine, hiddenSize, config.rms_norm_eps, dtype, 1);
    const layer = (i: number) =>
      new DecoderLayer({
        attention: new SelfAttention(engine, i, {
          hiddenSize,
          numHeads,
          ...heads,
          qkvBias: config.attention_bias,
          outputBias: config.attention_bias,
          rotary,
          dtype,
        }),
        mlp: new GatedMlp(engine, {
          hiddenSize,
          intermediateSize,
          bias: false,
          activation: config.hidden_act,
          dtype,
        }),
        norm,
      });
    const scale = embeddingScale(hiddenSize, dtype);
    const body = new Decoder({
      embedding: new Embedding(engine, config.vocab_size, hiddenSize, {
        dtype,
        scale,
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
