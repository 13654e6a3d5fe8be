import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallbackContext, Logs, Tracker } from '@attune/core';

/** `losses.csv` in loggingDir or outputDir: step and training loss, a line for each log. */
export class CsvTracker implements Tracker {
  readonly name = 'CsvTracker';
  readonly firstRankOnly = true; // of many ranks
  #file: string | null = null;

  async onTrainBegin({ args, state }: CallbackContext) {
    const folder = args.loggingDir ?? args.outputDir;
    await mkdir(folder, { recursive: true });
    this.#file = join(folder, 'losses.csv');
    // A resumed run goes on where its checkpoint was, whatever was written behind that.
    const before = state.logHistory
      .filter((row) => 'loss' in row)
      .map((row) => line(row.step, row));
    await writeFile(this.#file, ['step,loss\n', ...before].join(''));
  }

  async onLog({ state }: CallbackContext, logs: Logs) {
    if (this.#file && 'loss' in logs) await appendFile(this.#file, line(state.globalStep, logs));
  }

  onTrainEnd() {
    this.#file = null; // an evaluation afterwards is not of this run
  }
}

const line = (step: number, { loss }: Logs): string => `${step},${loss}\n`;
