import { AutoTokenizer } from '../../tokenizer/autoTokenizer.js';
import type { DecodeStream } from '../../tokenizer/decodeStream.js';
import { AttuneError } from '../../util/errors.js';
import { Rng } from '../../util/rng.js';
import type { LanguageModel } from '../languageModel.js';
import type { GenerateOptions, GenerateOutput } from './generateOptions.js';
import type { GenerationPlan } from './planGeneration.js';

/** The stream of Philox that sampling draws from; rows use streams from here on. */
export const samplingStream = 0x67656e; // 'gen'

/** One sequence on its way. */
export interface Row {
  /** Which of the prompts it continues. */
  readonly index: number;
  readonly prompt: readonly number[];
  readonly ids: number[];
  /** One for each new token, where the plan asks for them. */
  readonly logProbs: number[];
  /** Which of the random numbers of a seed it draws. */
  readonly stream: number;
  readonly rng: Rng;
  readonly text: StopWatch | null;
  finished: GenerateOutput['finishReasons'][number] | null;
}

export async function newRows(
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
): Promise<Row[]> {
  const tokenizer = await stopTokenizer(model, plan, options);
  return plan.prompts.map((prompt, index) => {
    const stream = samplingStream + plan.streams[index]!;
    return {
      index,
      prompt,
      ids: [...prompt],
      logProbs: [],
      stream,
      rng: new Rng(plan.seed, stream),
      text: tokenizer
        ? new StopWatch(
            plan.stopStrings,
            tokenizer.createDecodeStream({ skipSpecialTokens: false }),
          )
        : null,
      finished: null,
    };
  });
}

/** The row has one token more, and may end with it. */
export function append(row: Row, token: number, plan: GenerationPlan, isLate: boolean): void {
  row.ids.push(token);
  row.finished =
    reasonToStop(row, token, plan) ??
    (isLate ? 'time' : numNew(row) === plan.maxNewTokens ? 'length' : null);
}

/** Tokens of the answer so far. */
export const numNew = (row: Row): number => row.ids.length - row.prompt.length;

function reasonToStop(row: Row, token: number, plan: GenerationPlan): Row['finished'] {
  if (plan.eosTokenIds.has(token)) return 'eos';
  if (row.text?.sees(token)) return 'stop';
  return null;
}

/** Reads the stop strings; null where there are none. */
export const stopTokenizer = async (
  model: LanguageModel,
  plan: GenerationPlan,
  options: GenerateOptions,
) => (plan.stopStrings.length > 0 ? (options.tokenizer ?? (await ownTokenizer(model))) : null);

async function ownTokenizer(model: LanguageModel) {
  try {
    return await AutoTokenizer.fromPretrained(model.folder ?? '');
  } catch (cause) {
    throw new AttuneError(
      'GENERATE_OPTION',
      `generate: stopStrings needs a tokenizer, and "${model.nameOrPath}" has none.`,
      { remedy: 'Pass tokenizer: await AutoTokenizer.fromPretrained(folder).', cause },
    );
  }
}

/** Whether the time of a plan is over, from now on. */
export function timer({ maxTime }: GenerationPlan): () => boolean {
  const start = performance.now();
  return () => maxTime !== null && performance.now() - start > 1000 * maxTime;
}

/** Watches the text of an answer for stop strings, also across tokens. */
class StopWatch {
  readonly #longest: number;
  #tail = '';

  constructor(
    private readonly stops: readonly string[],
    private readonly decoder: DecodeStream,
  ) {
    this.#longest = Math.max(...stops.map((s) => s.length));
  }

  sees(token: number): boolean {
    const text = this.#tail + this.decoder.push(token);
    this.#tail = text.slice(-(this.#longest - 1) || text.length);
    return this.stops.some((stop) => text.includes(stop));
  }
}
