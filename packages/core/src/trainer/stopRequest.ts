/** Why a run ended before its last update; null when it did not. */
export type StopReason = 'callback' | 'abort' | 'SIGINT' | 'SIGTERM';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * Requests from outside to end a run: an AbortSignal, Ctrl-C (SIGINT) and SIGTERM. The first one is
 * noted, and the run ends after the update in progress; a second Ctrl-C finds the process without our
 * handler and does what it always does. `dispose` takes the handlers away.
 */
export class StopRequest {
  #signal: 'SIGINT' | 'SIGTERM' | null = null;

  /** @param handleSignals listen for SIGINT and SIGTERM */
  constructor(
    private readonly abort: AbortSignal | undefined,
    handleSignals: boolean,
    private readonly onSignal: (name: string) => void,
  ) {
    if (handleSignals) for (const name of SIGNALS) process.on(name, this.#handle);
  }

  /** Who asked; null while nobody did. */
  get reason(): StopReason | null {
    return this.#signal ?? (this.abort?.aborted ? 'abort' : null);
  }

  readonly #handle = (name: NodeJS.Signals): void => {
    this.#signal = name as 'SIGINT' | 'SIGTERM';
    this.dispose();
    this.onSignal(name);
  };

  dispose(): void {
    for (const name of SIGNALS) process.off(name, this.#handle);
  }
}
