import type { AttrValue } from '../../backend/opCall.js';
import { philox, toUnit } from '../../util/rng.js';
import { defineOp, type TensorSpec } from '../op.js';
import * as rules from '../sampling.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** How a token is chosen. */
export interface ChoiceRules {
  /** Draw by probability; else the first highest logit is taken, and the other rules are idle. */
  readonly doSample: boolean;
  /** Divides the logits; above 0. */
  readonly temperature: number;
  /** Only the k highest logits and all that equal the k-th; 0: all. */
  readonly topK: number;
  /** Only the fewest tokens whose probabilities reach this; 1: all. */
  readonly topP: number;
  /** Only tokens at least this times as likely as the likeliest; 0: all. */
  readonly minP: number;
  /** Whole number from 0 to 2^53 - 1. */
  readonly seed: number;
}

export interface ChooseTokensAttrs extends ChoiceRules, Record<string, AttrValue> {
  /** Which uniform number of its stream a row draws, before `first` is taken off. */
  readonly draw: number;
  /** Where in the report the row writes. */
  readonly slot: number;
  /** Report log-probabilities; else 0 stands for them. */
  readonly logProbs: boolean;
}

/** Marks a row whose logits are not finite in the report. */
export const NOT_FINITE = -1;

/**
 * Chooses a token for each row of logits. Nothing of size V leaves the device.
 *
 * Inputs: logits [B, V] and int32 [B, 2], for each row its stream of Philox and `first`, the draw
 * at which its stream begins. Written in place: int32 [B, 1], the tokens, as the next step reads
 * them; and float32 [B, K, 2], whose slot `slot` gets of each row the token (NOT_FINITE where a
 * logit is NaN or infinite: then the token is 0) and its log-probability.
 *
 * - The uniform number n = draw - first of a row is word n mod 4 of philox(counter [n div 4, 0,
 *   stream, 0], key [seed mod 2^32, seed div 2^32]), 24 bits of it.
 * - Temperature, top-k, top-p and min-p follow one another as in `transformers`. Top-p leaves out
 *   the lowest ids first among equal logits.
 * - The token is the first, by id, whose cumulative probability passes the uniform number.
 * - The log-probability is log softmax(logits)[token]: of the logits as they come, before
 *   temperature and before tokens are left out.
 */
export const chooseTokensOp = defineOp<ChooseTokensAttrs>({
  name: 'chooseTokens',
  infer: (specs, { slot }) => {
    const [logits, streams, next, report] = specs as [
      TensorSpec,
      TensorSpec,
      TensorSpec,
      TensorSpec,
    ];
    const [rows, width] = logits.shape;
    const [, slots] = report.shape;
    const fits =
      logits.shape.length === 2 &&
      width! > 0 &&
      streams.shape.join() === `${rows},2` &&
      numel(next.shape) === rows &&
      report.shape.join() === `${rows},${slots},2` &&
      slot < slots!;
    requireFit(
      fits,
      'chooseTokens',
      specs,
      'Give logits [B, V], int32 [B, 2] and [B, 1], [B, K, 2]',
    );
    return [];
  },
  reference: ({ inputs: [logits, streams], outputs: [next, report], attrs }) => {
    const [rows, width] = logits!.shape as [number, number];
    const slots = report!.shape[1]!;
    for (let row = 0; row < rows; row++) {
      const raw = Float64Array.from(logits!.data.subarray(row * width, (row + 1) * width));
      const finite = raw.every(Number.isFinite);
      const [stream, first] = streams!.data.subarray(2 * row, 2 * row + 2) as Int32Array;
      const token = finite ? choose(raw, attrs, stream!, attrs.draw - first!) : 0;
      next!.data[row] = token;
      const at = (row * slots + attrs.slot) * 2;
      report!.data[at] = finite ? token : NOT_FINITE;
      report!.data[at + 1] = attrs.logProbs && finite ? logProbability(raw, token) : 0;
    }
  },
});

function choose(raw: Float64Array, attrs: ChoiceRules, stream: number, draw: number): number {
  if (!attrs.doSample) return rules.argmax(raw);
  const scores = raw.slice();
  rules.applyTemperature(scores, attrs.temperature);
  if (attrs.topK > 0) rules.applyTopK(scores, attrs.topK);
  rules.applyTopP(scores, attrs.topP);
  if (attrs.minP > 0) rules.applyMinP(scores, attrs.minP);
  return rules.sample(scores, { uniform: () => uniformOf(attrs.seed, stream, draw) });
}

/** Number n of a stream: what `new Rng(seed, stream)` gives at its n-th call, from 0. */
const uniformOf = (seed: number, stream: number, n: number): number =>
  toUnit(
    philox([n >>> 2, 0, stream >>> 0, 0], [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0])[n & 3]!,
  );

function logProbability(raw: Float64Array, token: number): number {
  const top = raw.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return raw[token]! - top - Math.log(raw.reduce((sum, s) => sum + Math.exp(s - top), 0));
}

/** Records {@link chooseTokensOp}. */
export function chooseTokens(
  logits: Tensor,
  streams: Tensor,
  { next, report }: { readonly next: Tensor; readonly report: Tensor },
  attrs: ChooseTokensAttrs,
): void {
  logits.engine.runInto(chooseTokensOp, [logits, streams], [next, report], attrs);
}
