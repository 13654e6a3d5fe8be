import type { CallbackContext, Logs, TrainerCallback } from '@attune/core';
import type { ReportTable } from '@attune/core/training';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { isTraining } from './alarm.js';

const shape = {
  /** Completions to show; null: all of the rollout. Default 4. */
  numCompletionsToPrint: z.int().min(1).nullable().default(4).meta({ aka: 'count n rows' }),
};
const options = z.strictObject(shape);

/** Options of {@link CompletionsCallback}. */
export type CompletionsOptions = OptionsInput<typeof shape>;

/**
 * Shows the last completions in the log, at each row of it: prompt, answer, rewards and advantage,
 * in at most 80 columns. `reportTo: 'html'` shows all of the last rollout as a table.
 */
export class CompletionsCallback implements TrainerCallback {
  readonly name = 'CompletionsCallback';
  readonly firstRankOnly = true;
  readonly #count: number | null;

  /** @throws UNKNOWN_OPTION, INVALID_OPTION */
  constructor(given: CompletionsOptions = {}) {
    const checked = parseOptions(options, given, { where: 'CompletionsCallback' });
    this.#count = checked.numCompletionsToPrint;
  }

  onLog({ objective, logger }: CallbackContext, logs: Logs): void {
    if (!isTraining(logs)) return;
    for (const table of objective.tables?.() ?? []) logger.info(formatTable(table, this.#count));
  }
}

const WIDTH = 80;

/**
 * A table as text: texts under each other, with line breaks as they are read, then the numbers.
 *
 * @param count rows to show; null: all
 */
export function formatTable({ title, columns, rows }: ReportTable, count: number | null): string {
  const shown = count === null ? rows : rows.slice(0, count);
  const isText = columns.map((_, c) => rows.some((row) => typeof row[c] === 'string'));
  const label = Math.max(0, ...columns.filter((_, c) => isText[c]).map(({ length }) => length));
  const lines = shown.flatMap((row) => {
    const texts = columns.flatMap((name, c) =>
      isText[c]
        ? hanging(
            name.padEnd(label),
            JSON.stringify(row[c] ?? '')
              .slice(1, -1)
              .split(' '),
          )
        : [],
    );
    const numbers = columns.flatMap((name, c) => {
      const value = row[c];
      return isText[c] ? [] : [`${name} ${typeof value === 'number' ? brief(value) : 'none'}`];
    });
    const last = numbers.map((each, i) => (i < numbers.length - 1 ? `${each},` : each));
    return [...texts, ...hanging(''.padEnd(label), last), ''];
  });
  const left = rows.length - shown.length;
  return [`${title}:`, ...lines.slice(0, -1), ...(left > 0 ? [`  and ${left} more`] : [])].join(
    '\n',
  );
}

/** Words in lines of at most 80 columns behind a label, those that follow indented as far. */
function hanging(label: string, words: readonly string[]): string[] {
  const room = WIDTH - label.length - 4;
  const lines: string[] = [];
  words.forEach((word, i) => {
    const line = i === 0 ? word : `${lines.pop()!} ${word}`;
    if (i > 0 && line.length > room) lines.push(line.slice(0, -word.length - 1), word);
    else lines.push(line);
    // A word that is longer than a line.
    for (let long = lines.at(-1)!; long.length > room; long = lines.at(-1)!)
      lines.splice(-1, 1, long.slice(0, room), long.slice(room));
  });
  const indent = ' '.repeat(label.length);
  return lines.map((text, i) => `  ${i === 0 ? label : indent}  ${text}`.trimEnd());
}

const brief = (value: number): string => String(Number(value.toPrecision(4)));
