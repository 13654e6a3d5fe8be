import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

/** Where drivers and measurements are kept: ATTUNE_CACHE_DIR, else the user's cache folder. */
export const cacheFolder = (): string =>
  process.env.ATTUNE_CACHE_DIR ??
  join(process.env.XDG_CACHE_HOME ?? join(homedir() || tmpdir(), '.cache'), 'attune');
