import { type AdapterProblem, PORTABLE } from './problem.js';
import { type LoraPair, meantScale, type SavedAdapter } from './savedAdapter.js';

/** Rounding apart, two ways to compute one scale. */
const SAME = 1e-6;

/**
 * Layers that a target scales otherwise than the adapter was trained.
 *
 * @param rule the target's scale of a layer
 * @param formula that rule in words
 */
export function scaleProblems(
  adapter: SavedAdapter,
  pairs: readonly LoraPair[],
  rule: (pair: LoraPair) => number,
  { target, formula, knowsRslora }: { target: string; formula: string; knowsRslora: boolean },
): AdapterProblem[] {
  const wrong = pairs
    .map((pair) => ({ path: pair.path, meant: meantScale(adapter, pair.path), got: rule(pair) }))
    .filter(({ meant, got }) => Math.abs(got / meant - 1) > SAME);
  const [first] = wrong;
  if (!first) return [];
  const isRslora = adapter.fields.use_rslora === true && !knowsRslora;
  return [
    {
      code: isRslora ? 'RSLORA_SCALE' : 'PATTERN_SCALE',
      effect: 'wrong',
      message: `${target} scales by ${formula}${isRslora ? ' and passes over use_rslora' : ' and passes over rank_pattern and alpha_pattern'}: ${wrong.length} of ${pairs.length} layers get another scale, e.g. ${first.path} ${short(first.got)} in the place of ${short(first.meant)}.`,
      fix: PORTABLE,
    },
  ];
}

const short = (n: number): string => String(Number(n.toPrecision(5)));
