import { onEndSignal } from '#platform';

/** Why a run ended before its last update; null when it did not. */
export type StopReason = 'callback' | 'abort' | 'SIGINT' | 'SIGTERM';

/**
 * Requests from outside to end a run: an AbortSignal, Ctrl-C (SIGINT) and SIGTERM. The first one is
 * noted, and the run ends after the update in progress, an evaluation after the batch in progress;
 * a second Ctrl-C finds the process without our handler and does what it always does.
 */
export class StopRequest {
  #controller = new AbortController();
  #asked: StopReason | null = null;
  #reason: StopReason | null = null;

  /**
   * @param onStop is told of the first request of a run
   * @param isShared other ranks must stop at the same update: a request counts when all know of it
   *   (`end`)
   */
  constructor(
    private readonly onStop: (reason: StopReason) => void,
    private readonly isShared = false,
  ) {}

  /** Who asked this rank; null while nobody did. */
  get asked(): StopReason | null {
    return this.#asked;
  }

  /** Who asked; null while the run goes on. */
  get reason(): StopReason | null {
    return this.#reason;
  }

  /** The run ends, and waits for nothing that can be cut short. */
  end(reason: StopReason): void {
    this.#reason ??= reason;
    this.#controller.abort();
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
      if (this.#asked !== null) return;
      this.#asked = reason;
      deafen();
      if (!this.isShared) this.end(reason);
      this.onStop(reason);
    };
    const aborted = () => note('abort');
    if (handleSignals) release = onEndSignal(note);
    if (abort?.aborted) aborted();
    else abort?.addEventListener('abort', aborted);
    return {
      [Symbol.dispose]: () => {
        deafen();
        this.#asked = null;
        this.#reason = null;
        this.#controller = new AbortController();
      },
    };
  }
}
