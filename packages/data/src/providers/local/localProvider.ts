import type { Attune } from '@attune/core';
import { type GenerativeModel, generative, longestInput } from '@attune/core/models';
import type { ChatMessage, Tokenizer } from '@attune/core/text';
import {
  AttuneError,
  isPlainObject,
  type OptionsInput,
  type PlainJson,
  parseOptions,
  philox,
} from '@attune/core/util';
import { z } from 'zod';
import {
  choiceFingerprint,
  type LoadedModel,
  loadModel,
  modelChoice,
} from '../../models/modelChoice.js';
import {
  checkRequest,
  type LLMCompletion,
  type LLMFinishReason,
  type LLMMessage,
  type LLMProvider,
  type LLMRequest,
} from '../llmProvider.js';
import { RequestBatches } from './requestBatches.js';

/** What is asked of a tokenizer. `AutoTokenizer` opens one. */
export interface ChatTokenizer {
  readonly eosTokenId?: number | null;
  readonly chatTemplate?: string | null;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): readonly number[];
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  applyChatTemplate?(
    messages: readonly ChatMessage[],
    options: {
      readonly tokenize: false;
      readonly addGenerationPrompt: true;
      readonly variables?: Readonly<Record<string, unknown>>;
    },
  ): string;
}

const localShape = {
  /** A model that is loaded, or its folder or Hub id. */
  model: modelChoice,
  /** Default: the one in the folder of the model. */
  tokenizer: z
    .custom<ChatTokenizer>(
      (value) => typeof value === 'object' && value !== null && 'encode' in value,
    )
    .optional(),
  /** Loads a model that is named. Default: none. */
  attune: z.custom<Attune>().nullish(),
  /** Answers that are written at once; the others wait. Default 8. */
  batchSize: z.int().min(1).default(8).meta({ aka: 'maxconcurrent maxnumseqs' }),
  /** Most tokens of an answer whose request has no limit. Default 512. */
  maxTokens: z.int().min(1).default(512).meta({ aka: 'maxnewtokens' }),
  /** Further variables of the chat template: `{ enable_thinking: false }`. Default none. */
  templateVariables: z
    .custom<Readonly<Record<string, unknown>>>(isPlainObject, 'expected an object of variables')
    .optional()
    .meta({ aka: 'chattemplatekwargs' }),
  /** The text of a request, for models without a chat template. Default: the chat template's. */
  prompt: z
    .custom<(messages: readonly LLMMessage[]) => string>(
      (value) => typeof value === 'function',
      'expected a function of messages',
    )
    .optional()
    .meta({ aka: 'formatprompt' }),
  /** For reports. Default: the name of the model. */
  name: z.string().min(1).optional(),
};

/** Options of {@link localProvider}. */
export type LocalProviderOptions = OptionsInput<typeof localShape>;

export const localOptions = z.strictObject(localShape);

const WHERE = 'localProvider';

/** A request as rows of a batch. */
interface Job {
  readonly inputIds: readonly number[];
  readonly maxNewTokens: number;
  /** One for each answer that is drawn; one without sampling. */
  readonly streams: readonly number[];
  readonly request: LLMRequest;
}

interface Loaded {
  readonly model: GenerativeModel;
  readonly tokenizer: ChatTokenizer;
}

/**
 * A model of this process, through `model.generate` and its chat template. Requests that wait at
 * the same time are written together.
 *
 * A request without a temperature takes the likeliest tokens, as one with temperature 0. What is
 * drawn depends on the request's messages, its seed (default 0) and the number of the answer, not
 * on what it is batched with; only the rounding of sums differs between batches of different
 * shapes, which can turn a choice between two tokens that are nearly as likely. Everything of one
 * request is written in one batch. It costs nothing (`cost` 0).
 *
 * `fingerprint` is that of the model when it is first asked: after more training, make a new
 * provider.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_MODEL when it is asked, for a model that is named
 *   and no `attune`, and for a tokenizer without a chat template where there is no `prompt`
 */
export function localProvider(options: LocalProviderOptions): LLMProvider {
  const parsed = parseOptions(localOptions, options, { where: WHERE });
  const { model: choice, batchSize } = parsed;
  let loading: Promise<Loaded> | null = null;
  const loaded = () => {
    loading ??= load(parsed);
    return loading;
  };
  let fingerprint: Promise<PlainJson> | null = null;
  const batches = new RequestBatches<Job, LLMCompletion>({
    batchSize,
    rowsOf: ({ streams }) => streams.length,
    keyOf: ({ maxNewTokens, request: { temperature = 0, topP = 1, stop = [] } }) =>
      JSON.stringify([maxNewTokens, temperature, topP, stop]),
    run: async (jobs, signal) => writeAll(await loaded(), jobs, signal, name),
  });
  const name =
    parsed.name ?? (typeof choice === 'string' ? choice : choice.nameOrPath || 'a local model');
  return {
    name,
    maxConcurrent: 2 * batchSize,
    fingerprint() {
      fingerprint ??= fingerprintOf(parsed);
      return fingerprint;
    },
    async complete(request, { signal = null } = {}) {
      checkRequest(request);
      signal?.throwIfAborted();
      return batches.add(jobOf(await loaded(), request, parsed), signal);
    },
  };
}

type Parsed = z.output<typeof localOptions>;

async function load({ model: choice, tokenizer, attune = null }: Parsed): Promise<Loaded> {
  const found: LoadedModel = await loadModel(
    { model: choice, ...(tokenizer && { tokenizer }) },
    attune,
    WHERE,
  );
  return {
    model: generative(found.model, WHERE),
    tokenizer: found.tokenizer as unknown as ChatTokenizer,
  };
}

const fingerprintOf = async ({
  model,
  tokenizer,
  maxTokens,
  templateVariables = {},
  prompt,
}: Parsed): Promise<PlainJson> => ({
  kind: 'local',
  model: await choiceFingerprint(model),
  maxTokens,
  templateVariables: templateVariables as PlainJson,
  template: tokenizer?.chatTemplate ?? null,
  prompt: prompt ? String(prompt) : null,
});

function jobOf({ model, tokenizer }: Loaded, request: LLMRequest, options: Parsed): Job {
  const text = promptText(tokenizer, request.messages, options);
  // A template writes its special tokens itself.
  const inputIds = tokenizer.encode(text, { addSpecialTokens: options.prompt !== undefined });
  const longest = longestInput(model);
  const room = longest - inputIds.length;
  if (room < 1)
    throw new AttuneError(
      'DATA_LLM_REFUSED',
      `${WHERE}: a request of ${inputIds.length} tokens leaves no room for an answer; the model takes ${longest}.`,
      {
        remedy: 'Shorten the texts, or take a model with a longer context.',
        details: { kind: 'length' },
      },
    );
  const { n = 1, seed = 0, temperature = 0 } = request;
  return {
    inputIds,
    maxNewTokens: Math.min(request.maxTokens ?? options.maxTokens, room),
    streams:
      temperature === 0 ? [0] : Array.from({ length: n }, (_, sample) => streamOf(seed, sample)),
    request,
  };
}

function promptText(
  tokenizer: ChatTokenizer,
  messages: readonly LLMMessage[],
  { prompt, templateVariables }: Parsed,
): string {
  if (prompt) return prompt(messages);
  if (!tokenizer.chatTemplate || !tokenizer.applyChatTemplate)
    throw new AttuneError('DATA_MODEL', `${WHERE}: the tokenizer has no chat template.`, {
      remedy: 'Pass prompt: (messages) => text, or a model that was trained on conversations.',
    });
  return tokenizer.applyChatTemplate(
    messages.map(({ role, content }) => ({ role, content })),
    {
      tokenize: false,
      addGenerationPrompt: true,
      ...(templateVariables && { variables: templateVariables }),
    },
  );
}

/** A stream of random numbers, 0 to 2^30 - 1, for each answer of each seed. */
const streamOf = (seed: number, sample: number): number =>
  philox([seed >>> 0, Math.floor(seed / 2 ** 32), sample, 0], [0x6c6c6d, 0])[0] >>> 2;

async function writeAll(
  { model, tokenizer }: Loaded,
  jobs: readonly Job[],
  signal: AbortSignal,
  name: string,
): Promise<LLMCompletion[]> {
  const { maxNewTokens, request } = jobs[0]!;
  const { temperature = 0, topP = 1, stop = [] } = request;
  const { generation, eosTokenId } = model.config;
  const ends = [
    ...[(generation?.eos_token_id ?? eosTokenId) as number | readonly number[] | null].flat(),
    tokenizer.eosTokenId ?? null,
  ].filter((id): id is number => id !== null && id !== undefined);
  const { sequences, finishReasons } = await model.generate({
    inputIds: jobs.flatMap(({ inputIds, streams }) => streams.map(() => inputIds)),
    maxNewTokens,
    eosTokenId: [...new Set(ends)],
    // A request has no top-k; that of generation_config.json, or 50, would be a surprise.
    ...(temperature === 0 ? { doSample: false } : { doSample: true, temperature, topP, topK: 0 }),
    seed: 0,
    streams: jobs.flatMap(({ streams }) => streams),
    // Others write on; what is behind the stop is cut off below.
    ...(stop.length > 0 &&
      'createDecodeStream' in tokenizer && {
        stopStrings: stop,
        tokenizer: tokenizer as unknown as Tokenizer,
      }),
    signal,
  });
  let row = 0;
  return jobs.map(({ inputIds, streams, request: { n = 1 } }) => {
    const rows = streams.map(() => row++);
    const written = rows.map((r) => sequences[r]!.slice(inputIds.length));
    const whole = written.map((ids) => tokenizer.decode(ids, { skipSpecialTokens: true }));
    const texts = whole.map((text) => beforeStop(text, stop));
    const reasons = rows.map((r, i): LLMFinishReason => {
      const hasEnded = finishReasons[r] === 'eos' || texts[i]!.length < whole[i]!.length;
      return hasEnded ? 'stop' : 'length';
    });
    // Without sampling all answers are the one that was written.
    const repeated = <T>(values: readonly T[]): T[] =>
      Array.from({ length: n }, (_, i) => values[Math.min(i, values.length - 1)]!);
    return {
      texts: repeated(texts),
      finishReasons: repeated(reasons),
      usage: {
        promptTokens: inputIds.length,
        completionTokens: written.reduce((total, ids) => total + ids.length, 0),
      },
      model: name,
      cost: 0,
      isCached: false,
    };
  });
}

function beforeStop(text: string, stop: readonly string[]): string {
  const places = stop.map((word) => text.indexOf(word)).filter((at) => at >= 0);
  return places.length === 0 ? text : text.slice(0, Math.min(...places));
}
