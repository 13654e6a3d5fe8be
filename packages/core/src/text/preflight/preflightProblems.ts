import { isMeant } from '../conversationColumns.js';
import type { TextTokenizer } from '../tokenizeRow.js';
import type { NotedRow, PreflightCheck } from './preflight.js';
import type { PreflightFacts } from './preflightReport.js';
import { textOf } from './preflightText.js';

/** A run without rows cannot be allowed. */
export type PreflightFailure = 'no-rows';

/** What is said and not refused. */
export type PreflightWarning =
  | 'few-stop-tokens'
  | 'stop-is-not-eos'
  | 'no-eos-token'
  | 'doubled-eos'
  | 'other-labels'
  | 'unused-columns';

/** Something about the rows that is wrong, or likely so. */
export interface PreflightProblem {
  /** Beside these, the name of a condition that all rows are in. */
  readonly check: PreflightCheck | PreflightFailure | PreflightWarning | (string & {});
  /** Whether `train()` refuses the run for it. */
  readonly refused: boolean;
  readonly message: string;
  readonly remedy: string;
  /** The first such row: origin, ids, labels, text. */
  readonly details: Readonly<Record<string, unknown>>;
}

/** Share of answers that must teach to stop, below which it is said. */
const FEW = 0.99;

export function findProblems(
  facts: PreflightFacts,
  tokenizer: TextTokenizer | null,
  eosTokenIds: readonly number[],
  allow: readonly string[],
): PreflightProblem[] {
  const problems: PreflightProblem[] = [];
  const about = (row: NotedRow | null) =>
    row
      ? {
          origin: row.origin,
          inputIds: Array.from(row.tokens.inputIds),
          labels: Array.from(row.tokens.labels),
          text: textOf(tokenizer, row.tokens.inputIds),
        }
      : {};
  const refuse = (check: string, row: NotedRow | null, message: string, remedy: string) =>
    problems.push({ check, refused: !allow.includes(check), message, remedy, details: about(row) });
  const warn = (check: PreflightWarning, row: NotedRow | null, message: string, remedy: string) =>
    problems.push({ check, refused: false, message, remedy, details: about(row) });
  const first = (row: NotedRow | null) => (row ? `${row.origin}: ${shown(tokenizer, row)}` : '');

  const meant = [...facts.unusedColumns].filter(([column]) => isMeant(column));
  if (meant.length > 0)
    warn(
      'unused-columns',
      meant[0]![1].first,
      `not trained on: ${meant.map(([column, { count }]) => `"${column}" of ${count.toLocaleString('en-US')} ${count === 1 ? 'row' : 'rows'}`).join(', ')} (first: ${meant[0]![1].first?.origin}).`,
      'Rows of this format have no place for it: give messages, write it into the prompt, or take the column out.',
    );
  for (const [name, { count, first: row, message, remedy, isRefused = true }] of facts.conditions)
    if (count > 0 && count === facts.rows)
      problems.push({
        check: name,
        refused: isRefused && !allow.includes(name),
        message,
        remedy,
        details: about(row),
      });
  const { untrained, doubledBos, promptMismatch, doubledEos, shiftedLabels, withoutStop } = facts;
  // Rows of an evaluation teach nothing, so that they may end as they like.
  const teaches = facts.use === 'training';
  const answers = teaches ? facts.answers : 0;
  if (untrained.count > 0)
    refuse(
      'no-trained-token',
      untrained.first,
      `${rows(untrained.count)} no trained token, though nothing was cut off. The first is ${first(untrained.first)}.`,
      'Look at its labels or its completion; leave such rows out.',
    );
  if (
    !facts.isStart &&
    facts.rows > 0 &&
    facts.leftOut === facts.rows &&
    !problems.some((p) => p.refused)
  )
    problems.push({
      check: 'no-rows',
      refused: true,
      message: `none of the ${facts.rows} ${facts.title} ${facts.teaches ? 'has anything to learn from' : 'can be answered'}.`,
      remedy:
        facts.leftOutTruncated > 0
          ? facts.teaches
            ? `${facts.leftOutTruncated} were cut off after ${facts.maxLength} tokens, within their prompts: raise maxLength.`
            : `${facts.leftOutTruncated} prompts have more than ${facts.maxLength} tokens, which leaves no room for an answer: shorten them, or ask for shorter answers.`
          : 'Look at the labels of the rows.',
      details: {},
    });
  if (answers > 0 && facts.answersWithStop === 0) {
    if (facts.knowsStops)
      refuse(
        'no-stop-token',
        withoutStop.first,
        `no row teaches when to stop: in none of ${answers} answers is an end token trained (${stopNames(tokenizer, eosTokenIds)}). The first ends with ${JSON.stringify(ending(tokenizer, withoutStop.first))}.`,
        facts.answersTruncated === answers
          ? `All were cut off after ${facts.maxLength} tokens: raise maxLength.`
          : 'End each answer with the end token: put it into the chat template, within {% generation %} where there is one, or into the completion.',
      );
    else
      warn(
        'no-eos-token',
        withoutStop.first,
        'neither the tokenizer nor the model has an eos token, so that the model cannot learn to stop.',
        'Name one in tokenizer_config.json (eos_token).',
      );
  } else if (answers > 0 && facts.answersWithStop < FEW * answers)
    warn(
      'few-stop-tokens',
      withoutStop.first,
      `${answers - facts.answersWithStop} of ${answers} answers do not teach when to stop (first: ${withoutStop.first?.origin}).`,
      facts.answersTruncated > 0
        ? `${facts.answersTruncated} were cut off after ${facts.maxLength} tokens: raise maxLength, or leave long rows out.`
        : 'Look at how that row ends.',
    );
  const stops = teaches ? [...facts.stopCounts.keys()] : [];
  if (stops.length > 0 && eosTokenIds.length > 0 && !stops.some((id) => eosTokenIds.includes(id)))
    warn(
      'stop-is-not-eos',
      null,
      `answers end with ${stops.map((id) => name(tokenizer, id)).join(', ')}, but generate() stops at ${stopNames(null, eosTokenIds, tokenizer)}.`,
      `Pass eosTokenId: ${stops[0]} to generate(), or add it to eos_token_id in generation_config.json.`,
    );
  if (doubledBos.count > 0)
    refuse(
      'doubled-bos',
      doubledBos.first,
      `${doubledBos.count} ${doubledBos.count === 1 ? 'row begins' : 'rows begin'} with two BOS tokens. The first is ${first(doubledBos.first)}.`,
      'The tokenizer adds one itself: take it out of the text, or give messages instead of text that a chat template made.',
    );
  if (promptMismatch.count > 0)
    refuse(
      'prompt-mismatch',
      promptMismatch.first,
      `in ${promptMismatch.count} ${promptMismatch.count === 1 ? 'row' : 'rows'} the chat template ends the prompt alone with ${JSON.stringify(promptMismatch.first?.detail ?? '')}, which is not there before the completion: the model would meet another prompt than it learned. The first is ${first(promptMismatch.first)}.`,
      'Use a chat template that renders the prompt the same way in both cases, or put that text at the start of the completion.',
    );
  if (doubledEos.count > 0)
    warn(
      'doubled-eos',
      doubledEos.first,
      `${doubledEos.count} ${doubledEos.count === 1 ? 'row ends' : 'rows end'} with two EOS tokens (first: ${doubledEos.first?.origin}).`,
      'The tokenizer adds one itself: take it out of the text.',
    );
  if (shiftedLabels.count > 0)
    warn(
      'other-labels',
      shiftedLabels.first,
      `${shiftedLabels.count} ${shiftedLabels.count === 1 ? 'row has' : 'rows have'} labels that are not the ids at their place (first: ${shiftedLabels.first?.origin}).`,
      'If they are shifted to the next token: give them as they lie, shifting is done here.',
    );
  return problems;
}

const rows = (count: number): string =>
  count === 1 ? '1 row has' : `${count.toLocaleString('en-US')} rows have`;

const name = (tokenizer: TextTokenizer | null, id: number): string =>
  tokenizer?.decode ? `${textOf(tokenizer, [id])} (${id})` : `${id}`;

function stopNames(
  own: TextTokenizer | null,
  eosTokenIds: readonly number[],
  tokenizer: TextTokenizer | null = own,
): string {
  const ids = new Set(eosTokenIds);
  if (own?.eosTokenId != null) ids.add(own.eosTokenId);
  return [...ids].map((id) => name(tokenizer, id)).join(', ');
}

/** Ids and text of a row, cut to what a message can hold. */
function shown(tokenizer: TextTokenizer | null, { tokens }: NotedRow): string {
  const ids = Array.from(
    tokens.inputIds.length > 12 ? Array.from(tokens.inputIds).slice(0, 12) : tokens.inputIds,
  );
  const more = tokens.inputIds.length > ids.length ? ', ...' : '';
  const list = `ids [${ids.join(', ')}${more}]`;
  if (!tokenizer?.decode) return list;
  const text = textOf(tokenizer, tokens.inputIds);
  return `${JSON.stringify(text.length > 160 ? `${text.slice(0, 160)}...` : text)}, ${list}`;
}

const ending = (tokenizer: TextTokenizer | null, row: NotedRow | null): string =>
  row ? textOf(tokenizer, Array.from(row.tokens.inputIds).slice(-12)).slice(-60) : '';
