import type { ChatMessage, LanguageModel, Logger, TrainerState } from '@attune/core';
import { AttuneError } from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { type ModelScorer, modelScorer } from './rewardModel.js';

/** A prompt as the row had it: a text, or messages. */
export type Prompt = string | readonly ChatMessage[];

/** What the model answered: a text to a text, one message of the assistant to messages. */
export type Completion = Prompt;

/** Typed as both, so that functions read it as what their rows have: see {@link RewardInput}. */
export type PromptOfRow = string & readonly ChatMessage[];

/** What a reward function is given: of every completion of a rollout, one after the other. */
export type RewardInput = {
  /** As the rows have them, texts or messages; each as often as it has completions. */
  readonly prompts: readonly PromptOfRow[];
  /** Texts where prompts are texts; where they are messages, `[{ role: 'assistant', content }]`. */
  readonly completions: readonly PromptOfRow[];
  /** The tokens of each completion, with the one that ended it. */
  readonly completionIds: readonly (readonly number[])[];
  /** Where the run stands. Absent outside of a trainer. */
  readonly trainerState?: TrainerState;
  /** Aborts when the run is to end, or when `rewardTimeout` is over. */
  readonly signal: AbortSignal;
};

/** A reward function's answer: a number for each completion; null: no opinion. */
export type RewardValues = ArrayLike<number | null>;

/** A method, whose parameter may be written narrower: `RewardInput & { answer: string[] }`. */
interface Rating {
  rate(
    input: RewardInput & Readonly<Record<string, unknown>>,
  ): RewardValues | Promise<RewardValues>;
}

/**
 * Rates completions. It is given {@link RewardInput} and every further column of the rows, each
 * repeated for every completion. It may be async.
 *
 * @example
 * const happy = ({ completions }: RewardInput) =>
 *   completions.map((text) => Number(text.includes('happy')));
 */
export type RewardFunction = Rating['rate'];

/** What rates completions: a function, or a model with a score for whole sequences. */
export type RewardSource = RewardFunction | LanguageModel;

/** Options of {@link RewardScorer}. */
export interface RewardOptions {
  readonly rewardFuncs: readonly RewardSource[];
  /** One for each. Default: 1. */
  readonly rewardWeights?: readonly number[] | null;
  /** The tokenizer of each reward model; null for functions and where it is the policy's own. */
  readonly rewardTokenizers?: readonly (TextTokenizer | null)[] | null;
  /** Seconds that a reward function may take; null: any. Default 600. */
  readonly rewardTimeout?: number | null;
  /** Completions that a reward model scores at once. */
  readonly batchSize: number;
}

/** What there is to rate. */
export interface CompletionsToRate {
  readonly prompts: readonly Prompt[];
  readonly completions: readonly Completion[];
  readonly completionIds: readonly (readonly number[])[];
  /** Further columns of the rows, as often as the prompts. */
  readonly columns: Readonly<Record<string, readonly unknown[]>>;
}

/** Rates completions with every function and model, in their order. */
export class RewardScorer {
  /** Names for logs: those of the functions, `reward_model`; `reward`, `reward_<i>` without one. */
  readonly names: readonly string[];
  readonly weights: readonly number[];
  readonly #models: readonly (ModelScorer | null)[];

  /** @throws REWARD_OPTION */
  constructor(
    private readonly options: RewardOptions,
    policy: {
      readonly model: LanguageModel;
      readonly tokenizer: TextTokenizer | null;
    },
  ) {
    const { rewardFuncs, rewardWeights, rewardTokenizers } = options;
    if (rewardFuncs.length === 0)
      throw new AttuneError('REWARD_OPTION', 'rewardFuncs is empty: nothing rates completions.', {
        remedy: 'Pass a function ({ prompts, completions }) => numbers, or a reward model.',
      });
    checkCount('rewardWeights', rewardWeights, rewardFuncs.length);
    checkCount('rewardTokenizers', rewardTokenizers, rewardFuncs.length);
    this.weights = rewardWeights ?? rewardFuncs.map(() => 1);
    const bad = this.weights.findIndex((weight) => !Number.isFinite(weight));
    if (bad >= 0)
      throw new AttuneError(
        'REWARD_OPTION',
        `rewardWeights[${bad}] is ${String(this.weights[bad])}; expected a number.`,
        { remedy: 'Give one number for each reward function.' },
      );
    this.names = distinct(rewardFuncs.map(nameOf));
    this.#models = rewardFuncs.map((source, i) =>
      typeof source === 'function'
        ? null
        : modelScorer(source, rewardTokenizers?.[i] ?? null, {
            ...policy,
            name: `rewardFuncs[${i}]`,
            batchSize: options.batchSize,
          }),
    );
  }

  /**
   * The rewards of each function, [F][N]; NaN where it had no opinion. Functions run at the same
   * time.
   *
   * @throws REWARD_FAILED for a function that throws or does not return; REWARD_VALUE for what is
   *   no reward, with function, row and value; the reason of the signal
   */
  async rate(
    given: CompletionsToRate,
    { signal, trainerState, logger }: RatingContext,
  ): Promise<Float64Array[]> {
    const { columns, ...rest } = given;
    const state = trainerState && { trainerState };
    const all = await Promise.all(
      this.options.rewardFuncs.map(async (source, i) => {
        const model = this.#models[i];
        if (model) return model.score(given);
        const call = (own: AbortSignal) =>
          (source as RewardFunction)({
            ...columns,
            ...(rest as Pick<RewardInput, keyof typeof rest>),
            ...state,
            signal: own,
          });
        const values = await this.#within(this.names[i]!, call, signal);
        return checkRewards(values, this.names[i]!, given);
      }),
    );
    const silent = given.completions.findIndex((_, n) => all.every((own) => Number.isNaN(own[n]!)));
    if (silent >= 0)
      logger.warn(
        `no reward function has an opinion on completion ${silent}: ${describeRow(given, silent)}. It is not learned from.`,
      );
    return all;
  }

  /** What the function returns, if it does in time. */
  async #within<T>(
    name: string,
    call: (signal: AbortSignal) => T | Promise<T>,
    outer: AbortSignal,
  ): Promise<T> {
    const { rewardTimeout = 600 } = this.options;
    outer.throwIfAborted();
    const own = new AbortController();
    let stop!: () => void;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const interrupted = new Promise<never>((_, reject) => {
      stop = () => {
        own.abort(outer.reason);
        reject(outer.reason);
      };
      outer.addEventListener('abort', stop);
      if (rewardTimeout === null) return;
      const error = new AttuneError(
        'REWARD_FAILED',
        `the reward function "${name}" has not returned after ${rewardTimeout} s.`,
        {
          remedy: 'Raise rewardTimeout (seconds), or let the function end when its signal aborts.',
        },
      );
      timer = setTimeout(() => {
        reject(error);
        own.abort(error);
      }, 1000 * rewardTimeout);
    });
    try {
      return await Promise.race([called(name, () => call(own.signal)), interrupted]);
    } finally {
      clearTimeout(timer);
      outer.removeEventListener('abort', stop);
    }
  }
}

/** What `rate` is told beside the completions. */
export interface RatingContext {
  readonly signal: AbortSignal;
  readonly trainerState?: TrainerState | undefined;
  readonly logger: Logger;
}

/** @throws REWARD_FAILED with the function's name for whatever it throws */
async function called<T>(name: string, call: () => T | Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw new AttuneError(
      'REWARD_FAILED',
      `the reward function "${name}" threw: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause, remedy: 'Mend it; or return null for completions that it cannot rate.' },
    );
  }
}

/** @throws REWARD_VALUE */
function checkRewards(values: unknown, name: string, given: CompletionsToRate): Float64Array {
  const wrong = (found: string, remedy: string) =>
    new AttuneError('REWARD_VALUE', `the reward function "${name}" ${found}.`, { remedy });
  const count = given.completions.length;
  const length = (values as { readonly length?: unknown } | null)?.length;
  if (typeof values !== 'object' || typeof length !== 'number')
    throw wrong(`gave ${show(values)}`, `Return an array of ${count} numbers, one a completion.`);
  if (length !== count)
    throw wrong(
      `gave ${length} rewards for ${count} completions`,
      'Return one for each completion, in their order; null for those without an opinion.',
    );
  return Float64Array.from(values as ArrayLike<unknown>, (value, n) => {
    if (value === null) return Number.NaN;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw wrong(
      `gave ${show(value)} for completion ${n}, ${describeRow(given, n)}`,
      typeof value === 'boolean'
        ? 'Return numbers: Number(condition).'
        : 'Return a finite number, or null where there is no opinion.',
    );
  });
}

const show = (value: unknown): string =>
  typeof value === 'string'
    ? JSON.stringify(value)
    : Array.isArray(value)
      ? 'a list'
      : String(value);

/** A completion and its prompt, briefly. */
export function describeRow({ prompts, completions }: CompletionsToRate, row: number): string {
  const brief = (text: unknown) => {
    const whole = JSON.stringify(text) ?? String(text);
    return whole.length > 80 ? `${whole.slice(0, 77)}...` : whole;
  };
  return `${brief(completions[row])} to the prompt ${brief(prompts[row])}`;
}

function checkCount(option: string, given: readonly unknown[] | null | undefined, count: number) {
  if (!given || given.length === count) return;
  throw new AttuneError(
    'REWARD_OPTION',
    `${option} has ${given.length} entries for ${count} rewardFuncs.`,
    { remedy: 'Give one for each, in their order.' },
  );
}

/** A function that is written in its place has no name, or that of the option. */
const nameOf = (source: RewardSource, index: number, all: readonly RewardSource[]): string =>
  typeof source !== 'function'
    ? 'reward_model'
    : source.name !== '' && source.name !== 'rewardFuncs'
      ? source.name
      : all.length === 1
        ? 'reward'
        : `reward_${index}`;

/** Names that are there already get their place behind them. */
const distinct = (names: readonly string[]): string[] =>
  names.map((name, i) => (names.indexOf(name) < i ? `${name}_${i}` : name));
