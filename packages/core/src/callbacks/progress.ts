import { standardError, standardOutput } from '#platform';
import type { CallbackContext, EvalMetrics, Logs, TrainerCallback } from '../training/callback.js';
import { brief } from '../util/brief.js';
import { displayWidth, LiveLine, type ProgressStream } from './liveLine.js';

export type { ProgressStream };

const WIDTH = 24;
/** Below this a bar says nothing. */
const SHORTEST = 8;
const SHORTEST_BAR = `[${'.'.repeat(SHORTEST)}]`;

const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  return `${hours > 0 ? `${hours}:` : ''}${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
};

/** 932 -> "932", 12345 -> "12.3k" */
const rate = (perSecond: number): string =>
  perSecond < 1000 ? perSecond.toFixed(0) : `${(perSecond / 1000).toFixed(1)}k`;

/**
 * A progress bar on standard error, with the time that is left and tokens a second. It is never
 * wider than the terminal, and what others print appears above it. Where there is no terminal, each
 * log is a plain line.
 *
 * @example new SFTTrainer({ ..., callbacks: [new ProgressCallback()] })
 */
export class ProgressCallback implements TrainerCallback {
  readonly name = 'ProgressCallback';
  readonly firstRankOnly = true;
  readonly #stream: ProgressStream;
  #startedMs = 0;
  #startedStep = 0;
  #startedTokens = 0;
  #logs: readonly string[] = [];
  readonly #line: LiveLine;

  constructor(stream: ProgressStream = standardError) {
    this.#stream = stream;
    // Standard output ends on the same screen.
    this.#line = new LiveLine(
      stream,
      stream === standardError ? [standardOutput, standardError] : [],
    );
  }

  onTrainBegin({ state }: CallbackContext): void {
    this.#startedMs = performance.now();
    this.#startedStep = state.globalStep;
    this.#startedTokens = state.numInputTokensSeen;
    this.#logs = [];
  }

  onStepEnd({ state }: CallbackContext): void {
    if (this.#stream.isTTY) this.#line.draw(this.#fitted(state, this.#line.width));
  }

  onLog({ state }: CallbackContext, logs: Logs): void {
    if (logs.loss === undefined) return;
    this.#logs = [
      `loss ${brief(logs.loss)}`,
      `grad norm ${brief(logs.gradNorm ?? 0)}`,
      `lr ${brief(logs.learningRate ?? 0)}`,
    ];
    if (!this.#stream.isTTY)
      this.#stream.write(`${this.#fitted(state, Number.POSITIVE_INFINITY)}\n`);
  }

  onEvaluate({ state }: CallbackContext, metrics: EvalMetrics): void {
    const { evalLoss, evalPerplexity, ...others } = metrics as Partial<EvalMetrics>;
    const shown =
      evalLoss === undefined
        ? Object.entries(others).map(([name, value]) => `${name} ${brief(value!)}`)
        : [
            `eval loss ${brief(evalLoss)}`,
            ...(evalPerplexity === undefined ? [] : [`perplexity ${brief(evalPerplexity)}`]),
          ];
    this.#line.print(`step ${state.globalStep}: ${shown.join(', ')}`);
  }

  onTrainEnd({ state }: CallbackContext): void {
    if (!this.#stream.isTTY) return;
    this.#line.draw(this.#fitted(state, this.#line.width));
    this.#line.end();
  }

  /** As much as fits: where the run stands first, then loss and times, the bar in what is left. */
  #fitted({ globalStep, maxSteps, numInputTokensSeen }: CallbackContext['state'], width: number) {
    const elapsed = (performance.now() - this.#startedMs) / 1000;
    const done = globalStep - this.#startedStep;
    const rest = done > 0 ? (elapsed / done) * (maxSteps - globalStep) : 0;
    const times = `${duration(elapsed)} < ${duration(rest)}`;
    const speed = elapsed > 0 ? (numInputTokensSeen - this.#startedTokens) / elapsed : 0;
    const tokens = speed > 0 ? `${rate(speed)} tokens/s` : '';
    const [loss = '', ...others] = this.#logs;
    const where = `${globalStep}/${maxSteps}`;
    // In the order of their worth: what does not fit is left out, and the bar takes what is left.
    let left = width - displayWidth(where);
    const kept = new Set<string>();
    for (const part of [loss, times, SHORTEST_BAR, tokens, ...others]) {
      if (part === '') continue;
      left -= displayWidth(part) + 2;
      if (left < 0) break;
      kept.add(part);
    }
    const length = Math.min(WIDTH, Math.max(left, 0) + SHORTEST);
    const filled = Math.round((globalStep / Math.max(1, maxSteps)) * length);
    const bar = kept.has(SHORTEST_BAR) ? `[${'#'.repeat(filled).padEnd(length, '.')}]` : '';
    const clock = [bar, times, tokens].filter((part) => part === bar || kept.has(part));
    const begin = [where, ...clock].filter((part) => part !== '').join(' ');
    return [begin, ...this.#logs.filter((part) => kept.has(part))].join('  ');
  }
}
