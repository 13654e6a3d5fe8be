import { shareRows } from '../../distributed/exchange.js';
import { generative } from '../../models/languageModel.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import { AttuneError } from '../../util/errors.js';
import type { EvaluationTask } from './evaluationTask.js';
import { type ExactMatchOptions, exactMatch, meansWithErrors } from './metrics.js';

/** A prompt and its answer. */
export interface GenerateRow {
  readonly prompt: string;
  /** The right answer, or all answers that count. */
  readonly answer: string | readonly string[];
}

/** Options of {@link generateTask}. */
export interface GenerateTaskOptions extends ExactMatchOptions {
  /** What its metrics are called after: "gsm8k" gives evalGsm8kExactMatch. */
  readonly name: string;
  /** Prompts with their answers. */
  readonly rows: readonly GenerateRow[];
  /** Most tokens of an answer. Default 64. */
  readonly maxNewTokens?: number;
  /** Where an answer ends; what follows is cut off, these texts too. Default none. */
  readonly stopStrings?: readonly string[];
  /**
   * Text of the model -> answer, e.g. the last number in it. Default: without white space at its
   * ends.
   */
  readonly filter?: (text: string) => string;
}

/**
 * A task of questions that the model answers in words. It generates greedily, and gives
 * `exactMatch` with the answers and its standard error.
 *
 * @throws EVALUATION_TASK for no rows
 */
export function generateTask(options: GenerateTaskOptions): EvaluationTask {
  const { name, rows, maxNewTokens = 64, stopStrings = [] } = options;
  const filter = options.filter ?? ((text: string) => text.trim());
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
            const hits = [answer].flat().map((one) => exactMatch(filter(text), one, options));
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
