import { AttuneError, AutoTokenizer } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { definePeftMethod } from '../contract/definePeftMethod.js';
import { type VirtualTokenConfig, virtualTokenOptions } from '../contract/virtualTokenConfig.js';

const own = {
  /**
   * What the virtual tokens start as: normal numbers (`RANDOM`), embeddings of tokens drawn from
   * the vocabulary, or those of a text, which the model can read from the first step on: await
   * `model.ready()`. Default "RANDOM".
   */
  promptTuningInit: z.enum(['RANDOM', 'SAMPLE_VOCAB', 'TEXT']).default('RANDOM'),
  /**
   * The text. Its tokens are repeated, or cut off, to numVirtualTokens. Only with promptTuningInit
   * "TEXT". Default none.
   */
  promptTuningInitText: z.string().nullable().default(null),
  /**
   * A folder or a Hub id: its tokenizer reads the text. Only with promptTuningInit "TEXT". Default
   * none.
   */
  tokenizerNameOrPath: z.string().nullable().default(null),
  /** Only `revision`, of a Hub id. Default none. */
  tokenizerKwargs: z.strictObject({ revision: z.string().optional() }).nullable().default(null),
};

const config = virtualTokenOptions.extend(own);

/** What a user may write for prompt tuning. Names and defaults are PEFT's. */
export interface PromptTuningConfig extends VirtualTokenConfig, OptionsInput<typeof own> {
  /** Prompt tuning: learned embeddings before those of the tokens. */
  readonly peftType: 'PROMPT_TUNING';
}

type Options = z.output<typeof config>;

/** @throws PEFT_CONFIG_INVALID as PEFT does */
function checkText(options: Options): void {
  const isText = options.promptTuningInit === 'TEXT';
  for (const name of ['promptTuningInitText', 'tokenizerNameOrPath'] as const)
    if (isText && !options[name])
      throw new AttuneError(
        'PEFT_CONFIG_INVALID',
        `promptTuningInit is "TEXT", but ${name} is ${JSON.stringify(options[name])}.`,
        { remedy: 'Give promptTuningInitText and tokenizerNameOrPath, or start "RANDOM".' },
      );
  if (!isText && options.tokenizerKwargs && Object.keys(options.tokenizerKwargs).length > 0)
    throw new AttuneError(
      'PEFT_CONFIG_INVALID',
      `tokenizerKwargs are given, but promptTuningInit is "${options.promptTuningInit}".`,
      { remedy: 'They are for promptTuningInit: "TEXT".' },
    );
}

/**
 * Token ids of the text, repeated and cut to the virtual tokens.
 *
 * @throws PEFT_CONFIG_INVALID for a text without tokens
 */
async function textTokens(options: Options): Promise<{ embedding: readonly number[] }> {
  const { promptTuningInitText: text, tokenizerNameOrPath, tokenizerKwargs } = options;
  const { revision } = tokenizerKwargs ?? {};
  const tokenizer = await AutoTokenizer.fromPretrained(tokenizerNameOrPath!, {
    ...(revision !== undefined && { revision }),
  });
  const ids = tokenizer.encode(text!);
  if (ids.length === 0)
    throw new AttuneError(
      'PEFT_CONFIG_INVALID',
      `promptTuningInitText ${JSON.stringify(text)} has no tokens.`,
      { remedy: 'Give a text, or start "RANDOM".' },
    );
  const { numVirtualTokens: length } = options;
  return { embedding: Array.from({ length }, (_, i) => ids[i % ids.length]!) };
}

/**
 * Prompt tuning: V learned embeddings P [V, hidden] stand before the embeddings of every row, [P;
 * E(x)], and the model stays as it is. Step 0 is not the base: the virtual tokens are there from
 * the start.
 *
 * @see arXiv:2104.08691 (Lester et al.), section 2
 */
export const promptTuning = definePeftMethod({
  peftType: 'PROMPT_TUNING',
  config,
  resolve: (options) => {
    checkText(options);
    return options;
  },
  prompt: {
    gives: 'embeddings',
    params: ({ numVirtualTokens: count, promptTuningInit }, { hiddenSize, vocabSize }) => ({
      embedding: {
        shape: [count, hiddenSize],
        init:
          promptTuningInit === 'SAMPLE_VOCAB'
            ? {
                tokens: (uniform) =>
                  Array.from({ length: count }, () => Math.floor(uniform() * vocabSize)),
              }
            : { normal: 1 },
        key: 'embedding.weight',
      },
    }),
    start: (options) => (options.promptTuningInit === 'TEXT' ? textTokens(options) : null),
  },
  // How the virtual tokens began does not matter any more, whatever read the text.
  fromFile: ({ tokenizerKwargs: _, ...fields }) => fields,
});
