import { z } from 'zod';
import { shareRows } from '../../distributed/exchange.js';
import { AttuneError } from '../../util/errors.js';
import { type OptionsInput, parseOptions } from '../../util/options.js';
import { type EvaluationTask, type EvaluationTaskContext, taskRows } from './evaluationTask.js';
import { logLikelihoods } from './logLikelihoods.js';
import { type ChoiceScore, meansWithErrors, scoreChoices } from './metrics.js';

/** A question with its choices. */
export interface ChoiceRow {
  /** The question as the model reads it. */
  readonly context: string;
  readonly choices: readonly string[];
  /** Index of the right choice, or of all that are right. */
  readonly answer: number | readonly number[];
}

const loglikelihoodTaskShape = {
  /** What its metrics are called after: "arc" gives evalArcAcc. */
  name: z.string().min(1),
  /** Contexts with their choices and the index of the right one. */
  rows: taskRows<ChoiceRow>().meta({ aka: 'dataset data examples' }),
  /** Between context and choice. Default " ", as in lm_eval. Not part of what `accNorm` counts. */
  targetDelimiter: z.string().default(' ').meta({ aka: 'delimiter separator' }),
};
const loglikelihoodTaskOptions = z.strictObject(loglikelihoodTaskShape);

/** Options of {@link loglikelihoodTask}. */
export type LoglikelihoodTaskOptions = OptionsInput<typeof loglikelihoodTaskShape>;

/**
 * A task of multiple choice by likelihood. Each choice is judged as a continuation of the context,
 * and the likeliest is the model's answer. Metrics are those of lm_eval: `acc`, `accNorm` (per
 * character of the choice), `accBytes` (per byte) and their standard errors.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; EVALUATION_TASK for no rows, or an answer that is none of
 *   the choices
 */
export function loglikelihoodTask(options: LoglikelihoodTaskOptions): EvaluationTask {
  const { name, rows, targetDelimiter } = parseOptions(loglikelihoodTaskOptions, options, {
    where: 'loglikelihoodTask',
  });
  if (rows.length === 0)
    throw new AttuneError('EVALUATION_TASK', `task "${name}" has no rows.`, {
      remedy: 'Give at least one row { context, choices, answer }.',
    });
  rows.forEach(({ choices, answer }, i) => {
    const wrong = [answer].flat().find((index) => choices[index] === undefined);
    if (wrong === undefined && [answer].flat().length > 0) return;
    throw new AttuneError(
      'EVALUATION_TASK',
      `task "${name}", row ${i}: answer ${JSON.stringify(answer)} is none of its ${choices.length} choices.`,
      { remedy: 'Count choices from 0.' },
    );
  });
  return {
    name,
    async evaluate(context) {
      const score = (own: readonly ChoiceRow[]) => scoreRows(context, own, targetDelimiter);
      return meansWithErrors(await shareRows(context.communicator, rows, score));
    },
  };
}

/** The scores of each row; all choices go through the model together. */
async function scoreRows(
  context: EvaluationTaskContext,
  rows: readonly ChoiceRow[],
  targetDelimiter: string,
): Promise<Record<keyof ChoiceScore, number>[]> {
  const requests = rows.flatMap((row) =>
    row.choices.map((choice) => ({
      context: row.context,
      continuation: targetDelimiter + choice,
    })),
  );
  const scored = (await logLikelihoods(context, requests)).map((s) => s.logLikelihood);
  let at = 0;
  return rows.map(({ choices, answer }) => {
    const own = scored.slice(at, at + choices.length);
    at += choices.length;
    return { ...scoreChoices(own, choices, answer) };
  });
}
