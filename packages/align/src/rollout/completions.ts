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

/** As text, for a log. @param count rows to show; null: all */
export function formatCompletions({ step, rows }: CompletionsTable, count: number | null): string {
  const shown = count === null ? rows : rows.slice(0, count);
  const lines = shown.map(({ prompt, completion, rewards, advantage }) => {
    const values = Object.entries(rewards).map(
      ([name, value]) => `${name} ${value === null ? 'none' : brief(value)}`,
    );
    return `  ${textOf(prompt)} -> ${textOf(completion)}\n    ${values.join(', ')}, advantage ${brief(advantage)}`;
  });
  const left = rows.length - shown.length;
  return [
    `completions of update ${step}:`,
    ...lines,
    ...(left > 0 ? [`  and ${left} more`] : []),
  ].join('\n');
}

const brief = (value: number): string => String(Number(value.toPrecision(4)));

const textOf = (prompt: Prompt): string =>
  JSON.stringify(typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? ''));
