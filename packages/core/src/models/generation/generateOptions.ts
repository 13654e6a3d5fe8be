import type { Tokenizer } from '../../tokenizer/tokenizer.js';
import { describeValue, isPromise } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { checkOptionNames, type OptionHints } from '../../util/unknownOptions.js';
import { type LanguageModel, longestInput } from '../languageModel.js';
import { requireAttune } from '../loading/checkLoading.js';
import { type GenerationRules, rulesOf } from './generationRules.js';
import { badSetting, kinds, type Settings, settingsOf } from './generationSettings.js';

/** A device tensor or anything that looks like one: `[T]` or `[B, T]`. */
export interface IdsTensor {
  readonly shape: readonly number[];
  data(): Promise<ArrayLike<number>>;
}

/** One row, several rows, or a tensor of rows. */
export type Ids = ArrayLike<number> | readonly ArrayLike<number>[] | IdsTensor;

/**
 * Options of `generate`, named as in transformers. Where an option is missing, the model's
 * generation_config.json decides, then the default given here.
 */
export interface GenerateOptions {
  /** The prompt, or a batch of prompts of any lengths. */
  readonly inputIds: Ids;
  /** 0 where a prompt is padding, which is left out; same shape as `inputIds`. Default: all ones. */
  readonly attentionMask?: Ids;
  /**
   * Of a model with adapters: the adapter that answers each prompt, "__base__" for none; one name a prompt. Default: the
   * active ones answer all.
   */
  readonly adapterNames?: readonly string[];
  /** Most tokens to add. Default 20. */
  readonly maxNewTokens?: number;
  /** Most tokens of prompt and answer together (of the longest prompt); `maxNewTokens` wins over it. Default: prompt + 20. */
  readonly maxLength?: number;
  /** Draw tokens by their probability instead of taking the likeliest. Default false. */
  readonly doSample?: boolean;
  /** Divides the logits when sampling; above 0. Default 1. */
  readonly temperature?: number;
  /** Sample from the k likeliest tokens; 0 for all. Default 50. */
  readonly topK?: number;
  /** Sample from the fewest tokens whose probabilities reach this; 0 to 1. Default 1: all. */
  readonly topP?: number;
  /** Leave out tokens less likely than this times the likeliest; 0 to 1. Default 0. */
  readonly minP?: number;
  /** Above 1 makes tokens of the prompt and of the answer so far less likely. Default 1. */
  readonly repetitionPenalty?: number;
  /**
   * Beams of beam search: so many beginnings of the answer are followed at once, and the likeliest whole
   * answer wins. Without sampling. Default 1: none.
   */
  readonly numBeams?: number;
  /** Of beam search: the exponent of the length by which an answer's log-probability is divided; above 0 favours long answers. Default 1. */
  readonly lengthPenalty?: number;
  /** Of beam search: true stops when numBeams answers have ended, false when a better one is unlikely, 'never' when it is impossible. Default false. */
  readonly earlyStopping?: boolean | 'never';
  /** Answers for each prompt, one after the other in the output; with beams at most numBeams, else they need doSample. Default 1. */
  readonly numReturnSequences?: number;
  /** No end before so many tokens, the prompt's counted (of the longest prompt). Default 0. */
  readonly minLength?: number;
  /** No end before so many new tokens. Default 0. */
  readonly minNewTokens?: number;
  /** No n tokens in a row twice, prompt included; 0: allowed. Default 0. */
  readonly noRepeatNgramSize?: number;
  /** No n tokens in a row that the prompt has; 0: allowed. Default 0. */
  readonly encoderNoRepeatNgramSize?: number;
  /** Above 1 makes tokens of the prompt likelier. Default 1. */
  readonly encoderRepetitionPenalty?: number;
  /** Sequences of tokens that are never written whole. Default none. */
  readonly badWordsIds?: readonly (readonly number[])[];
  /** Pairs of a sequence of tokens and what is added to the score of its last behind the others. Default none. */
  readonly sequenceBias?: readonly (readonly [readonly number[], number])[];
  /** Tokens that are never written. Default none. */
  readonly suppressTokens?: readonly number[];
  /** Tokens that no answer begins with. Default none. */
  readonly beginSuppressTokens?: readonly number[];
  /** The token behind a prompt of one token. Default none. */
  readonly forcedBosTokenId?: number;
  /** The token that the last place is given to. Default none. */
  readonly forcedEosTokenId?: number | readonly number[];
  /** [n, f]: after n new tokens an end becomes likelier by f to the power of the tokens since. Default none. */
  readonly exponentialDecayLengthPenalty?: readonly [number, number];
  /** Scores that are not finite become numbers. Default false. */
  readonly removeInvalidValues?: boolean;
  /** Scores become log-probabilities again after all else. Default false. */
  readonly renormalizeLogits?: boolean;
  /** Of sampling: the likeliest tokens up to this share of the entropy (arXiv:2509.02510); above 0 to 1. Default none. */
  readonly topH?: number;
  /** Of sampling: the tokens whose information is nearest to the entropy, up to this probability (arXiv:2202.00666). Default 1: all. */
  readonly typicalP?: number;
  /** Of sampling: leaves out tokens less likely than this (arXiv:2210.15191); 0: none. Usual 3e-4 to 9e-4. Default 0. */
  readonly epsilonCutoff?: number;
  /** Of sampling: the same with a limit that follows the entropy; 0: none. Usual 3e-4 to 4e-3. Default 0. */
  readonly etaCutoff?: number;
  /** Seconds after which no further token is begun; what is there is returned, with the reason 'time'. Default: no limit. */
  readonly maxTime?: number;
  /** Same seed, same tokens. Each row has a stream of its own. Default: drawn from the Attune's seed. */
  readonly seed?: number;
  /** Ends a row; several end it alike. Default: generation_config.json, then config.json. */
  readonly eosTokenId?: number | readonly number[] | null;
  /** Fed for rows that have ended while others go on; no influence on the result. Default: generation_config.json, then config.json, then eosTokenId. */
  readonly padTokenId?: number | null;
  /** A row ends when its answer contains one of these. Default: generation_config.json, else none. */
  readonly stopStrings?: string | readonly string[];
  /** Reads `stopStrings`. Default: the tokenizer in the model's own folder. */
  readonly tokenizer?: Tokenizer;
  /** Keep keys and values instead of computing them again at every step. Default true. */
  readonly useCache?: boolean;
  /** Ends generation early with its reason. Default none. */
  readonly signal?: AbortSignal;
}

export const optionNames: Record<keyof GenerateOptions, true> = {
  inputIds: true,
  attentionMask: true,
  maxNewTokens: true,
  maxLength: true,
  doSample: true,
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  numBeams: true,
  lengthPenalty: true,
  earlyStopping: true,
  numReturnSequences: true,
  minLength: true,
  minNewTokens: true,
  noRepeatNgramSize: true,
  encoderNoRepeatNgramSize: true,
  encoderRepetitionPenalty: true,
  badWordsIds: true,
  sequenceBias: true,
  suppressTokens: true,
  beginSuppressTokens: true,
  forcedBosTokenId: true,
  forcedEosTokenId: true,
  exponentialDecayLengthPenalty: true,
  removeInvalidValues: true,
  renormalizeLogits: true,
  topH: true,
  typicalP: true,
  epsilonCutoff: true,
  etaCutoff: true,
  maxTime: true,
  seed: true,
  eosTokenId: true,
  padTokenId: true,
  adapterNames: true,
  stopStrings: true,
  tokenizer: true,
  useCache: true,
  signal: true,
};

/** What options of generation are called in other libraries. */
const hints: Omit<OptionHints, 'known'> = {
  synonyms: {
    ids: 'inputIds',
    tokens: 'inputIds',
    tokenids: 'inputIds',
    mask: 'attentionMask',
    maxtokens: 'maxNewTokens',
    maxnewtoken: 'maxNewTokens',
    numtokens: 'maxNewTokens',
    maxcompletiontokens: 'maxNewTokens',
    numpredict: 'maxNewTokens',
    maxlen: 'maxLength',
    sample: 'doSample',
    sampling: 'doSample',
    temp: 'temperature',
    repeatpenalty: 'repetitionPenalty',
    beams: 'numBeams',
    beamsize: 'numBeams',
    n: 'numReturnSequences',
    numsamples: 'numReturnSequences',
    randomseed: 'seed',
    eos: 'eosTokenId',
    stoptokens: 'eosTokenId',
    stoptokenids: 'eosTokenId',
    pad: 'padTokenId',
    stop: 'stopStrings',
    stopsequences: 'stopStrings',
    stopwords: 'stopStrings',
    adapter: 'adapterNames',
    adaptername: 'adapterNames',
    abortsignal: 'signal',
    cache: 'useCache',
  },
  notes: Object.fromEntries(
    ['prompt', 'prompts', 'text', 'input', 'inputs', 'messages'].map((word) => [
      word,
      word === 'messages'
        ? 'write inputIds: tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true })'
        : 'write inputIds: tokenizer.encode(text)',
    ]),
  ),
};

export interface GenerateOutput {
  /** For each prompt: its ids, then the answer's, up to and with the token that ended it. No padding. */
  readonly sequences: number[][];
  /** Why each row ended: an eos token, a stop string, its length, or `maxTime`. */
  readonly finishReasons: ('eos' | 'stop' | 'length' | 'time')[];
  /** Of beam search: the log-probability of each answer, divided by length^lengthPenalty. */
  readonly sequencesScores?: number[];
}

/** Options with every default filled in and checked against the model. */
export interface GenerationPlan {
  readonly prompts: readonly (readonly number[])[];
  /** Of each prompt; null: the active ones. */
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
  readonly eosTokenIds: ReadonlySet<number>;
  readonly padTokenId: number;
  readonly useCache: boolean;
}

/**
 * Resolves options: the caller's, then generation_config.json's, then transformers' defaults.
 *
 * @throws GENERATE_OPTION, GENERATE_PROMPT_EMPTY, GENERATE_TOKEN_OUT_OF_RANGE, SEQUENCE_TOO_LONG
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
  checkOptionNames('generate', options, optionNames, 'GENERATE_OPTION', hints);
  requireAttune(model.attune, 'generate');
  const { config } = model;
  const settings = settingsOf({ ...options }, config.generation ?? {});
  const { get } = settings;
  const number = (name: keyof GenerateOptions, fallback: number): number =>
    get(name, kinds.number, fallback);
  const doSample = get('doSample', kinds.flag, false);
  // null from the caller: none ends a row.
  const eosTokenIds =
    options.eosTokenId === null ? [] : [get('eosTokenId', kinds.ids, config.eosTokenId)].flat();
  const padTokenId = get('padTokenId', kinds.number, config.padTokenId) ?? eosTokenIds[0] ?? 0;
  const numBeams = number('numBeams', 1);
  const numReturnSequences = number('numReturnSequences', 1);
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
    doSample,
    temperature: number('temperature', 1),
    topK: number('topK', 50),
    topP: number('topP', 1),
    minP: number('minP', 0),
    repetitionPenalty: number('repetitionPenalty', 1),
    numBeams,
    lengthPenalty: number('lengthPenalty', 1),
    earlyStopping: get('earlyStopping', kinds.early, false),
    numReturnSequences,
    rules: rulesOf(settings, config.vocabSize, eosTokenIds),
    stopStrings: [get('stopStrings', kinds.texts, [])].flat().filter((text) => text !== ''),
    maxTime: get('maxTime', kinds.number, null),
    seed: options.seed ?? model.engine.rng.next(),
    eosTokenIds: new Set(eosTokenIds),
    // Never seen by a row that counts, but it must be a row of the embedding.
    padTokenId: padTokenId >= 0 && padTokenId < config.vocabSize ? padTokenId : 0,
    useCache: get('useCache', kinds.flag, true),
  };
  checkRanges(plan, settings);
  return plan;
}

const badOption = (name: string, value: unknown, expected: string, remedy?: string): AttuneError =>
  badSetting(`generate: ${name}`, name, value, expected, remedy);

function checkRanges(plan: GenerationPlan, { origin }: Settings): void {
  const bad = (name: keyof GenerationPlan, expected: string, remedy?: string) =>
    badSetting(origin(name), name, plan[name], expected, remedy);
  if (plan.doSample && !(plan.temperature > 0))
    throw bad(
      'temperature',
      'a number above 0',
      'For the likeliest token each time pass doSample: false.',
    );
  if (!Number.isInteger(plan.topK) || plan.topK < 0)
    throw bad('topK', 'an integer >= 0 (0: all tokens)');
  if (!(plan.topP >= 0 && plan.topP <= 1)) throw bad('topP', 'a number in 0..1');
  if (!(plan.minP >= 0 && plan.minP <= 1)) throw bad('minP', 'a number in 0..1');
  if (!(plan.repetitionPenalty > 0)) throw bad('repetitionPenalty', 'a number above 0 (1: none)');
  if (plan.maxTime !== null && !(plan.maxTime > 0)) throw bad('maxTime', 'seconds above 0');
  if (!Number.isInteger(plan.numBeams) || plan.numBeams < 1)
    throw bad('numBeams', 'an integer >= 1 (1: no beam search)');
  if (plan.numBeams > 1 && plan.doSample)
    throw bad(
      'numBeams',
      `1 while doSample is true: beams are not sampled here`,
      'Pass doSample: false, or numBeams: 1.',
    );
  const { numReturnSequences } = plan;
  const most = plan.numBeams > 1 ? plan.numBeams : plan.doSample ? Number.MAX_SAFE_INTEGER : 1;
  if (!Number.isInteger(numReturnSequences) || numReturnSequences < 1 || numReturnSequences > most)
    throw bad(
      'numReturnSequences',
      `an integer from 1 to ${plan.doSample ? 'as many as you like' : `${most} (the beams)`}`,
      'One prompt has one greedy answer: pass doSample: true or numBeams.',
    );
  if (!Number.isSafeInteger(plan.seed) || plan.seed < 0)
    throw badOption('seed', plan.seed, 'an integer >= 0');
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
 * How many tokens to add. A number that the caller asked for must fit; a default is cut to what fits.
 *
 * @throws GENERATE_OPTION where maxLength leaves no room behind the prompt, SEQUENCE_TOO_LONG
 */
function newTokens(
  model: LanguageModel,
  { get, origin }: Settings,
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
      : get('maxNewTokens', kinds.count, null);
  const maxLength = get('maxLength', kinds.count, null);
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
