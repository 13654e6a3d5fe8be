import type { CallbackContext, EvalMetrics, Logs, TrainerCallback } from './callback.js';

/** Where the bar is drawn: `process.stderr`, or what a test gives. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

const WIDTH = 24;

const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  return `${hours > 0 ? `${hours}:` : ''}${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
};

const format = (value: number): string =>
  Math.abs(value) >= 1e-3 || value === 0 ? value.toFixed(4) : value.toExponential(2);

/** 932 -> "932", 12345 -> "12.3k" */
const rate = (perSecond: number): string =>
  perSecond < 1000 ? perSecond.toFixed(0) : `${(perSecond / 1000).toFixed(1)}k`;

/**
 * A progress bar with the time that is left and tokens a second, on standard error; plain lines at each log where that is not a terminal.
 *
 * @example new SFTTrainer({ ..., callbacks: [new ProgressCallback()] })
 */
export class ProgressCallback implements TrainerCallback {
  readonly name = 'ProgressCallback';
  readonly #stream: ProgressStream;
  #startedMs = 0;
  #startedStep = 0;
  #startedTokens = 0;
  #logs = '';

  constructor(stream: ProgressStream = process.stderr) {
    this.#stream = stream;
  }

  onTrainBegin({ state }: CallbackContext): void {
    this.#startedMs = performance.now();
    this.#startedStep = state.globalStep;
    this.#startedTokens = state.numInputTokensSeen;
    this.#logs = '';
  }

  onStepEnd({ state }: CallbackContext): void {
    if (this.#stream.isTTY) this.#stream.write(`\r\x1b[2K${this.#bar(state)}${this.#logs}`);
  }

  onLog({ state }: CallbackContext, logs: Logs): void {
    if (logs.loss === undefined) return;
    this.#logs = `  loss ${format(logs.loss)}  grad norm ${format(logs.gradNorm ?? 0)}  lr ${format(logs.learningRate ?? 0)}`;
    if (!this.#stream.isTTY) this.#stream.write(`${this.#bar(state)}${this.#logs}\n`);
  }

  onEvaluate({ state }: CallbackContext, metrics: EvalMetrics): void {
    const lead = this.#stream.isTTY ? '\r\x1b[2K' : '';
    const { evalLoss, evalPerplexity, ...others } = metrics as Partial<EvalMetrics>;
    const shown =
      evalLoss === undefined
        ? Object.entries(others).map(([name, value]) => `${name} ${format(value!)}`)
        : [`eval loss ${format(evalLoss)}`, `perplexity ${format(evalPerplexity!)}`];
    this.#stream.write(`${lead}step ${state.globalStep}: ${shown.join(', ')}\n`);
  }

  onTrainEnd(): void {
    if (this.#stream.isTTY) this.#stream.write('\n');
  }

  #bar({ globalStep, maxSteps, numInputTokensSeen }: CallbackContext['state']): string {
    const elapsed = (performance.now() - this.#startedMs) / 1000;
    const done = globalStep - this.#startedStep;
    const rest = done > 0 ? (elapsed / done) * (maxSteps - globalStep) : 0;
    const filled = Math.round((globalStep / Math.max(1, maxSteps)) * WIDTH);
    const bar = '#'.repeat(filled).padEnd(WIDTH, '.');
    const speed = elapsed > 0 ? (numInputTokensSeen - this.#startedTokens) / elapsed : 0;
    const tokens = speed > 0 ? ` ${rate(speed)} tokens/s` : '';
    return `${globalStep}/${maxSteps} [${bar}] ${duration(elapsed)} < ${duration(rest)}${tokens}`;
  }
}
