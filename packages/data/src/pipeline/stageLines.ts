import { displayWidth, LiveLine, type ProgressStream } from '@attune/core/util';
import type { StageProgress } from './runStages.js';

const BAR = 20;

/** How far the stages of a pipeline are, on a terminal: a line that stays for each that is done. */
export class StageLines implements Disposable {
  readonly #line: LiveLine | null;
  readonly #running = new Map<string, StageProgress>();
  #drawnMs = 0;

  /** @param stream where it is drawn; null, or no terminal: nowhere */
  constructor(stream: ProgressStream | null) {
    this.#line = stream?.isTTY
      ? new LiveLine(stream, stream === process.stderr ? [process.stdout, process.stderr] : [])
      : null;
  }

  draw(progress: StageProgress): void {
    if (this.#line === null) return;
    if (progress.isDone) {
      this.#running.delete(progress.stage);
      this.#line.print(doneLine(progress));
      return;
    }
    this.#running.set(progress.stage, progress);
    const now = performance.now();
    if (now - this.#drawnMs < 100) return;
    this.#drawnMs = now;
    this.#line.draw(runningLine([...this.#running.values()], this.#line.width));
  }

  [Symbol.dispose](): void {
    this.#line?.clear();
  }
}

const amount = (count: number): string => count.toLocaleString('en-US');

/** "dedupe: 20,000 rows in, 18,400 out, 3.2 s". */
export const doneLine = ({ stage, rowsIn, rowsOut, seconds }: StageProgress): string =>
  `${stage}: ${amount(rowsIn)} rows in, ${amount(rowsOut)} out, ${seconds.toFixed(1)} s`;

/** Stages at work in at most so many columns: a bar for one that knows its end, else its rows. */
export function runningLine(stages: readonly StageProgress[], width: number): string {
  const shown: string[] = [];
  for (const stage of stages.toReversed()) {
    const text = stageText(stage);
    if (displayWidth([text, ...shown].join(' > ')) > width) break;
    shown.unshift(text);
  }
  return shown.join(' > ');
}

function stageText({ stage, rowsOut, done, total }: StageProgress): string {
  if (done === null) return `${stage} ${amount(rowsOut)}`;
  if (total === null || total === 0) return `${stage} ${amount(done)}`;
  const share = Math.min(1, done / total);
  const bar = '#'.repeat(Math.round(share * BAR)).padEnd(BAR, '.');
  return `${stage} [${bar}] ${Math.floor(100 * share)}%  ${amount(done)}/${amount(total)}`;
}
