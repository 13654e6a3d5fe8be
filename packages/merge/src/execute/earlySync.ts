import { open } from 'node:fs/promises';
import { diskError } from '@attune/core/util';

/** Less is not worth a turn of the disk. */
const SYNCED_AT_ONCE = 2 ** 24;

/**
 * Lets the disk have what is written while the rest is computed: at the end it would be waited for
 * without anything else to do.
 */
export class EarlySync {
  readonly #dirty = new Set<string>();
  #numBytes = 0;
  #running: Promise<void> | null = null;
  #error: unknown = null;

  /** @param numBytes that were written into the file */
  add(path: string, numBytes: number): void {
    this.#dirty.add(path);
    this.#numBytes += numBytes;
    if (this.#running || this.#numBytes < SYNCED_AT_ONCE) return;
    const paths = [...this.#dirty];
    this.#dirty.clear();
    this.#numBytes = 0;
    this.#running = sync(paths)
      // The system tells of a failure once: it is kept for the end.
      .catch((error) => {
        this.#error ??= error;
      })
      .finally(() => {
        this.#running = null;
      });
  }

  /** @throws DISK_WRITE for what the disk refused */
  async end(): Promise<void> {
    await this.#running;
    if (this.#error !== null) throw this.#error;
  }
}

async function sync(paths: readonly string[]): Promise<void> {
  for (const path of paths)
    try {
      const file = await open(path, 'r+');
      try {
        await file.datasync();
      } finally {
        await file.close();
      }
    } catch (error) {
      throw diskError(error, path);
    }
}
