import * as ops from '../../tensor/ops/index.js';
import { type Draw, exact, f32, i32, normal, type OpCase, opCase, values } from '../opCase.js';

const plain: ops.ChooseTokensAttrs = {
  ...{ doSample: true, temperature: 1, topK: 0, topP: 1, minP: 0, seed: 7 },
  ...{ draw: 5, slot: 1, logProbs: false },
};
/** `topP` is no share that a whole number of equal tokens has: there rounding would choose. */
const forms: Readonly<Record<string, Partial<ops.ChooseTokensAttrs>>> = {
  greedy: { doSample: false },
  greedyLogProbs: { doSample: false, logProbs: true },
  all: {},
  allLogProbs: { logProbs: true, temperature: 1.5 },
  topK: { topK: 50 },
  topK1: { topK: 1, temperature: 0.6 },
  topP: { topP: 0.9017 },
  topP0: { topP: 0 },
  minP: { minP: 0.05 },
  minP1: { minP: 1 },
  together: { temperature: 0.7, topK: 20, topP: 0.8123, minP: 0.02, seed: 2 ** 40 + 3, draw: 1000 },
};

/** Few distinct numbers: many are the largest, many the last that stays. */
const coarse: Draw = (rng, size) => Float64Array.from({ length: size }, () => rng.below(5) - 2);
/** Mostly one token; far from 0. */
const peaked: Draw = (rng, size) =>
  Float64Array.from({ length: size }, () => 60 + 8 * rng.normal());
/** Each row's stream, and the draw at which it begins. */
const streams: Draw = (_, size) =>
  Int32Array.from({ length: size }, (_value, i) => (i % 2 === 0 ? 0x67656e + i : i % 5));

/** Tokens are exact; log-probabilities come from sums of float32. */
const reported = { abs: 1e-5, rel: 1e-6 };

const choose = (
  name: string,
  [rows, width]: readonly [number, number],
  draw: Draw,
  attrs: Partial<ops.ChooseTokensAttrs>,
): OpCase =>
  opCase(
    ops.chooseTokensOp,
    `${rows}x${width}-${name}`,
    [f32([rows, width], draw), i32([rows, 2], streams)],
    { ...plain, ...attrs } as ops.ChooseTokensAttrs,
    reported,
    {
      targets: [i32([rows, 1], values(0)), f32([rows, 3, 2])],
      tolerances: [exact, reported],
    },
  );

export const chooseTokensCases: readonly OpCase[] = [
  ...(
    [
      [3, 1],
      [2, 63],
      [1, 64],
      [2, 257],
      [40, 1000],
      [3, 4099],
    ] as const
  ).flatMap((shape) =>
    Object.entries(forms).flatMap(([name, attrs]) => [
      choose(name, shape, normal(2), attrs),
      choose(`${name}-ties`, shape, coarse, attrs),
      choose(`${name}-peaked`, shape, peaked, attrs),
    ]),
  ),
  // The largest vocabularies.
  ...(['greedyLogProbs', 'allLogProbs', 'together'] as const).map((name) =>
    choose(name, [2, 256_000], normal(3), forms[name]!),
  ),
  ...Object.entries(forms).map(([name, attrs]) =>
    choose(
      `${name}-not-finite`,
      [4, 6],
      values(0, 1, Number.NaN, 2, 3, 4, 0, Number.POSITIVE_INFINITY, 1, 2, 3, 4),
      { ...attrs, topK: 2 },
    ),
  ),
];
