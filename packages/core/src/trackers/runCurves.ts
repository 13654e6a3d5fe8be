import type { LogEntry } from '../training/trainerState.js';
import type { Panel, Point, Series } from './curve.js';
import { words } from './words.js';

/** Metrics of a plugin's objective beyond these have no panel. */
const MOST_METRICS = 12;
/** Evaluation sets beyond these have no curve: nobody could tell them apart. */
const MOST_SETS = 10;
/** Ratio of the largest to the smallest beyond which a linear axis shows one of both only. */
const SPREAD = 50;

/** What every training row has, and counters. The rest are metrics of the objective. */
const NO_METRIC: ReadonlySet<string> = new Set([
  ...['step', 'epoch', 'loss', 'gradNorm', 'learningRate', 'meanTokenAccuracy'],
  ...['numInputTokensSeen', 'skippedSteps'],
]);

/**
 * The log of a run as curves over the updates: loss, perplexity and accuracy of training and of
 * each evaluation set, then learning rate and gradient norm, then what else the objective measures.
 * Values that are not finite are left out, and so is a panel without any.
 *
 * @param isNats whether the loss is a mean of -log p over tokens, whose exp is a perplexity
 */
export function runCurves(history: readonly LogEntry[], isNats: boolean): Panel[] {
  const training = history.filter((row) => 'loss' in row);
  const names = new Set(history.flatMap((row) => Object.keys(row)));
  const ofTokens = names.has('meanTokenAccuracy') || names.has('evalMeanTokenAccuracy');
  const metrics = [...new Set(training.flatMap((row) => Object.keys(row)))]
    .filter((name) => !NO_METRIC.has(name) && !/^eval(?=[A-Z_])/.test(name))
    .slice(0, MOST_METRICS);
  const train = (name: string, map?: (y: number) => number): Series => {
    const points = pointsOf(training, name, map);
    return { label: 'train', kind: 'a', points, marked: false };
  };
  const evaluations = (metric: string) => evaluationsOf(history, names, metric);
  const panel = (title: string, series: readonly Series[], fromZero = false): Panel => ({
    ...{ title, fromZero, isLog: false },
    series: series.filter(({ points }) => points.length > 0),
  });
  const lossTitle = isNats ? 'loss (nats per token)' : ofTokens ? 'loss (per token)' : 'loss';
  const perplexity = panel('perplexity', [train('loss', Math.exp), ...evaluations('perplexity')]);
  return [
    panel(lossTitle, [train('loss'), ...evaluations('loss')]),
    ...(isNats ? [{ ...perplexity, isLog: isSpread(perplexity.series) }] : []),
    panel('token accuracy', [train('meanTokenAccuracy'), ...evaluations('meanTokenAccuracy')]),
    panel('learning rate', [train('learningRate')], true),
    panel('gradient norm (L2)', [train('gradNorm')], true),
    ...metrics.map((name) => panel(words(name), [train(name), ...evaluations(name)])),
  ].filter(({ series }) => series.length > 0);
}

/**
 * One curve for each evaluation set that has the metric: `evalLoss`, `evalMathLoss`,
 * `eval_math_rewards/margins`.
 */
function evaluationsOf(
  history: readonly LogEntry[],
  names: ReadonlySet<string>,
  metric: string,
): Series[] {
  const ending = metric.includes('/')
    ? `_${metric}`
    : `${metric[0]?.toUpperCase() ?? ''}${metric.slice(1)}`;
  return [...names]
    .filter((name) => name.startsWith('eval') && name.endsWith(ending))
    .slice(0, MOST_SETS)
    .map((name, i) => ({
      label: words(name.slice(0, name.length - ending.length)),
      kind: ['b', 'c', 'd', 'e', 'f'][i % 5]!,
      points: pointsOf(history, name),
      marked: true,
    }));
}

function pointsOf(
  rows: readonly LogEntry[],
  name: string,
  map: (y: number) => number = (y) => y,
): Point[] {
  return rows
    .flatMap((row) => {
      const y = map(row[name] ?? Number.NaN);
      // Beyond it the span of an axis is no number any more.
      return Math.abs(y) < 1e300 ? [{ x: row.step, y }] : [];
    })
    .sort((a, b) => a.x - b.x);
}

function isSpread(series: readonly Series[]): boolean {
  const values = series.flatMap(({ points }) => points.map(({ y }) => y));
  const low = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  return low > 0 && values.some((y) => y > SPREAD * low);
}
