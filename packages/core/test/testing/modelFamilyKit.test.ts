import {
  type DType,
  decoderConfig,
  decoderOptions,
  defineModelFamily,
  type Engine,
  RotaryDecoder,
} from '@attune/core';
import type { ModelFamily } from '@attune/core/models';
import { Module } from '@attune/core/nn';
import { modelFamilyKit } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { gemma } from '../../src/models/families/gemma.js';
import { gemma2 } from '../../src/models/families/gemma2.js';
import { gemma3 } from '../../src/models/families/gemma3.js';
import { gpt2 } from '../../src/models/families/gpt2.js';
import { llama } from '../../src/models/families/llama.js';
import { mistral } from '../../src/models/families/mistral.js';
import { phi3 } from '../../src/models/families/phi3.js';
import { qwen2 } from '../../src/models/families/qwen2.js';
import { qwen3 } from '../../src/models/families/qwen3.js';
import { smollm3 } from '../../src/models/families/smollm3.js';

class Spare extends Module {
  constructor(engine: Engine, dtype: DType) {
    super();
    this.addParameter('weight', engine.zeros([2], dtype));
  }
}

const sizes = {
  vocab_size: 13,
  hidden_size: 8,
  intermediate_size: 10,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
};

type Config = Readonly<Record<string, unknown>>;
const runs: readonly (readonly [ModelFamily, Config, Config[]?])[] = [
  [llama, sizes, [{ hidden_act: 'relu' }, { num_key_value_heads: 3 }]],
  [llama, { ...sizes, attention_bias: true, mlp_bias: true, tie_word_embeddings: true }],
  [mistral, { ...sizes, sliding_window: 3 }],
  [smollm3, { ...sizes, num_hidden_layers: 2, no_rope_layers: [1, 0] }],
  [qwen2, sizes, [{ hidden_act: 'relu' }]],
  [qwen3, { ...sizes, head_dim: 4 }],
  [gemma, { ...sizes, head_dim: 4 }],
  [
    gemma2,
    { ...sizes, head_dim: 4, num_hidden_layers: 2, sliding_window: 3, query_pre_attn_scalar: 4 },
  ],
  [
    gemma3,
    {
      ...sizes,
      head_dim: 4,
      num_hidden_layers: 2,
      sliding_window: 3,
      sliding_window_pattern: 2,
      query_pre_attn_scalar: 4,
    },
  ],
  [phi3, { ...sizes, num_attention_heads: 2 }],
  [gpt2, { vocab_size: 13, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 32, n_inner: 10 }],
];
for (const [family, config, refused = []] of runs)
  describe(JSON.stringify(config), () => {
    for (const { name, run } of modelFamilyKit(family, { config, refused })) test(name, run);
  });

type Input = Parameters<RotaryDecoder['hiddenStates']>[0];

/** A Llama with one mistake or none. */
const own = (
  change: (input: Input) => Input = (input) => input,
  grown?: (decoder: RotaryDecoder, engine: Engine, dtype: DType) => void,
  config = decoderConfig,
): ModelFamily =>
  defineModelFamily({
    modelType: 'own',
    config,
    build: (engine, read, { dtype }) => {
      class Own extends RotaryDecoder {
        override hiddenStates(input: Input) {
          return super.hiddenStates(change(input));
        }
      }
      const choices = {
        tieWordEmbeddings: false,
        qkvBias: false,
        outputBias: false,
        mlpBias: false,
      };
      const decoder = new Own(engine, decoderOptions(read, { dtype, ...choices }));
      grown?.(decoder, engine, dtype);
      return decoder;
    },
  });

describe('the kit', () => {
  /** What the first check that fails says. */
  const failure = async (family: ModelFamily) => {
    for (const { run } of modelFamilyKit(family, { config: sizes }))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };

  test('passes a sound family', async () => {
    expect(await failure(own())).toBe('');
  });

  test.each<[string, ModelFamily, RegExp]>([
    [
      'positions that are not looked at',
      own((input) => ({
        ...input,
        positions: input.positions.engine.zeros(input.positions.shape, 'int32'),
      })),
      /the order of the tokens changes nothing|token by token/,
    ],
    [
      'segments that are not looked at',
      own((input) => ({ ...input, segments: null })),
      /padded on the left: logits differ/,
    ],
    [
      'a cache that is not used',
      own((input) => ({ ...input, cache: null })),
      /layers {2}keep keys|tokens, then one by one/,
    ],
    [
      'a parameter without use',
      own(undefined, (decoder, engine, dtype) => {
        decoder.attach('spare', new Spare(engine, dtype));
      }),
      /spare.weight gets no gradient/,
    ],
    [
      'a tensor that nobody owns',
      own(undefined, (_, engine) => {
        engine.keep(engine.zeros([5]));
      }),
      /20 bytes are left/,
    ],
    [
      'a size that is not checked',
      own(undefined, undefined, decoderConfig.extend({ rms_norm_eps: z.any() }) as never),
      /"rms_norm_eps": "a lot" is (taken|refused without its name)/,
    ],
  ])('finds %s', async (_, family, message) => {
    expect(await failure(family)).toMatch(message);
  });
});
