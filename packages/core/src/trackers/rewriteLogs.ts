import type { Logs } from '../training/callback.js';
import { camelToSnake } from '../util/json.js';

/**
 * Names as transformers sends them to trackers: `loss` -> `train/loss`, `evalLoss` -> `eval/loss`,
 * `testLoss` -> `test/loss`, `gradNorm` -> `train/grad_norm`.
 */
export const rewriteLogs = (logs: Logs): Record<string, number> =>
  Object.fromEntries(
    Object.entries(logs).map(([name, value]) => {
      const [, kind, rest] = /^(eval|test)_(.+)$/.exec(camelToSnake(name)) ?? [];
      return [kind ? `${kind}/${rest}` : `train/${camelToSnake(name)}`, value];
    }),
  );
