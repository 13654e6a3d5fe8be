import type { DType } from '@attune/core';
import type { Operand } from '@attune/core/backend';
import { f32, grid1d, type Stage, u32 } from '../kernel.js';
import { stage } from '../stage.js';
import { addendOf, epilogueKey, type Problem, stored } from './problem.js';

/** Enough workgroups to keep a GPU of some hundred cores busy. */
export const BUSY = 192;
/** A share of k below this is not worth a pass over the parts. */
const LEAST_SHARE = 256;
const MOST_SHARES = 16;

/** Into how many shares k is split, so that `workgroups` without a split become enough. */
export const splitsFor = (workgroups: number, k: number): number =>
  Math.max(1, Math.min(Math.ceil(BUSY / workgroups), Math.floor(k / LEAST_SHARE), MOST_SHARES));

/**
 * A product as one dispatch or, when k is split, as one that makes parts and one that adds them up.
 *
 * @param product the dispatch that makes `splits` products, of shares of k, or the one product
 */
export function inParts(
  problem: Problem,
  splits: number,
  scratch: (elements: number, dtype: DType) => Operand,
  product: (problem: Problem) => Stage,
): Stage[] {
  if (splits === 1) return [product(problem)];
  const { m, n, batch } = problem;
  const parts = scratch(splits * batch * m * n, 'float32');
  const sums = { scale: 1, plus: 'nothing', addend: [], addendDtype: null, out: parts } as const;
  return [product({ ...problem, ...sums }), sumOfParts(problem, parts, splits)];
}

/**
 * out = scale * sum of the parts + what `plus` says; in their order, so that the sum is the same
 * every time.
 */
function sumOfParts(problem: Problem, parts: Operand, splits: number): Stage {
  const { m, n, batch, scale, plus, out } = problem;
  return stage({
    key: `matmul:parts:${epilogueKey(problem)}`,
    reads: { parts, ...addendOf(problem) },
    writes: { out },
    params: {
      size: u32(m * n),
      n: u32(n),
      batch: u32(batch),
      splits: u32(splits),
      scale: f32(scale),
    },
    workgroup: 64,
    body: `  if (gid >= p.size * p.batch) { return; }
  let first = gid / p.size * p.size * p.splits + gid % p.size;
  var total = 0.0;
  for (var s = 0u; s < p.splits; s++) { total += parts(first + s * p.size); }
  out[gid] = ${stored(plus, 'total', 'gid', 'gid % p.n')};`,
    grid: grid1d(m * n * batch, 64),
  });
}
