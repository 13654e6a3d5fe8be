import { afterMs } from '#platform';
import { isPromise } from './describeValue.js';
import type { Logger } from './logger.js';

/** How long code of others may take before it is named. */
const PATIENCE_MS = 30_000;

/**
 * What a run waits for that is not its own: callbacks, tasks, metrics, rows. Whatever takes 30
 * seconds is named once, so that a run that stands still says where. Code that never gives way (an
 * endless loop) stops the clock with everything else, and is not seen.
 */
export class Activity {
  readonly #waiting: string[] = [];

  constructor(private readonly logger: Pick<Logger, 'warn'>) {}

  /** What is waited for now, the innermost; null: nothing of others. */
  get current(): string | null {
    return this.#waiting.at(-1) ?? null;
  }

  /**
   * Waits for `result`. What is there already costs no timer.
   *
   * @param what its name and the moment: `callback "x" in onStepEnd, at update 3`
   */
  async during<T>(what: string, result: T | PromiseLike<T>): Promise<T> {
    if (!isPromise(result)) return result;
    this.#waiting.push(what);
    const clear = afterMs(PATIENCE_MS, () =>
      this.logger.warn(
        `${what}: not done after ${PATIENCE_MS / 1000} s; the run is waiting for it.`,
      ),
    );
    try {
      return await result;
    } finally {
      clear();
      this.#waiting.splice(this.#waiting.lastIndexOf(what), 1);
    }
  }
}
