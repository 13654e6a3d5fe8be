import { type ChoiceRules, chooseTokens, NOT_FINITE } from '../../tensor/ops/chooseTokens.js';
import { argmax, sample } from '../../tensor/sampling.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AttuneError } from '../../util/errors.js';
import type { LanguageModel } from '../languageModel.js';
import type { LogitsProcessor, Place } from './logitsProcessors.js';
import { PaddedBatch } from './paddedBatch.js';
import { applyLogSoftmax } from './penalties.js';
import type { GenerationPlan } from './planGeneration.js';
import { choiceOf, processorsOf } from './processorList.js';
import { append, type Row, samplingStream, timer } from './rows.js';
import { checkLogits, scoresOf } from './scores.js';

/** Tokens of a row between two looks at them, at most; the first looks are sooner. */
const READ_EVERY = 16;

interface Walk {
  readonly model: LanguageModel;
  readonly plan: GenerationPlan;
  readonly rows: readonly Row[];
  readonly batch: PaddedBatch;
  readonly signal: AbortSignal | undefined;
}

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
  const batch = new PaddedBatch(model, plan);
  const walk: Walk = { model, plan, rows, batch, signal };
  const choice = choiceOf(plan);
  // What may end the answer at any token, other than a token, is asked after each.
  const often =
    isWatched || signal !== undefined || plan.maxTime !== null || plan.stopStrings.length > 0;
  try {
    yield* choice ? deviceSteps(walk, choice, often ? 1 : READ_EVERY) : hostSteps(walk);
  } finally {
    batch.dispose();
    if (wasTraining) model.root.train();
  }
}

/**
 * The device chooses, and feeds itself. Several steps are recorded before the host looks at their
 * tokens; what a row wrote behind its end is thrown away.
 */
async function* deviceSteps(
  { model, plan, rows, batch, signal }: Walk,
  choice: ChoiceRules,
  readEvery: number,
): AsyncGenerator<readonly number[]> {
  const { engine } = model;
  const isTimeOver = timer(plan);
  const streams = rows.flatMap((_, r) => [samplingStream + r, 0]);
  const held = engine.noGrad(() => ({
    streams: engine.keep(engine.tensor(streams, [rows.length, 2], 'int32')),
    next: engine.keep(engine.empty([rows.length, 1], 'int32')),
    report: engine.keep(engine.empty([rows.length, readEvery, 2])),
  }));
  const record = (draw: number, slot: number) =>
    engine.noGrad(() =>
      engine.scope('generate', () => {
        const logits =
          draw > 0 && batch.cacheServes
            ? batch.decode(held.next)
            : batch.prefill(rows.map((r) => r.ids));
        const { logProbs } = plan;
        chooseTokens(logits, held.streams, held, { ...choice, draw, slot, logProbs });
      }),
    );
  try {
    for (let step = 0, count = 0; step < plan.maxNewTokens; step += count) {
      signal?.throwIfAborted();
      // As many again as there are: an early end wastes no more than what was needed.
      const most = Math.min(readEvery, step + 1, plan.maxNewTokens - step);
      count = 0;
      do {
        record(step + count, count);
        engine.backend.flush();
        count++;
      } while (count < most && batch.cacheServes);
      const values = await held.report.data();
      const isLate = isTimeOver();
      for (let i = 0; i < count; i++) {
        yield rows.map((row, r) => {
          if (row.finished) return plan.padTokenId;
          const [token, logProb] = [0, 1].map((n) => values[(r * readEvery + i) * 2 + n]!);
          checkLogits(token === NOT_FINITE ? Number.NaN : 0, r, step + i);
          if (plan.logProbs) row.logProbs.push(logProb!);
          append(row, token!, plan, isLate);
          return token!;
        });
        if (rows.every((row) => row.finished)) return;
      }
    }
  } finally {
    for (const tensor of Object.values(held)) tensor.dispose();
  }
}

/** All logits come to the host at each step, for rules that look at them or at earlier tokens. */
async function* hostSteps({
  model,
  plan,
  rows,
  batch,
  signal,
}: Walk): AsyncGenerator<readonly number[]> {
  const { engine } = model;
  const { rules } = plan;
  const processors = processorsOf(plan);
  const isTimeOver = timer(plan);
  const longest = Math.max(...plan.prompts.map((prompt) => prompt.length));
  let next: readonly number[] = [];
  for (let step = 0; step < plan.maxNewTokens; step++) {
    signal?.throwIfAborted();
    const logits = engine.noGrad(() =>
      engine.scope('generate', () =>
        engine.keep(
          step > 0 && batch.cacheServes
            ? batch.decode(next)
            : batch.prefill(rows.map((r) => r.ids)),
        ),
      ),
    );
    const values = await readAndDispose(logits);
    const isLate = isTimeOver();
    next = rows.map((row, r) => {
      if (row.finished) return plan.padTokenId;
      const scores = scoresOf(values, rows.length, r, { prompt: r, step, rules });
      const logProbs = plan.logProbs ? scores.slice() : null;
      const { ids, prompt } = row;
      const place = { ids, prompt, step, length: longest + step };
      const token = chooseToken(scores, processors, row, plan, place);
      if (logProbs) {
        applyLogSoftmax(logProbs);
        row.logProbs.push(logProbs[token]!);
      }
      append(row, token, plan, isLate);
      return token;
    });
    yield next;
    if (rows.every((row) => row.finished)) return;
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
