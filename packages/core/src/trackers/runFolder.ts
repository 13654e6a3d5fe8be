import { hostname, join } from '#platform';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';

/** Where a tracker puts its files: `loggingDir`, else `outputDir`. */
export const trackerFolder = (args: TrainingArguments): string => args.loggingDir ?? args.outputDir;

/**
 * `runs/Nov25_23-59-01_host` below outputDir, as transformers names the folder of a run; or
 * `loggingDir`.
 */
export function tensorBoardFolder(args: TrainingArguments, now: Date): string {
  if (args.loggingDir !== null) return args.loggingDir;
  const two = (n: number) => String(n).padStart(2, '0');
  const month = now.toLocaleString('en-US', { month: 'short' });
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join('-');
  return join(args.outputDir, 'runs', `${month}${two(now.getDate())}_${time}_${hostname()}`);
}
