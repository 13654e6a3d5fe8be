import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';

/** Groups after each other without an update: of so many it is said, and so many end the run. */
const [SAID, MOST] = [100, 1000];

/**
 * Groups of micro-batches of which the objective makes no update. A rollout may leave out all of a
 * group, and an unlucky one many after each other; one that never keeps any would go on for ever on
 * a stream, and end a run on rows in memory that has learned nothing.
 */
export class EmptyGroups {
  #inARow = 0;

  constructor(
    private readonly objective: string,
    private readonly logger: Logger,
  ) {}

  /** A group is done. @throws NO_UPDATES after a thousand of them without an update */
  note(hasUpdates: boolean): void {
    this.#inARow = hasUpdates ? 0 : this.#inARow + 1;
    const groups = 'groups of micro-batches.';
    if (this.#inARow === SAID) this.logger.warn(`${this.#found} the last ${SAID} ${groups}`);
    if (this.#inARow >= MOST) throw this.#error(`the last ${MOST} ${groups}`);
  }

  /** The rows have come to their end. @throws NO_UPDATES where no update was made of them */
  checkEnd(updates: number): void {
    if (updates === 0 && this.#inARow > 0)
      throw this.#error(`all ${this.#inARow} groups of micro-batches.`);
  }

  get #found(): string {
    return `objective "${this.objective}" made no update of`;
  }

  #error(which: string): AttuneError {
    return new AttuneError('NO_UPDATES', `${this.#found} ${which}`, {
      remedy: 'Look at what its updates() leaves out; it should yield at least one { batches }.',
    });
  }
}
