import { writeSync } from 'node:fs';

/**
 * Where the JSON lines go. scripts/bench.mjs opens a channel of its own for them, because Dawn
 * prints refused commands to standard output.
 */
const LINES = Number(process.env.ATTUNE_BENCH_FD ?? 1);

/** Prints a line of a bench. */
export const printLine = (line: Readonly<Record<string, unknown>>): void =>
  void writeSync(LINES, `${JSON.stringify(line)}\n`);
