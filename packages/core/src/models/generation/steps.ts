import { argmax, sample } from '../../tensor/sampling.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AttuneError } from '../../util/errors.js';
import type { LanguageModel } from '../languageModel.js';
import { deviceSteps, type Walk } from './deviceSteps.js';
import type { LogitsProcessor, Place } from './logitsProcessors.js';
import { PaddedBatch } from './paddedBatch.js';
import { applyLogSoftmax } from './penalties.js';
import type { GenerationPlan } from './planGeneration.js';
import { choiceOf, processorsOf } from './processorList.js';
import { append, type Row, timer } from './rows.js';
import { scoresOf } from './scores.js';

/**
 * Yields, step by step, the token of every row (the padding token for rows that ended before).
 *
 * @param isWatched whether each token is wanted as soon as it is known
 */
export async function* steps(
  model: LanguageModel,
  plan: GenerationPlan,
  rows: readonly Row[],
  { signal, isWatched }: { readonly signal: AbortSignal | undefined; readonly isWatched: boolean },
): AsyncGenerator<readonly number[]> {
  const wasTraining = model.root.training;
  if (wasTraining) model.root.eval();
  const choice = choiceOf(plan);
  // What may end the answer at any token, other than a token, is asked after each.
  const often =
    isWatched || signal !== undefined || plan.maxTime !== null || plan.stopStrings.length > 0;
  const walk: Walk = { model, plan, signal, isLate: timer(plan) };
  const waiting = [...rows];
  try {
    while (waiting.length > 0) {
      const slots = waiting.splice(0, plan.batchSize);
      if (choice) yield* deviceSteps(walk, { slots, waiting, choice, often });
      else yield* hostSteps(walk, slots);
      if (walk.isLate()) for (const row of waiting.splice(0)) row.finished = 'time';
    }
  } finally {
    if (wasTraining) model.root.train();
  }
}

/** All logits come to the host at each step, for rules that look at them or at earlier tokens. */
async function* hostSteps(
  { model, plan, signal, isLate }: Walk,
  rows: readonly Row[],
): AsyncGenerator<readonly number[]> {
  const { engine } = model;
  const { rules } = plan;
  const processors = processorsOf(plan);
  const longest = Math.max(...plan.prompts.map((prompt) => prompt.length));
  const batch = new PaddedBatch(model, plan, rows.length);
  let next: readonly number[] = [];
  try {
    for (let step = 0; step < plan.maxNewTokens; step++) {
      signal?.throwIfAborted();
      const logits = engine.noGrad(() =>
        engine.scope('generate', () =>
          engine.keep(
            step > 0 && batch.cacheServes
              ? batch.decode(next)
              : batch.prefill(rows.map((row) => row.ids)),
          ),
        ),
      );
      const values = await readAndDispose(logits);
      const late = isLate();
      next = rows.map((row, r) => {
        if (row.finished) return plan.padTokenId;
        const { ids, prompt, index } = row;
        const scores = scoresOf(values, rows.length, r, { prompt: index, step, rules });
        const logProbs = plan.logProbs ? scores.slice() : null;
        const place = { ids, prompt, step, length: longest + step };
        const token = chooseToken(scores, processors, row, plan, place);
        if (logProbs) {
          applyLogSoftmax(logProbs);
          row.logProbs.push(logProbs[token]!);
        }
        append(row, token, plan, late);
        return token;
      });
      yield next;
      if (rows.every((row) => row.finished)) return;
    }
  } finally {
    batch.dispose();
  }
}

export async function readAndDispose(tensor: Tensor): Promise<ArrayLike<number>> {
  try {
    return await tensor.data();
  } finally {
    tensor.dispose();
  }
}

/** @throws GENERATE_NO_TOKEN when every token is ruled out */
function chooseToken(
  scores: Float64Array,
  processors: readonly LogitsProcessor[],
  row: Row,
  plan: GenerationPlan,
  place: Place,
): number {
  for (const process of processors) process(scores, place);
  const best = argmax(scores);
  if (scores[best] === Number.NEGATIVE_INFINITY)
    throw new AttuneError(
      'GENERATE_NO_TOKEN',
      `generate: after ${place.step} new tokens every token is ruled out.`,
      {
        remedy:
          'Rule out less: suppressTokens, badWordsIds, noRepeatNgramSize and minNewTokens work together.',
      },
    );
  return plan.doSample ? sample(scores, row.rng) : best;
}
