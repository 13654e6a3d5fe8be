import { z } from 'zod';
import { shareRows } from '../../distributed/exchange.js';
import { generative } from '../../models/languageModel.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import { AttuneError } from '../../util/errors.js';
import { type OptionsInput, parseOptions } from '../../util/options.js';
import { type EvaluationTask, taskRows } from './evaluationTask.js';
import { type ExactMatchOptions, exactMatch, exactMatchShape, meansWithErrors } from './metrics.js';

/** A prompt and its answer. */
export interface GenerateRow {
  readonly prompt: string;
  /** The right answer, or all answers that count. */
  readonly answer: string | readonly string[];
}

const generateTaskShape = {
  /** What its metrics are called after: "gsm8k" gives evalGsm8kExactMatch. */
  name: z.string().min(1),
  /** Prompts with their answers. */
  rows: taskRows<GenerateRow>().meta({ aka: 'dataset data examples' }),
  /** Most tokens of an answer. Default 64. */
  maxNewTokens: z.int().min(1).default(64).meta({ aka: 'maxtokens' }),
  /** Where an answer ends; what follows is cut off, these texts too. Default none. */
  stopStrings: z.array(z.string()).readonly().default([]).meta({ aka: 'stop until' }),
  /**
   * Text of the model -> answer, e.g. the last number in it. Default: without white space at its
   * ends.
   */
  filter: z
    .custom<(text: string) => string>((value) => typeof value === 'function', 'expected a function')
    .default(() => (text: string) => text.trim()),
};
const generateTaskOptions = z.strictObject({ ...generateTaskShape, ...exactMatchShape });

/** Options of {@link generateTask}. */
export type GenerateTaskOptions = OptionsInput<typeof generateTaskShape> & ExactMatchOptions;

/**
 * A task of questions that the model answers in words. It generates greedily, and gives
 * `exactMatch` with the answers and its standard error.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; EVALUATION_TASK for no rows
 */
export function generateTask(options: GenerateTaskOptions): EvaluationTask {
  const { name, rows, maxNewTokens, stopStrings, filter, ...match } = parseOptions(
    generateTaskOptions,
    options,
    { where: 'generateTask' },
  );
  if (rows.length === 0)
    throw new AttuneError('EVALUATION_TASK', `task "${name}" has no rows.`, {
      remedy: 'Give at least one row { prompt, answer }.',
    });
  return {
    name,
    async evaluate({ model, tokenizer, batchSize, signal, communicator }) {
      const decode = tokenizer.decode?.bind(tokenizer);
      if (!decode)
        throw new AttuneError('EVALUATION_TASK', 'the tokenizer cannot decode.', {
          remedy: 'Give one of AutoTokenizer.',
        });
      const writer = generative(model, 'generateTask');
      const score = async (own: readonly GenerateRow[]) => {
        const scores: { exactMatch: number }[] = [];
        for (let at = 0; at < own.length; at += batchSize) {
          signal?.throwIfAborted();
          const batch = own.slice(at, at + batchSize);
          const inputIds = batch.map(({ prompt }) => [...tokenizer.encode(prompt)]);
          const { sequences } = await writer.generate({
            inputIds,
            maxNewTokens,
            doSample: false,
            ...(signal && { signal }),
            // Others cannot watch a stream: their answers are cut when they are whole.
            ...(stopStrings.length > 0 &&
              tokenizer instanceof Tokenizer && { stopStrings, tokenizer }),
          });
          batch.forEach(({ answer }, i) => {
            const text = cut(decode(sequences[i]!.slice(inputIds[i]!.length)), stopStrings);
            const hits = [answer].flat().map((one) => exactMatch(filter(text), one, match));
            scores.push({ exactMatch: Math.max(...hits) });
          });
        }
        return scores;
      };
      return meansWithErrors(await shareRows(communicator, rows, score));
    },
  };
}

/** Up to the first of the stop strings. */
function cut(text: string, stops: readonly string[]): string {
  const ends = stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
  return ends.length > 0 ? text.slice(0, Math.min(...ends)) : text;
}
