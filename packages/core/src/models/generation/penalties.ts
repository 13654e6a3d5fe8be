/**
 * Logits processors, in place on one row of scores. Minus infinity means: never. The rules are
 * those of transformers' generation/logits_process.py.
 */

const never = Number.NEGATIVE_INFINITY;

/**
 * Scores of tokens already seen: divided by the penalty when positive, multiplied when negative
 * (Keskar et al., arXiv:1909.05858).
 */
export function applyRepetitionPenalty(
  scores: Float64Array,
  seen: Iterable<number>,
  penalty: number,
): void {
  for (const id of new Set(seen)) {
    const score = scores[id]!;
    scores[id] = score < 0 ? score * penalty : score / penalty;
  }
}

/** Scores become log-probabilities. */
export function applyLogSoftmax(scores: Float64Array): void {
  const top = scores.reduce((a, b) => Math.max(a, b), never);
  const total = Math.log(scores.reduce((sum, s) => sum + Math.exp(s - top), 0));
  for (let i = 0; i < scores.length; i++) scores[i] = scores[i]! - top - total;
}
