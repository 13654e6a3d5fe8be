import { inference } from '../../models/inference.js';
import { type LanguageModel, longestInput } from '../../models/languageModel.js';
import { collatePredictions } from '../../objectives/predictedRows.js';
import { sequenceLogProbs } from '../../objectives/sequenceLogProbs.js';
import { IGNORE_INDEX, type TokenExample } from '../../text/collator.js';
import type { TextTokenizer } from '../../text/tokenizeRow.js';
import { upload } from '../../training/upload.js';
import { AttuneError } from '../../util/errors.js';
import type { EvaluationTaskContext } from './evaluationTask.js';

/** A continuation whose log-likelihood after a context is asked for. */
export interface LogLikelihoodRequest {
  /** What the model has read; may be empty. */
  readonly context: string;
  /** What is judged. */
  readonly continuation: string;
}

/** What a model thinks of a continuation. */
export interface LogLikelihood {
  /** log p(continuation | context), nats. */
  readonly logLikelihood: number;
  /** Whether greedy decoding would have written it. */
  readonly isGreedy: boolean;
  /** Tokens of the continuation. */
  readonly numTokens: number;
}

/**
 * Log-likelihoods of continuations, in the order of the requests.
 *
 * Tokens are split as lm_eval splits them: white space at the end of the context counts to the
 * continuation, and the continuation is what context + continuation has more tokens than the
 * context. A pair that is longer than the model allows loses the beginning of its context.
 *
 * @throws TASK_REQUEST for a continuation without tokens, or longer than the model allows
 */
export async function logLikelihoods(
  { model, tokenizer, batchSize, signal }: EvaluationTaskContext,
  requests: readonly LogLikelihoodRequest[],
): Promise<LogLikelihood[]> {
  const most = longestInput(model);
  const pairs = requests.map((request) => encodePair(tokenizer, request, most));
  // Long ones first: batches of similar lengths, and memory that does not suffice shows at once.
  const order = pairs.map((_, i) => i).sort((a, b) => pairs[b]!.ids.length - pairs[a]!.ids.length);
  const results: LogLikelihood[] = new Array(pairs.length);
  for (let at = 0; at < order.length; at += batchSize) {
    signal?.throwIfAborted();
    const indices = order.slice(at, at + batchSize);
    const scored = await scoreBatch(
      model,
      indices.map((i) => pairs[i]!),
    );
    indices.forEach((i, row) => {
      results[i] = scored[row]!;
    });
  }
  return results;
}

interface Pair {
  readonly ids: readonly number[];
  /** How many of them, at the end, are judged. */
  readonly judged: number;
}

function encodePair(tokenizer: TextTokenizer, request: LogLikelihoodRequest, most: number): Pair {
  const context = request.context.trimEnd();
  const continuation = request.context.slice(context.length) + request.continuation;
  const whole = tokenizer.encode(context + continuation);
  const before = context === '' ? [] : tokenizer.encode(context);
  // Without a context the first token is predicted from the token that begins or ends texts.
  const start = tokenizer.encode('')[0] ?? tokenizer.eosTokenId ?? null;
  const needsStart = before.length === 0 && whole[0] !== start;
  if (needsStart && start === null)
    throw requestError(
      request,
      'has no context, and the tokenizer no token to begin with',
      'Give a context.',
    );
  const ids = needsStart ? [start!, ...whole] : whole;
  const judged = needsStart
    ? whole.length
    : whole.length - Math.max(before.length, context === '' ? 1 : 0);
  if (judged < 1) throw requestError(request, 'has no tokens', 'Leave such choices out.');
  if (judged >= most)
    throw requestError(
      request,
      `has ${judged} tokens, but the model has positions for ${most}`,
      'Shorten it.',
    );
  return { ids: ids.slice(-most), judged };
}

const requestError = (
  { context, continuation }: LogLikelihoodRequest,
  problem: string,
  remedy: string,
): AttuneError =>
  new AttuneError(
    'TASK_REQUEST',
    `the continuation ${JSON.stringify(continuation.slice(0, 60))} of ${JSON.stringify(context.slice(-60))} ${problem}.`,
    { remedy },
  );

/**
 * One forward pass; the head sees the judged positions alone, and no logits outlive a chunk of
 * them.
 */
async function scoreBatch(model: LanguageModel, pairs: readonly Pair[]): Promise<LogLikelihood[]> {
  const { engine } = model;
  const examples: TokenExample[] = pairs.map(({ ids, judged }) => ({
    inputIds: ids,
    labels: ids.map((id, t) => (t < ids.length - judged ? IGNORE_INDEX : id)),
  }));
  const batch = collatePredictions(examples, longestInput(model));
  const { perToken, correct } = engine.scope('logLikelihoods', () =>
    inference(model, () => {
      const options = { perToken: true, withCorrect: true };
      const found = sequenceLogProbs(model, upload(engine, batch, model), options);
      return { perToken: found.perToken!, correct: found.correct! };
    }),
  );
  const logProbs = await perToken.data();
  const numCorrect = await correct.data();
  perToken.dispose();
  correct.dispose();
  const width = batch.labels.shape[1];
  return pairs.map(({ judged }, row) => {
    // Added up in float64: scores of long answers are compared by small differences.
    let logLikelihood = 0;
    for (let t = 0; t < width; t++) logLikelihood += logProbs[row * width + t]!;
    return { logLikelihood, isGreedy: numCorrect[row] === judged, numTokens: judged };
  });
}
