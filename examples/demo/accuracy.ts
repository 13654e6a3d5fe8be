import type { Tokenizer } from '@attune/core';
import type { GenerativeModel } from '@attune/core/models';

export interface ReviewRow extends Record<string, unknown> {
  readonly prompt: string;
  readonly completion: string;
  readonly issue: string;
}

export interface Accuracy {
  readonly rows: number;
  /** Share of rows whose review names the right issue. */
  readonly right: number;
  /** Share that always answering the most frequent issue would get. */
  readonly majority: number;
  readonly majorityIssue: string;
}

/** The issue that a review names: the rest of its first line. */
const issueOf = (review: string): string => /^\s*issue: (\S+)/.exec(review)?.[1] ?? '';

/** The model's reviews, greedy, prompts in batches. */
export async function review(
  model: GenerativeModel,
  tokenizer: Tokenizer,
  prompts: readonly string[],
  maxNewTokens: number,
): Promise<string[]> {
  const reviews: string[] = [];
  const batchSize = 32;
  for (let at = 0; at < prompts.length; at += batchSize) {
    const inputIds = prompts.slice(at, at + batchSize).map((text) => tokenizer.encode(text));
    const { sequences } = await model.generate({ inputIds, maxNewTokens });
    sequences.forEach((ids, i) => {
      reviews.push(tokenizer.decode(ids.slice(inputIds[i]!.length)).trim());
    });
  }
  return reviews;
}

/** How often the model names the right issue, against the best constant answer. */
export async function accuracy(
  model: GenerativeModel,
  tokenizer: Tokenizer,
  rows: readonly ReviewRow[],
): Promise<Accuracy> {
  const reviews = await review(
    model,
    tokenizer,
    rows.map((row) => row.prompt),
    12,
  );
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(row.issue, (counts.get(row.issue) ?? 0) + 1);
  const [majorityIssue, majority] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
  const right = rows.filter((row, i) => issueOf(reviews[i]!) === row.issue).length;
  return {
    rows: rows.length,
    right: right / rows.length,
    majority: majority / rows.length,
    majorityIssue,
  };
}
