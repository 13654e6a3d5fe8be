import { softmax } from '../../tensor/sampling.js';

/**
 * Ways beside top-k, top-p and min-p to leave unlikely tokens out before one is drawn, in place on
 * one row of scores; at least one stays. As in transformers' generation/logits_process.py.
 */

const never = Number.NEGATIVE_INFINITY;

/** In nats. */
const entropyOf = (probabilities: Float64Array): number =>
  -probabilities.reduce((sum, p) => (p > 0 ? sum + p * Math.log(p) : sum), 0);

/**
 * Keeps the tokens whose information is nearest to the entropy, until their probabilities reach
 * `mass` (Meister et al., arXiv:2202.00666).
 */
export function applyTypicalP(scores: Float64Array, mass: number): void {
  const probabilities = softmax(scores);
  const entropy = entropyOf(probabilities);
  const distances = probabilities.map((p) => Math.abs(-Math.log(p) - entropy));
  const order = Uint32Array.from(scores, (_, i) => i).sort((a, b) =>
    distances[a]! === distances[b]! ? a - b : distances[a]! - distances[b]!,
  );
  let last = 0;
  for (let sum = probabilities[order[0]!]!; sum < mass && last < order.length - 1; last++)
    sum += probabilities[order[last + 1]!]!;
  const limit = distances[order[last]!]!;
  for (const id of order.subarray(1)) if (distances[id]! > limit) scores[id] = never;
}

/** Drops tokens less likely than `epsilon` (Hewitt et al., arXiv:2210.15191). */
export function applyEpsilonCutoff(scores: Float64Array, epsilon: number): void {
  dropBelow(scores, softmax(scores), epsilon);
}

/** Drops tokens less likely than min(epsilon, sqrt(epsilon) e^-entropy) (the same paper). */
export function applyEtaCutoff(scores: Float64Array, epsilon: number): void {
  const probabilities = softmax(scores);
  const limit = Math.min(epsilon, Math.sqrt(epsilon) * Math.exp(-entropyOf(probabilities)));
  dropBelow(scores, probabilities, limit);
}

function dropBelow(scores: Float64Array, probabilities: Float64Array, limit: number): void {
  const top = scores.reduce((a, b) => Math.max(a, b), never);
  for (let i = 0; i < scores.length; i++)
    if (probabilities[i]! < limit && scores[i]! < top) scores[i] = never;
}

/** Tokens that top-h looks at. */
const MOST = 100;

/**
 * Keeps the likeliest tokens until their part of the entropy passes `share` of it (Potraghloo et
 * al., arXiv:2509.02510).
 */
export function applyTopH(scores: Float64Array, share: number): void {
  const order = Uint32Array.from(scores, (_, i) => i).sort((a, b) =>
    scores[a]! === scores[b]! ? a - b : scores[b]! - scores[a]!,
  );
  const most = order.subarray(0, MOST);
  const probabilities = softmax(Float64Array.from(most, (id) => scores[id]!));
  const limit = entropyOf(probabilities) * share;
  const kept = new Set([order[0]!]);
  let sum = 0;
  most.forEach((id, i) => {
    const p = probabilities[i]!;
    sum += p > 0 ? -p * Math.log(p) : 0;
    // All of it is all tokens, whichever way the sums were rounded.
    if (sum <= limit * (1 + 1e-9)) kept.add(id);
  });
  for (const id of order) if (!kept.has(id)) scores[id] = never;
}
