import { readFileSync, statSync } from 'node:fs';
import { AttuneError } from '@attune/core';
import { writeFileAtomic } from '@attune/core/io';
import { isPlainObject } from '@attune/core/util';

/** Chosen variants by tuning key, for one adapter with one set of kernels. */
export type Choices = Readonly<Record<string, string>>;

interface Contents {
  readonly version: 1;
  readonly adapters: Readonly<Record<string, Choices>>;
}

/** Thousands of choices for hundreds of adapters are some MB. */
const MAX_BYTES = 2 ** 26;

const isChoices = (value: unknown): value is Choices =>
  isPlainObject(value) && Object.values(value).every((choice) => typeof choice === 'string');

/**
 * The choices of every adapter that was tuned on this machine, as JSON. A file that cannot be read
 * is as good as none: what it held can be measured again.
 */
export class TuningFile {
  constructor(readonly path: string) {}

  read(adapter: string): Choices {
    const { adapters } = this.#contents();
    const choices = Object.hasOwn(adapters, adapter) ? adapters[adapter] : undefined;
    return isChoices(choices) ? choices : {};
  }

  /** Adds to what is there for this adapter. @throws TUNING_FILE */
  async write(adapter: string, choices: Choices): Promise<void> {
    const { adapters } = this.#contents();
    const merged = { ...this.read(adapter), ...choices };
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
      // A pipe or a device would be read for ever.
      const stat = statSync(this.path);
      if (!stat.isFile() || stat.size > MAX_BYTES) return none;
      const found: unknown = JSON.parse(readFileSync(this.path, 'utf8'));
      const isOurs = isPlainObject(found) && found.version === 1 && isPlainObject(found.adapters);
      return isOurs ? (found as unknown as Contents) : none;
    } catch {
      return none;
    }
  }
}
