import type { CallbackContext, Logs } from '../training/callback.js';
import { brief } from '../util/brief.js';
import { short } from './axis.js';
import type { Row } from './reportPage.js';
import { words } from './words.js';

/**
 * What was trained, on what, how long and how fast; then the other numbers of the run's summary.
 */
export function runSummary(context: CallbackContext, metrics: Logs): Row[] {
  const { args, state, model } = context;
  const { trainRuntime, trainTokensPerSecond, trainLoss, ...others } = metrics;
  const { info } = model.engine.backend;
  const row = (name: string, value: number | undefined, text = brief): Row[] =>
    value === undefined ? [] : [[name, text(value)]];
  return [
    ['model', [model.nameOrPath, model.config.modelType].filter(Boolean).join(', ')],
    ['device', [info.device, info.name].filter(Boolean).join(', ')],
    ...row('duration', trainRuntime, duration),
    ['updates', `${state.globalStep} of ${state.maxSteps}`],
    ['tokens', short(state.numInputTokensSeen)],
    ...row('tokens per second', trainTokensPerSecond),
    ...row('mean training loss', trainLoss),
    ...(state.bestMetric === null
      ? []
      : row(
          `best ${words(args.metricForBestModel ?? '')}`,
          state.bestMetric,
          (best) => `${brief(best)} (update ${state.bestGlobalStep})`,
        )),
    ...Object.entries(others).flatMap(([name, value]) => row(words(name), value)),
  ];
}

/** 3.2 -> "3.2 s", 3723 -> "1 h 2 min 3 s". */
export function duration(seconds: number): string {
  if (!(seconds >= 60 && seconds < 1e12)) return `${brief(seconds)} s`;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours > 0 ? `${hours} h ` : ''}${minutes} min ${whole % 60} s`;
}
