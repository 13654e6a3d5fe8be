import type { CallbackContext, Logs, TrainerCallback } from '@attune/core';

/** What a callback saw in the log of a run. */
export interface Finding {
  /** What was seen, with its numbers. */
  readonly seen: string;
  /** What usually makes it. */
  readonly why: string;
  /** What to change, in names of arguments. */
  readonly remedy: string;
}

/** A row of the log of training, as `state.logHistory` holds it. */
export type LogRow = Readonly<Record<string, number>>;

/** Rows that count as one measurement, so that one odd batch raises no alarm. */
export const WINDOW = 3;

/** The mean of a metric over some rows; null where one of them has it not. */
export function meanOver(rows: readonly LogRow[], name: string): number | null {
  const values = rows.map((row) => row[name]);
  if (values.length === 0 || values.some((value) => value === undefined)) return null;
  return values.reduce<number>((sum, value) => sum + value!, 0) / values.length;
}

/** The first and the last value of a metric, each over {@link WINDOW} rows that do not overlap. */
export function change(
  rows: readonly LogRow[],
  name: string,
): { readonly first: number; readonly last: number } | null {
  if (rows.length < 2 * WINDOW) return null;
  const [first, last] = [
    meanOver(rows.slice(0, WINDOW), name),
    meanOver(rows.slice(-WINDOW), name),
  ];
  return first === null || last === null ? null : { first, last };
}

/**
 * A callback that looks at the log of training, row by row, and warns once of what it sees. It
 * reads numbers that the run logs anyway, and never stops the run.
 */
export abstract class Alarm implements TrainerCallback {
  abstract readonly name: string;
  /** People read it. */
  readonly firstRankOnly = true;
  #finding: Finding | null = null;
  #wasRaised = false;

  /** What it has warned of; null: nothing. After a resume, of what came after it. */
  get finding(): Finding | null {
    return this.#finding;
  }

  /**
   * @param rows the training rows of the log so far, the newest last
   * @returns null where all is well, or too few rows have been logged
   */
  protected abstract look(rows: readonly LogRow[], context: CallbackContext): Finding | null;

  onLog(context: CallbackContext, logs: Logs): void {
    if (this.#wasRaised || !isTraining(logs)) return;
    const rows = context.state.logHistory.filter(isTraining);
    const finding = this.look(rows, context);
    if (!finding) return;
    this.#finding = finding;
    this.#wasRaised = true;
    const { seen, why, remedy } = finding;
    context.logger.warn(
      `${this.name} at update ${context.state.globalStep}: ${seen} ${why} ${remedy}`,
    );
  }

  exportState(): Record<string, unknown> {
    return { wasRaised: this.#wasRaised };
  }

  importState({ wasRaised }: Readonly<Record<string, unknown>>): void {
    this.#wasRaised = wasRaised === true;
  }
}

export const isTraining = (row: Logs): row is LogRow => 'loss' in row && 'learningRate' in row;

/** For people. */
export const shown = (value: number): string => String(Number(value.toPrecision(3)));

/** 0.52 -> "52 %" */
export const percent = (share: number): string => `${Math.round(100 * share)} %`;
