import { longestInput } from '@attune/core/models';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage, type StageContext } from '../contract/dataStage.js';
import { AnswerLosses } from '../models/answerLosses.js';
import {
  choiceFingerprint,
  loadModel,
  modelChoice,
  tokenizerChoice,
  tokenizerFingerprint,
} from '../models/modelChoice.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { type AnswerTokens, answerTokens, encoderWithoutEos, hasAnswer } from './answerTokens.js';
import { fillPrompt, IFD_PROMPTS, type IfdPrompts } from './ifdPrompts.js';
import { instructionOf } from './instructionOf.js';
import { ScoreFacts, type ScoreSummary } from './scoreFacts.js';
import { windows } from './windows.js';

const ifdShape = {
  /** The model whose losses are compared: loaded, or its folder or Hub id. */
  model: modelChoice,
  /** Default: the one in the folder of the model. */
  tokenizer: tokenizerChoice.optional(),
  /**
   * 'cherry': c / d of the mean losses c behind the prompt, d behind "### Response:", with Alpaca's
   * prompt (Li et al. 2023, https://arxiv.org/abs/2308.12032). 'superfiltering': exp(c - d), the
   * ratio of perplexities, with the bare instruction and the bare answer (Li et al. 2024,
   * https://arxiv.org/abs/2402.00530). Default 'cherry'.
   */
  variant: z.enum(['cherry', 'superfiltering']).default('cherry'),
  /** Tokens of a prompt with its answer; an answer is cut off beyond. Default 512. */
  maxLength: z.int().min(2).default(512).meta({ aka: 'maxseqlength' }),
  /** Texts of a forward pass; a row has two. Default 16. */
  batchSize: z.int().min(1).default(16),
  /**
   * What the answer follows, with `{instruction}` and `{input}` in it; without `{input}` the input
   * is a line behind the instruction. Default: the prompt of the variant.
   */
  prompt: z
    .string()
    .refine(
      (prompt) => prompt.includes('{instruction}'),
      'expected a text with {instruction} in it',
    )
    .optional()
    .meta({ aka: 'prompttemplate template' }),
  /** What the answer follows in the direct pass. Default: '### Response:', '' (superfiltering). */
  directPrompt: z.string().optional(),
  /** Also give both losses, as `ifd_conditioned` and `ifd_direct`. Default false. */
  withLosses: z.boolean().default(false).meta({ aka: 'losses' }),
};
const ifdOptions = z.strictObject(ifdShape);

/** Options of {@link scoreIfd}. */
export type ScoreIfdOptions = OptionsInput<typeof ifdShape>;

/** What the report of `scoreIfd` has beside its counts. */
export type IfdReport = {
  readonly ifd: ScoreSummary & {
    readonly variant: 'cherry' | 'superfiltering';
    readonly prompts: Readonly<Record<keyof IfdPrompts, string>>;
    readonly model: string;
    readonly maxLength: number;
    /** Rows whose answer did not fit into `maxLength`. */
    readonly cutAnswers: number;
    /** Rows whose instruction makes the answer less likely. */
    readonly aboveOne: number;
  };
};

/** Batches whose rows wait together, so that their lengths can be sorted. */
const WINDOW = 32;

/** Adds to each row how little its instruction helps with its answer. See {@link scoreIfd}. */
export const scoreIfdStage = defineDataStage({
  name: 'scoreIfd',
  options: ifdOptions,
  isCostly: true,
  fingerprint: async ({ model, tokenizer }) => ({
    model: await choiceFingerprint(model),
    tokenizer: tokenizerFingerprint(tokenizer),
  }),
  async *run(rows, options, context) {
    const { model, tokenizer } = await loadModel(options, context.attune, 'scoreIfd');
    const { batchSize, variant, withLosses } = options;
    const prompts = promptsOf(options);
    const maxLength = Math.min(options.maxLength, longestInput(model));
    const encode = encoderWithoutEos(tokenizer);
    const { cache, signal } = context;
    const losses = await AnswerLosses.of({ model, batchSize, cache, signal });
    const facts = new ScoreFacts(0, 2);
    let numCut = 0;
    let numAbove = 0;
    for await (const window of windows(rows, WINDOW * batchSize)) {
      const asked = window.flatMap((item) => {
        const tokens = tokensOf(item, { prompts, encode, maxLength }, context);
        return tokens ? [{ item, tokens }] : [];
      });
      const means = await losses.means(
        asked.flatMap(({ tokens }) => [tokens.conditioned, tokens.direct]),
      );
      for (const [i, { item, tokens }] of asked.entries()) {
        const conditioned = means[2 * i]!;
        const direct = means[2 * i + 1]!;
        const ifd = variant === 'cherry' ? conditioned / direct : Math.exp(conditioned - direct);
        if (!Number.isFinite(ifd)) {
          context.drop(item, 'score not finite', `losses ${conditioned} and ${direct}`);
          continue;
        }
        if (tokens.isCut) numCut++;
        if (ifd > 1) numAbove++;
        facts.add(ifd);
        const columns = withLosses && { ifd_conditioned: conditioned, ifd_direct: direct };
        yield { ...item, row: { ...item.row, ifd, ...columns } };
      }
    }
    const report: IfdReport['ifd'] = {
      variant,
      prompts: { ...prompts },
      model: model.nameOrPath,
      maxLength,
      cutAnswers: numCut,
      aboveOne: numAbove,
      ...facts.summary(),
    };
    context.fact('ifd', report);
  },
});

/**
 * Adds `ifd`, the instruction-following difficulty of a row: the mean loss of its answer behind its
 * instruction, over that of the answer alone. Near 0 the instruction says it all; near 1 it helps
 * little, so that there is much to learn from the row; above 1 it misleads: the two do not belong
 * together. `keepTop({ by: 'ifd', ratio, max: 1 })` keeps the hardest of the others.
 *
 * Only tokens of the answer count, the same ones in both passes: no EOS; a BOS where the tokenizer
 * adds one. An answer that does not fit is cut off, in both passes at the same token. In a
 * conversation the answer is its last assistant turn, and the instruction all before it.
 *
 * Rows are dropped as 'no instruction', 'no answer', 'prompt too long' (no token of the answer has
 * room), 'answer too short' (none can be scored) and 'score not finite'. Losses are kept in the
 * cache of the stage by model and text.
 *
 * @example
 * const { rows } = await scoreIfd(data, { model, tokenizer, maxLength: 512 });
 * @throws DATA_MODEL, and what loading a model throws
 */
export const scoreIfd = stageFunction<ScoreIfdOptions, IfdReport>(scoreIfdStage);

function promptsOf({
  variant,
  prompt,
  directPrompt,
}: Pick<z.output<typeof ifdOptions>, 'variant' | 'prompt' | 'directPrompt'>): IfdPrompts {
  const prompts = IFD_PROMPTS[variant];
  return {
    withInput: prompt ?? prompts.withInput,
    withoutInput: prompt ?? prompts.withoutInput,
    direct: directPrompt ?? prompts.direct,
  };
}

interface Tokenising {
  readonly prompts: IfdPrompts;
  readonly encode: (text: string) => readonly number[];
  readonly maxLength: number;
}

/** Null: the row is dropped. */
function tokensOf(
  item: DataRow,
  { prompts, encode, maxLength }: Tokenising,
  context: StageContext,
): AnswerTokens | null {
  const asked = instructionOf(item.row);
  const drop = (reason: string, detail?: string) => {
    context.drop(item, reason, detail);
    return null;
  };
  if (asked.instruction.trim() === '') return drop('no instruction');
  if (asked.answer.trim() === '') return drop('no answer');
  const texts = { prompt: fillPrompt(prompts, asked), direct: prompts.direct };
  const tokens = answerTokens(encode, { ...texts, answer: asked.answer }, maxLength);
  if ('promptTokens' in tokens)
    return drop('prompt too long', `${tokens.promptTokens} tokens of ${maxLength}`);
  return hasAnswer(tokens) ? tokens : drop('answer too short');
}
