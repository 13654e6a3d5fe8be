import type { ReportTable } from '@attune/core/training';
import type { Prompt } from './rewards.js';

/** A completion of the last rollout, with what it was worth. */
export interface CompletionRecord {
  readonly prompt: Prompt;
  readonly completion: Prompt;
  /** By reward function; null: no opinion. */
  readonly rewards: Readonly<Record<string, number | null>>;
  readonly advantage: number;
}

/** The completions of one rollout. */
export interface CompletionsTable {
  /** The first update that is made of them. */
  readonly step: number;
  readonly rows: readonly CompletionRecord[];
}

/** As the HTML report shows it, and the log. */
export function reportTable({ step, rows }: CompletionsTable): ReportTable {
  const names = Object.keys(rows[0]?.rewards ?? {});
  return {
    title: `completions of update ${step}`,
    columns: ['prompt', 'completion', ...names, 'advantage'],
    rows: rows.map(({ prompt, completion, rewards, advantage }) => [
      textOf(prompt),
      textOf(completion),
      ...names.map((name) => rewards[name] ?? null),
      advantage,
    ]),
  };
}

/** A text as it is; of messages the last. */
const textOf = (prompt: Prompt): string =>
  typeof prompt === 'string' ? prompt : String(prompt.at(-1)?.content ?? '');
