import type { Rng } from '../util/rng.js';

/**
 * How a token is chosen of one row of scores: the meaning of the op `chooseTokens`, and the host's
 * way where a rule needs all scores. Minus infinity means: never.
 *
 * Order and rules are those of transformers' generation/logits_process.py: temperature, top-k,
 * top-p, min-p.
 */

const never = Number.NEGATIVE_INFINITY;

/** score / temperature. */
export function applyTemperature(scores: Float64Array, temperature: number): void {
  for (let i = 0; i < scores.length; i++) scores[i] = scores[i]! / temperature;
}

/** Keeps the k highest scores, and all that equal the k-th. */
export function applyTopK(scores: Float64Array, k: number): void {
  if (k >= scores.length) return;
  const kth = Float64Array.from(scores).sort()[scores.length - k]!;
  for (let i = 0; i < scores.length; i++) if (scores[i]! < kth) scores[i] = never;
}

/**
 * Keeps the fewest most likely tokens whose probabilities reach p (Holtzman et al.,
 * arXiv:1904.09751); at least one.
 */
export function applyTopP(scores: Float64Array, p: number): void {
  if (p >= 1) return;
  const probabilities = softmax(scores);
  const ascending = Uint32Array.from(scores, (_, i) => i).sort((a, b) => scores[a]! - scores[b]!);
  let below = 0;
  for (const id of ascending.subarray(0, -1)) {
    below += probabilities[id]!;
    if (below > 1 - p) break;
    scores[id] = never;
  }
}

/** Drops tokens less likely than `minP` times the likeliest (Nguyen et al., arXiv:2407.01082). */
export function applyMinP(scores: Float64Array, minP: number): void {
  const probabilities = softmax(scores);
  const threshold = minP * probabilities.reduce((a, b) => Math.max(a, b), 0);
  for (let i = 0; i < scores.length; i++) if (probabilities[i]! < threshold) scores[i] = never;
}

export function softmax(scores: Float64Array): Float64Array {
  const top = scores.reduce((a, b) => Math.max(a, b), never);
  const out = scores.map((s) => Math.exp(s - top));
  const total = out.reduce((a, b) => a + b, 0);
  return out.map((e) => e / total);
}

/** The first highest score. */
export function argmax(scores: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < scores.length; i++) if (scores[i]! > scores[best]!) best = i;
  return best;
}

/**
 * Draws a token by its probability: the first whose cumulative probability passes a uniform number.
 */
export function sample(scores: Float64Array, rng: Pick<Rng, 'uniform'>): number {
  const probabilities = softmax(scores);
  const target = rng.uniform();
  let passed = 0;
  let last = 0;
  for (let i = 0; i < probabilities.length; i++) {
    if (probabilities[i] === 0) continue;
    last = i;
    passed += probabilities[i]!;
    if (target < passed) return i;
  }
  return last; // the sum fell short of 1 by rounding
}
