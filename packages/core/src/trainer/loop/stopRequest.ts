import { onEndSignal } from '#platform';

/** Why a run ended before its last update; null when it did not. */
export type StopReason = 'callback' | 'abort' | 'SIGINT' | 'SIGTERM';

/**
 * Requests from outside to end a run: an AbortSignal, Ctrl-C (SIGINT) and SIGTERM. The first one is
 * noted, and the run ends after the update in progress, an evaluation after the batch in progress; a
 * second Ctrl-C finds the process without our handler and does what it always does.
 */
export class StopRequest {
  #controller = new AbortController();
  #reason: StopReason | null = null;

  /** @param onStop is told of the first request of a run */
  constructor(private readonly onStop: (reason: StopReason) => void) {}

  /** Who asked; null while nobody did. */
  get reason(): StopReason | null {
    return this.#reason;
  }

  /** Aborts with the first request. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Hears requests until what it returns is disposed. Then nothing of them is left, and no handler.
   *
   * @param handleSignals listen for SIGINT and SIGTERM
   */
  listen(abort: AbortSignal | undefined, handleSignals: boolean): Disposable {
    let release: (() => void) | null = null;
    const deafen = () => {
      release?.();
      abort?.removeEventListener('abort', aborted);
    };
    const note = (reason: StopReason): void => {
      if (this.#reason !== null) return;
      this.#reason = reason;
      deafen();
      this.#controller.abort();
      this.onStop(reason);
    };
    const aborted = () => note('abort');
    if (handleSignals) release = onEndSignal(note);
    if (abort?.aborted) aborted();
    else abort?.addEventListener('abort', aborted);
    return {
      [Symbol.dispose]: () => {
        deafen();
        this.#reason = null;
        this.#controller = new AbortController();
      },
    };
  }
}
