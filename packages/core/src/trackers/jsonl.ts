import { appendFile, join, mkdir, rename, stat, writeFile } from '#platform';
import type { Tracker } from '../callbacks/points.js';
import type { CallbackContext } from '../training/callback.js';
import type { LogEntry } from '../training/trainerState.js';
import { writing } from '../util/diskError.js';
import { keysToSnake } from '../util/json.js';
import { trackerFolder } from './runFolder.js';

/**
 * Writes `log.jsonl` into loggingDir or outputDir: each row of the log as one line of JSON, as it
 * stands in `log_history` of trainer_state.json. A number that is not finite is null. A resumed run
 * writes on where its checkpoint was. The log of an earlier run is kept as `log.1.jsonl`,
 * `log.2.jsonl`, ...
 */
export class JsonlCallback implements Tracker {
  readonly name = 'JsonlCallback';
  readonly firstRankOnly = true;
  #file: string | null = null;

  async onTrainBegin({ args, state }: CallbackContext): Promise<void> {
    const folder = trackerFolder(args);
    const file = join(folder, 'log.jsonl');
    await writing(file, async () => {
      await mkdir(folder, { recursive: true });
      if (state.globalStep === 0) await setAside(folder, file);
      await writeFile(file, state.logHistory.map(line).join(''));
    });
    this.#file = file;
  }

  async onLog({ state }: CallbackContext): Promise<void> {
    const row = state.logHistory.at(-1);
    const file = this.#file;
    if (file !== null && row) await writing(file, () => appendFile(file, line(row)));
  }

  onTrainEnd(): void {
    this.#file = null;
  }
}

const line = (row: LogEntry): string => `${JSON.stringify(keysToSnake(row))}\n`;

async function setAside(folder: string, file: string): Promise<void> {
  const exists = (path: string) => stat(path).catch(() => null);
  if (!(await exists(file))) return;
  for (let n = 1; ; n++) {
    const free = join(folder, `log.${n}.jsonl`);
    if (await exists(free)) continue;
    await rename(file, free);
    return;
  }
}
