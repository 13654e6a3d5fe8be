import { longestInput } from '@attune/core/models';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { type DataStage, defineDataStage } from '../contract/dataStage.js';
import {
  choiceFingerprint,
  loadModel,
  modelChoice,
  tokenizerChoice,
  tokenizerFingerprint,
} from '../models/modelChoice.js';
import { NextLevels } from '../models/nextLevels.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { encoderWithoutEos } from './answerTokens.js';
import { exchangesOf, type Instruction, instructionOf } from './instructionOf.js';
import { ScoreFacts, type ScoreSummary } from './scoreFacts.js';
import { windows } from './windows.js';

const levelShape = {
  /** The model that judges: loaded, or its folder or Hub id. */
  model: modelChoice,
  /** Default: the one in the folder of the model. */
  tokenizer: tokenizerChoice.optional(),
  /**
   * What the model reads, with `{instruction}` and `{output}` in it; the token behind it is the
   * level. Default: the prompt of DEITA's scorers.
   */
  prompt: z
    .string()
    .refine(
      (prompt) => /\{(instruction|output)\}/.test(prompt),
      'expected a text with {instruction} or {output} in it',
    )
    .optional()
    .meta({ aka: 'prompttemplate template' }),
  /**
   * What of a conversation is judged. "last": its last answer, and all before it as the question;
   * one number. "each": every question of the user by itself, with the answer behind it, as DEITA
   * does; the column is a list then, and `selectDiverse` and `keepTop` take the sum over the turns.
   * Default "last".
   */
  turns: z.enum(['last', 'each']).default('last').meta({ aka: 'multiturn' }),
  /** Rows whose prompt has more tokens are dropped. Default 2048. */
  maxLength: z.int().min(1).default(2048).meta({ aka: 'maxseqlength' }),
  /** Prompts of a forward pass. Default 16. */
  batchSize: z.int().min(1).default(16),
};

/** Options of {@link scoreComplexity} and {@link scoreQuality}. */
export type ScoreLevelOptions = OptionsInput<typeof levelShape>;

/** What a report says of levels. */
type LevelFacts = ScoreSummary & {
  readonly prompt: string;
  /** What of a conversation was judged. */
  readonly turns: 'last' | 'each';
  readonly model: string;
  readonly maxLength: number;
};

/** What the report of `scoreComplexity` and of `scoreQuality` has beside its counts. */
export type LevelReport<Column extends string> = { readonly [Name in Column]: LevelFacts };

const COMPLEXITY =
  'You are a helpful assistant. Please identify the complexity score of the following user query. \n##Query: {instruction}  \n##Complexity: ';
const QUALITY =
  'You are a helpful assistant. Please identify the quality score of the Response corresponding to the Question. \n #Question#:\n{instruction}\n#Response#:\n{output} \n##Quality: ';

/** Batches whose rows wait together, so that their lengths can be sorted. */
const WINDOW = 32;

/** A stage that adds a column with the level that a model gives. */
const levelStage = (name: string, column: string, ownPrompt: string): DataStage =>
  defineDataStage({
    name,
    options: z.strictObject(levelShape),
    isCostly: true,
    fingerprint: async ({ model, tokenizer }) => ({
      model: await choiceFingerprint(model),
      tokenizer: tokenizerFingerprint(tokenizer),
    }),
    async *run(rows, options, context) {
      const { prompt = ownPrompt, batchSize, turns } = options;
      const { model, tokenizer } = await loadModel(options, context.attune, name);
      const maxLength = Math.min(options.maxLength, longestInput(model));
      const encode = encoderWithoutEos(tokenizer);
      const { cache, signal } = context;
      const levels = await NextLevels.of({ model, batchSize, cache, signal }, tokenizer);
      const facts = new ScoreFacts(1, 6);
      for await (const window of windows(rows, WINDOW * batchSize)) {
        const asked = window.flatMap((item) => {
          const drop = (reason: string, detail?: string) => {
            context.drop(item, reason, detail);
            return [];
          };
          const exchanges = turns === 'each' ? exchangesOf(item.row) : [instructionOf(item.row)];
          if (exchanges.some(({ instruction }) => instruction.trim() === ''))
            return drop('no instruction');
          const needsAnswer = prompt.includes('{output}');
          if (needsAnswer && exchanges.every(({ answer }) => answer.trim() === ''))
            return drop('no answer');
          const texts = exchanges.map((exchange) => encode(filled(prompt, exchange)));
          const most = Math.max(...texts.map(({ length }) => length));
          return most <= maxLength
            ? [{ item, texts }]
            : drop('prompt too long', `${most} tokens of ${maxLength}`);
        });
        const found = await levels.expected(asked.flatMap(({ texts }) => texts));
        let at = 0;
        for (const { item, texts } of asked) {
          const own = found.slice(at, at + texts.length);
          at += texts.length;
          if (!own.every(Number.isFinite)) {
            context.drop(item, 'score not finite');
            continue;
          }
          for (const level of own) facts.add(level);
          const value = turns === 'each' ? own : own[0]!;
          yield { ...item, row: { ...item.row, [column]: value } };
        }
      }
      const report: LevelFacts = {
        prompt,
        turns,
        model: model.nameOrPath,
        maxLength,
        ...facts.summary(),
      };
      context.fact(column, report);
    },
  });

const filled = (prompt: string, { instruction, input, answer }: Instruction): string =>
  prompt.replace(/\{(instruction|output)\}/g, (_all, part) =>
    part === 'output' ? answer : input === '' ? instruction : `${instruction}\n${input}`,
  );

/** Adds `complexity` to each row. See {@link scoreComplexity}. */
export const scoreComplexityStage = levelStage('scoreComplexity', 'complexity', COMPLEXITY);

/** Adds `quality` to each row. See {@link scoreQuality}. */
export const scoreQualityStage = levelStage('scoreQuality', 'quality', QUALITY);

/**
 * Adds `complexity`, from 1 to 6: how hard the instruction of a row is to a model that judges. It
 * is the expected value of the digit that the model would write behind the prompt, sum_i i p(i)
 * with the softmax over the logits of "1" to "6", as DEITA has it (Liu et al. 2024,
 * https://arxiv.org/abs/2312.15685). DEITA's scorers were trained for its prompt; another model
 * wants a prompt that ends where it writes a digit. Rows of conversations are one number, or with
 * `turns: 'each'` one for each turn.
 *
 * Rows are dropped as 'no instruction', 'prompt too long' and 'score not finite'. Levels are kept
 * in the cache of the stage by model and text.
 *
 * @throws DATA_MODEL, and what loading a model throws
 */
export const scoreComplexity = stageFunction<ScoreLevelOptions, LevelReport<'complexity'>>(
  scoreComplexityStage,
);

/**
 * Adds `quality`, from 1 to 6: how well a row answers its instruction, to a model that judges. The
 * value is made as that of {@link scoreComplexity}, of a prompt with the answer in it.
 *
 * Rows are dropped as 'no instruction', 'no answer', 'prompt too long' and 'score not finite'.
 *
 * @throws DATA_MODEL, and what loading a model throws
 */
export const scoreQuality = stageFunction<ScoreLevelOptions, LevelReport<'quality'>>(
  scoreQualityStage,
);
