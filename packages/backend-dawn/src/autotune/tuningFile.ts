import { readFileSync } from 'node:fs';
import { AttuneError, isPlainObject, writeFileAtomic } from '@attune/core';

/** Chosen variants by tuning key, for one adapter with one set of kernels. */
export type Choices = Readonly<Record<string, string>>;

interface Contents {
  readonly version: 1;
  readonly adapters: Readonly<Record<string, Choices>>;
}

/**
 * The choices of every adapter that was tuned on this machine, as JSON. A file that cannot be read is
 * as good as none: what it held can be measured again.
 */
export class TuningFile {
  constructor(readonly path: string) {}

  read(adapter: string): Choices {
    return this.#contents().adapters[adapter] ?? {};
  }

  /** Adds to what is there for this adapter. @throws TUNING_FILE */
  async write(adapter: string, choices: Choices): Promise<void> {
    const { adapters } = this.#contents();
    const merged = { ...adapters[adapter], ...choices };
    const contents: Contents = { version: 1, adapters: { ...adapters, [adapter]: merged } };
    try {
      await writeFileAtomic(this.path, `${JSON.stringify(contents, null, 2)}\n`);
    } catch (cause) {
      throw new AttuneError('TUNING_FILE', `cannot write "${this.path}".`, {
        remedy: 'Pass another path: dawn({ tuning: "tuning.json" }).',
        cause,
      });
    }
  }

  #contents(): Contents {
    const none: Contents = { version: 1, adapters: {} };
    try {
      const found: unknown = JSON.parse(readFileSync(this.path, 'utf8'));
      const isOurs = isPlainObject(found) && found.version === 1 && isPlainObject(found.adapters);
      return isOurs ? (found as unknown as Contents) : none;
    } catch {
      return none;
    }
  }
}
