import { displayWidth, LiveLine, type ProgressStream } from '@attune/core/util';
import type { MergeProgress } from '@attune/merge';

const WIDTH = 24;
const SHORTEST = 8;

/** A line that is drawn over and over; null: no stream, or no terminal. */
export const progressLine = (stream: ProgressStream | null): LiveLine | null =>
  stream?.isTTY
    ? new LiveLine(stream, stream === process.stderr ? [process.stdout, process.stderr] : [])
    : null;

/** A bar of a merge on a terminal: bytes, tensors, the time that is left. */
export class MergeBar {
  readonly #line: LiveLine | null;

  /** @param stream where it is drawn; null, or no terminal: nowhere */
  constructor(stream: ProgressStream | null) {
    this.#line = progressLine(stream);
  }

  draw(progress: MergeProgress): void {
    this.#line?.draw(mergeLine(progress, this.#line.width));
  }

  end(): void {
    this.#line?.clear();
  }
}

/** The bar as text of at most so many columns: what matters least is left out first. */
export function mergeLine(progress: MergeProgress, width: number): string {
  const { bytesDone, bytesTotal, tensorsDone, tensorsTotal, secondsLeft } = progress;
  const share = bytesTotal > 0 ? bytesDone / bytesTotal : 1;
  const parts = [
    `${Math.floor(100 * share)}%`,
    ...(secondsLeft === null ? [] : [`${clock(secondsLeft)} left`]),
    `${amount(bytesDone)}/${amount(bytesTotal)}`,
    `${tensorsDone}/${tensorsTotal} tensors`,
  ];
  const fits = (count: number) => displayWidth(parts.slice(0, count).join('  ')) <= width;
  const count = parts.findLastIndex((_, i) => fits(i + 1)) + 1;
  const text = parts.slice(0, Math.max(1, count)).join('  ');
  const room = Math.min(WIDTH, width - displayWidth(text) - 3);
  if (count < parts.length || room < SHORTEST) return text;
  return `[${'#'.repeat(Math.round(share * room)).padEnd(room, '.')}] ${text}`;
}

/** 1.2 GB: powers of ten, as disks are sold. */
function amount(bytes: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ] as const)
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}`;
  return `${bytes} B`;
}

function clock(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(whole / 3600);
  return `${hours > 0 ? `${hours}:` : ''}${pad(Math.floor(whole / 60) % 60)}:${pad(whole % 60)}`;
}
