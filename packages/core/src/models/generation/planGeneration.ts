import { describeValue, isPromise } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { checkNames } from '../../util/options.js';
import type { OptionNotes } from '../../util/unknownOptions.js';
import { type LanguageModel, longestInput } from '../languageModel.js';
import { requireAttune } from '../loading/checkLoading.js';
import {
  type GenerateOptions,
  generateOptions,
  type Ids,
  type IdsTensor,
} from './generateOptions.js';
import { type GenerationRules, rulesOf } from './generationRules.js';
import { badSetting, readSettings, type Settings } from './generationSettings.js';

const encode = 'write inputIds: tokenizer.encode(text)';
const notes: OptionNotes = {
  prompt: encode,
  prompts: encode,
  text: encode,
  input: encode,
  inputs: encode,
  messages: 'write inputIds: tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })',
};

/** Options with every default filled in and checked against the model. */
export interface GenerationPlan {
  readonly prompts: readonly (readonly number[])[];
  /** The adapter of each prompt; null: the active ones answer all. */
  readonly adapterNames: readonly string[] | null;
  readonly maxNewTokens: number;
  readonly doSample: boolean;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly numBeams: number;
  readonly lengthPenalty: number;
  readonly earlyStopping: boolean | 'never';
  readonly numReturnSequences: number;
  readonly rules: GenerationRules;
  /** Texts that end a row. */
  readonly stopStrings: readonly string[];
  /** Seconds; null: no limit. */
  readonly maxTime: number | null;
  readonly seed: number;
  /** For each of the prompts the stream of the seed that it draws from. */
  readonly streams: readonly number[];
  readonly eosTokenIds: ReadonlySet<number>;
  readonly padTokenId: number;
  readonly useCache: boolean;
  /** Rows of the batch. */
  readonly batchSize: number;
  /** Log-probabilities of the answer's tokens are asked for. */
  readonly logProbs: boolean;
}

/**
 * Resolves options: the caller's, then generation_config.json's, then transformers' defaults.
 *
 * @throws UNKNOWN_OPTION, GENERATE_OPTION, GENERATE_PROMPT_EMPTY, GENERATE_TOKEN_OUT_OF_RANGE,
 *   SEQUENCE_TOO_LONG
 */
export async function planGeneration(
  model: LanguageModel,
  options: GenerateOptions,
): Promise<GenerationPlan> {
  if (isIds(options))
    throw new AttuneError(
      'GENERATE_OPTION',
      `generate takes one object of options, found ${describeValue(options)}.`,
      { remedy: 'Pass { inputIds: tokenizer.encode(text), maxNewTokens: 40 }.' },
    );
  checkNames(generateOptions, options, { where: 'generate', code: 'GENERATE_OPTION', notes });
  requireAttune(model.attune, 'generate');
  const { config } = model;
  const settings = readSettings(options, config.generation ?? {});
  const { values } = settings;
  // null from the caller: none ends a row.
  const eosTokenIds =
    options.eosTokenId === null ? [] : [values.eosTokenId ?? config.eosTokenId].flat();
  const padTokenId = values.padTokenId ?? config.padTokenId ?? eosTokenIds[0] ?? 0;
  const { numBeams, numReturnSequences } = values;
  const given = await promptRows(options);
  checkPrompts(given, config.vocabSize);
  const { adapterNames } = options;
  if (adapterNames && adapterNames.length !== given.length)
    throw badOption('adapterNames', adapterNames, `${given.length} names, one for each prompt`);
  // Several samples of a prompt are rows of their own; several beams come out of one search.
  const samples = numBeams === 1 && numReturnSequences > 1 ? Math.floor(numReturnSequences) : 1;
  const sampled = <T>(rows: readonly T[]) => rows.flatMap((row) => Array<T>(samples).fill(row));
  const prompts = sampled(given);
  const plan: GenerationPlan = {
    prompts,
    adapterNames: adapterNames ? sampled(adapterNames) : null,
    maxNewTokens: newTokens(model, settings, options, prompts),
    doSample: values.doSample,
    temperature: values.temperature,
    topK: values.topK,
    topP: values.topP,
    minP: values.minP,
    repetitionPenalty: values.repetitionPenalty,
    numBeams,
    lengthPenalty: values.lengthPenalty,
    earlyStopping: values.earlyStopping,
    numReturnSequences,
    rules: rulesOf(settings, config.vocabSize, eosTokenIds),
    stopStrings: [values.stopStrings ?? []].flat().filter((text) => text !== ''),
    maxTime: values.maxTime ?? null,
    seed: values.seed ?? model.engine.rng.next(),
    streams: values.streams ?? prompts.map((_, row) => row),
    eosTokenIds: new Set(eosTokenIds),
    // Never seen by a row that counts, but it must be a row of the embedding.
    padTokenId: padTokenId >= 0 && padTokenId < config.vocabSize ? padTokenId : 0,
    useCache: values.useCache,
    batchSize: Math.min(values.batchSize ?? prompts.length, prompts.length),
    logProbs: values.returnLogProbs ?? false,
  };
  checkTogether(plan, settings);
  return plan;
}

const badOption = (name: string, value: unknown, expected: string, remedy?: string): AttuneError =>
  badSetting(`generate: ${name}`, name, value, expected, remedy);

/** What no option can see alone. */
function checkTogether(plan: GenerationPlan, { origin }: Settings): void {
  const bad = (name: keyof GenerationPlan, expected: string, remedy?: string) =>
    badSetting(origin(name), name, plan[name], expected, remedy);
  if (plan.doSample && !(plan.temperature > 0))
    throw bad(
      'temperature',
      'a number above 0',
      'For the likeliest token each time pass doSample: false.',
    );
  if (plan.numBeams > 1 && plan.doSample)
    throw bad(
      'numBeams',
      '1 while doSample is true: beams are not sampled here',
      'Pass doSample: false, or numBeams: 1.',
    );
  if (plan.numBeams > 1 && plan.logProbs)
    throw badOption('returnLogProbs', true, 'false with beams: sequencesScores has their sums');
  const { batchSize, prompts, streams } = plan;
  if (streams.length !== prompts.length)
    throw badOption('streams', streams, `${prompts.length} integers, one for each answer`);
  if (batchSize < prompts.length && (plan.numBeams > 1 || plan.adapterNames))
    throw badOption(
      'batchSize',
      batchSize,
      `none with ${plan.adapterNames ? 'adapterNames' : 'beams'}: all rows of those go on at once`,
    );
  const { numReturnSequences } = plan;
  const most = plan.numBeams > 1 ? plan.numBeams : plan.doSample ? Number.MAX_SAFE_INTEGER : 1;
  if (!Number.isInteger(numReturnSequences) || numReturnSequences < 1 || numReturnSequences > most)
    throw bad(
      'numReturnSequences',
      `an integer from 1 to ${plan.doSample ? 'as many as you like' : `${most} (the beams)`}`,
      'One prompt has one greedy answer: pass doSample: true or numBeams.',
    );
}

async function promptRows(options: GenerateOptions): Promise<number[][]> {
  const rows = await toRows(options.inputIds, 'inputIds');
  if (!options.attentionMask) return rows;
  const mask = await toRows(options.attentionMask, 'attentionMask');
  if (mask.length !== rows.length || mask.some((m, i) => m.length !== rows[i]!.length))
    throw badOption(
      'attentionMask',
      mask.map((m) => m.length),
      `rows of ${rows.map((r) => r.length).join(', ')} values, as inputIds`,
    );
  return rows.map((row, i) => row.filter((_, t) => mask[i]![t] !== 0));
}

/** Given in the place of the options: a text, ids, a tensor. */
const isIds = (options: unknown): boolean =>
  typeof options === 'string' ||
  Array.isArray(options) ||
  ArrayBuffer.isView(options) ||
  (typeof options === 'object' && options !== null && 'shape' in options);

const isTensor = (ids: Ids): ids is IdsTensor => 'shape' in ids && 'data' in ids;
const isNested = (
  ids: ArrayLike<number> | readonly ArrayLike<number>[],
): ids is readonly ArrayLike<number>[] => typeof ids[0] === 'object' && ids[0] !== null;

async function toRows(ids: Ids, name: string): Promise<number[][]> {
  const expected = 'token ids: tokenizer.encode(text), or a list of such';
  const encode = `Pass ${name}: tokenizer.encode(text).`;
  if (typeof ids !== 'object' || ids === null) throw badOption(name, ids, expected, encode);
  if (isPromise(ids)) throw badOption(name, 'a promise', 'token ids', `Write await before it.`);
  if (!isTensor(ids) && typeof (ids as { length?: unknown }).length !== 'number')
    throw badOption(name, describeValue(ids), expected, encode);
  if (!isTensor(ids) && Array.from(ids as ArrayLike<unknown>).some((id) => typeof id === 'string'))
    throw badOption(name, ids, expected, 'Pass tokenizer.encode(text) for each text.');
  if (!isTensor(ids)) return isNested(ids) ? ids.map((row) => Array.from(row)) : [Array.from(ids)];
  if (ids.shape.length > 2) throw badOption(name, ids.shape, 'a tensor [T] or [B, T]');
  const values = Array.from(await ids.data());
  const [batch, length] =
    ids.shape.length === 2 ? (ids.shape as [number, number]) : [1, values.length];
  return Array.from({ length: batch }, (_, b) => values.slice(b * length, (b + 1) * length));
}

function checkPrompts(prompts: readonly (readonly number[])[], vocabSize: number): void {
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0)
      throw new AttuneError(
        'GENERATE_PROMPT_EMPTY',
        `generate: prompt ${row} has no tokens; a model continues at least one.`,
        { remedy: 'Start with the bos token: tokenizer.encode("") or [tokenizer.bosTokenId].' },
      );
    for (const [at, id] of prompt.entries())
      if (!Number.isInteger(id) || id < 0 || id >= vocabSize)
        throw new AttuneError(
          'GENERATE_TOKEN_OUT_OF_RANGE',
          `generate: prompt ${row} has the id ${id} at position ${at}; the model knows 0 to ${vocabSize - 1}.`,
          { remedy: 'Use the tokenizer that belongs to this model.' },
        );
  }
  if (prompts.length === 0)
    throw new AttuneError('GENERATE_PROMPT_EMPTY', 'generate: there are no prompts.', {
      remedy: 'Give inputIds at least one row.',
    });
}

/**
 * How many tokens to add. A number that the caller asked for must fit; a default is cut to what
 * fits.
 *
 * @throws GENERATE_OPTION where maxLength leaves no room behind the prompt, SEQUENCE_TOO_LONG
 */
function newTokens(
  model: LanguageModel,
  { values, origin }: Settings,
  options: GenerateOptions,
  prompts: readonly (readonly number[])[],
): number {
  const most = longestInput(model);
  const longest = Math.max(...prompts.map((p) => p.length));
  const isAsked = (options.maxNewTokens ?? options.maxLength ?? null) !== null;
  // What the caller says comes before what the file says, whichever of the two it is.
  const maxNewTokens =
    (options.maxLength ?? null) !== null && (options.maxNewTokens ?? null) === null
      ? null
      : (values.maxNewTokens ?? null);
  const maxLength = values.maxLength ?? null;
  const wanted = maxNewTokens ?? (maxLength === null ? 20 : maxLength - longest);
  if (wanted < 1) {
    const name = maxNewTokens === null ? 'maxLength' : 'maxNewTokens';
    throw badSetting(
      origin(name),
      name,
      maxNewTokens ?? maxLength,
      maxNewTokens === null
        ? `more than the ${longest} tokens of the longest prompt`
        : 'a whole number >= 1',
      `Pass maxNewTokens: it comes before ${name === 'maxLength' ? 'maxLength' : 'the file'}.`,
    );
  }
  const count = isAsked ? wanted : Math.min(wanted, most - longest);
  if (longest + Math.max(count, 1) > most)
    throw new AttuneError(
      'SEQUENCE_TOO_LONG',
      `generate: a prompt of ${longest} tokens and ${Math.max(count, 1)} new ones are longer than the model's ${most} positions (max_position_embeddings${model.adapters?.numVirtualTokens ? `, less ${model.adapters.numVirtualTokens} virtual tokens` : ''}).`,
      {
        remedy:
          longest < most
            ? `Ask for maxNewTokens <= ${most - longest}, or shorten the prompt.`
            : `Shorten the prompt below ${most} tokens.`,
      },
    );
  return count;
}
