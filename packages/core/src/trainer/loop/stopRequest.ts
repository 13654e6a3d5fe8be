import { onEndSignal } from '#platform';

/** Why a run ended before its last update; null when it did not. */
export type StopReason = 'callback' | 'abort' | 'SIGINT' | 'SIGTERM';

/**
 * Requests from outside to end a run: an AbortSignal, Ctrl-C (SIGINT) and SIGTERM. The first one is
 * noted, and the run ends after the update in progress, an evaluation after the batch in progress; a
 * second Ctrl-C finds the process without our handler and does what it always does. `dispose` takes the
 * handlers away.
 */
export class StopRequest {
  readonly #controller = new AbortController();
  #reason: StopReason | null = null;

  /**
   * @param handleSignals listen for SIGINT and SIGTERM
   * @param onStop is told of the first request
   */
  constructor(
    private readonly abort: AbortSignal | undefined,
    handleSignals: boolean,
    private readonly onStop: (reason: StopReason) => void,
  ) {
    if (handleSignals) this.#release = onEndSignal((name) => this.#note(name));
    if (abort?.aborted) this.#note('abort');
    else abort?.addEventListener('abort', this.#aborted);
  }

  /** Who asked; null while nobody did. */
  get reason(): StopReason | null {
    return this.#reason;
  }

  /** Aborts with the first request. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  #release: (() => void) | null = null;
  readonly #aborted = (): void => this.#note('abort');

  #note(reason: StopReason): void {
    if (this.#reason !== null) return;
    this.#reason = reason;
    this.dispose();
    this.#controller.abort();
    this.onStop(reason);
  }

  dispose(): void {
    this.#release?.();
    this.abort?.removeEventListener('abort', this.#aborted);
  }
}
