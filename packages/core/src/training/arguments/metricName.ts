import { camelToSnake, snakeToCamel } from '../../util/json.js';

/**
 * ("eval", "loss") -> "evalLoss"; ("evalMath", "rewards/margins") -> "eval_math_rewards/margins".
 */
export function metricName(prefix: string, metric: string): string {
  if (metric.includes('/')) return `${camelToSnake(prefix)}_${metric}`;
  const name = snakeToCamel(metric);
  return `${prefix}${name[0]!.toUpperCase()}${name.slice(1)}`;
}

/** "loss", "eval_loss", "evalLoss" -> "evalLoss"; "rewards/margins" -> "eval_rewards/margins". */
export const evalName = (metric: string): string =>
  metricName('eval', metric.replace(/^eval_/, '').replace(/^eval(?=[A-Z])/, ''));
