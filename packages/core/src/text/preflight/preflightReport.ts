import { z } from 'zod';
import { outputHasColors } from '#platform';
import { AttuneError } from '../../util/errors.js';
import { type OptionsInput, parseOptions } from '../../util/options.js';
import { IGNORE_INDEX, type TokenExample } from '../collator.js';
import type { TextTokenizer } from '../tokenizeRow.js';
import type { Noted, NotedRow, RowCondition } from './preflight.js';
import { findProblems, type PreflightProblem } from './preflightProblems.js';
import { cropped, indented, type Segment, segmentsOf, textOf } from './preflightText.js';

/** Counts over all rows. Where nothing else is said, of rows that are trained on. */
export interface PreflightFacts {
  readonly use: 'training' | 'evaluation';
  /** What the rows are called: "training rows", `evaluation rows "math"`. */
  readonly title: string;
  /** What tokens with labels are called: "trained", "scored". */
  readonly word: string;
  /** Whether rows have anything to learn in them: prompts alone have not. */
  readonly teaches: boolean;
  /** Conditions that rows may be in, and how many are. */
  readonly conditions: ReadonlyMap<string, RowCondition & Noted>;
  /** Whether these are the first rows of a stream, and not all. */
  readonly isStart: boolean;
  /** All rows, those that are left out among them. */
  readonly rows: number;
  /** Rows with nothing to learn from. */
  readonly leftOut: number;
  /** How many of these had their end cut off. */
  readonly leftOutTruncated: number;
  /** Texts of the rows that are trained on: one a row, of preference pairs two. */
  readonly texts: number;
  /** Texts whose end was cut off. */
  readonly truncated: number;
  readonly tokens: number;
  /** Tokens with a label; the first of a row is never predicted. */
  readonly trainedTokens: number;
  /** In tokens. */
  readonly shortest: number;
  readonly longest: number;
  readonly maxLength: number;
  /** Rows that begin with the BOS token. */
  readonly withBos: number;
  /** Rows in which a token that ends an answer is trained. */
  readonly withStop: number;
  /** Rows of prompt + completion or of a conversation, and how many of these teach to stop. */
  readonly answers: number;
  readonly answersWithStop: number;
  readonly answersTruncated: number;
  /** Rows in which the end of the prompt and the completion are one token. */
  readonly boundaryMerged: number;
  /** Rows that the chat template renders. */
  readonly throughTemplate: number;
  /** Which tokens end answers, and in how many rows. */
  readonly stopCounts: ReadonlyMap<number, number>;
  /** Columns that have no place in the rows as they are read, of how many rows. */
  readonly unusedColumns: ReadonlyMap<string, Noted>;
  /** Whether an eos token is known at all. */
  readonly knowsStops: boolean;
  /** SHA-256 of the chat template; null where no row goes through one. */
  readonly templateHash: string | null;
  readonly untrained: Noted;
  readonly doubledBos: Noted;
  readonly doubledEos: Noted;
  readonly promptMismatch: Noted;
  readonly shiftedLabels: Noted;
  readonly withoutStop: Noted;
}

/** A row as it is trained on. */
export interface PreviewedRow {
  readonly origin: string;
  readonly tokens: number;
  readonly trainedTokens: number;
  /** The decoded row, cut where training begins and ends. */
  readonly segments: readonly Segment[];
  /**
   * Where the end of the prompt merges with the answer: how the prompt alone ends, and what stands
   * there before the answer and is learned with it.
   */
  readonly boundary?: { readonly alone: string; readonly within: string };
}

const formatShape = {
  /**
   * Trained text in green, the rest dimmed; without, trained text stands in ⟦ ⟧. Default: as the
   * terminal allows.
   */
  color: z.boolean().optional().meta({ aka: 'colors colour' }),
  /** List the problems. Default true. */
  problems: z.boolean().default(true),
};
const formatOptions = z.strictObject(formatShape);

/** How a {@link PreflightReport} is printed. */
export type FormatOptions = OptionsInput<typeof formatShape>;

/** Columns that are named at most. */
const MOST_COLUMNS = 12;

/**
 * What will be trained on, and what is wrong with it. `String(report)` is for people, the fields
 * are for programs.
 */
export class PreflightReport {
  readonly problems: readonly PreflightProblem[];
  /** The first rows, decoded. */
  readonly samples: readonly PreviewedRow[];
  /** Trained tokens / tokens. */
  readonly trainedShare: number;
  /** Rows in which a stop token is trained / rows trained on. */
  readonly stopShare: number;
  /** Tokens that end answers, with the rows in which they are trained. */
  readonly stopTokens: readonly {
    readonly id: number;
    readonly text: string;
    readonly rows: number;
  }[];
  readonly #bos: string | null;

  constructor(
    readonly facts: PreflightFacts,
    shown: readonly NotedRow[],
    tokenizer: TextTokenizer | null,
    eosTokenIds: readonly number[],
    allow: readonly string[],
    judged: readonly PreflightProblem[] = [],
  ) {
    const bos = tokenizer?.bosTokenId ?? null;
    this.#bos = bos === null ? null : textOf(tokenizer, [bos]);
    this.problems = [...findProblems(facts, tokenizer, eosTokenIds, allow), ...judged];
    this.samples = shown.map(({ origin, tokens, promptEnd }) => {
      const segments = segmentsOf(tokenizer, tokens);
      return {
        origin,
        tokens: tokens.inputIds.length,
        trainedTokens: segments.reduce((n, s) => n + (s.trained ? s.tokens : 0), 0),
        segments,
        ...(promptEnd && { boundary: boundaryOf(tokenizer, tokens, promptEnd) }),
      };
    });
    const kept = facts.texts;
    this.trainedShare = facts.tokens > 0 ? facts.trainedTokens / facts.tokens : 0;
    this.stopShare = kept > 0 ? facts.withStop / kept : 0;
    this.stopTokens = [...facts.stopCounts]
      .sort((a, b) => b[1] - a[1])
      .map(([id, rows]) => ({ id, text: textOf(tokenizer, [id]), rows }));
  }

  /** Why a run on these rows is refused; null when it is not. */
  refusal(): AttuneError | null {
    const refused = this.problems.filter((p) => p.refused);
    const [first] = refused;
    if (!first) return null;
    const names = refused.map((p) => `'${p.check}'`).join(', ');
    const remedies = refused.map((p) => p.remedy).join(' ');
    return new AttuneError(
      first.check.toUpperCase().replaceAll('-', '_'),
      refused.map((p) => p.message).join('\n  '),
      {
        remedy: refused.some((p) => p.check === 'no-rows')
          ? remedies
          : `${remedies} To train all the same: preflight: { allow: [${names}] }.`,
        details: { ...first.details, checks: refused.map((p) => p.check) },
      },
    );
  }

  format(options: FormatOptions = {}): string {
    const { color = outputHasColors(), problems } = parseOptions(formatOptions, options, {
      where: 'format',
    });
    const lines = [
      `${this.facts.isStart ? 'a stream, its first ' : ''}${count(this.facts.rows)} ${this.facts.rows === 1 ? this.facts.title.replace('rows', 'row') : this.facts.title}`,
      ...this.#summary(),
    ];
    for (const { origin, tokens, trainedTokens, segments, boundary } of this.samples) {
      lines.push(
        `  ${origin}: ${count(tokens)} tokens${this.facts.teaches ? `, ${count(trainedTokens)} ${this.facts.word}` : ''}`,
      );
      lines.push(
        indented(
          segments.map((s) => cropped(s)),
          color,
        ),
      );
      if (boundary)
        lines.push(
          `    the prompt alone ends with ${boundary.alone}; before its answer stands ${boundary.within}, which is ${this.facts.word}`,
        );
    }
    if (problems)
      for (const { refused, message, remedy } of this.problems)
        lines.push(`  ${refused ? 'REFUSED' : 'warning'}: ${message}`, `    Fix: ${remedy}`);
    return lines.join('\n');
  }

  /** Counts, samples and problems; of rows that are noted, their number. */
  toJSON(): Readonly<Record<string, unknown>> {
    const { facts, trainedShare, stopShare, stopTokens, problems, samples } = this;
    const conditions = Object.fromEntries(
      [...facts.conditions].map(([name, { count: n }]) => [name, n]),
    );
    const counts = Object.entries(facts).flatMap(([name, value]) => {
      if (value instanceof Map) return [];
      const isNoted = typeof value === 'object' && value !== null;
      return [[name, isNoted ? (value as Noted).count : value] as const];
    });
    const unusedColumns = Object.fromEntries(
      [...facts.unusedColumns].map(([column, { count: n }]) => [column, n]),
    );
    const shares = {
      ...(facts.conditions.size > 0 && { conditions }),
      unusedColumns,
      trainedShare,
      stopShare,
      stopTokens,
    };
    return { ...Object.fromEntries(counts), ...shares, problems, samples };
  }

  toString(): string {
    return this.format();
  }

  /** The columns, those that most rows have first. */
  #unusedColumns(): string {
    const columns = [...this.facts.unusedColumns].sort((a, b) => b[1].count - a[1].count);
    const shown = columns.slice(0, MOST_COLUMNS).map(([column, noted]) => {
      return noted.count === this.facts.rows ? column : `${column} (${rows(noted.count)})`;
    });
    const more = columns.length - shown.length;
    return `the columns ${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
  }

  #summary(): string[] {
    const { facts } = this;
    const kept = facts.rows - facts.leftOut;
    const all = kept === facts.texts ? rows(kept) : `${count(facts.texts)} texts`;
    const of = (n: number) => `${count(n)} of ${all}`;
    const line = (name: string, text: string) => `  ${name.padEnd(14)} ${text}`;
    const stops = this.stopTokens.map(({ text }) => text).join(', ');
    const learned = [
      line(
        facts.word,
        `${count(facts.trainedTokens)} of ${count(facts.tokens)} tokens (${percent(this.trainedShare)})`,
      ),
      line(
        'stop token',
        stops
          ? `${stops} is ${facts.word} in ${of(facts.withStop)} (${percent(this.stopShare)})`
          : facts.knowsStops
            ? `${facts.word} in no row`
            : 'none is known',
      ),
    ];
    return [
      ...(facts.teaches ? learned : []),
      ...(this.#bos === null
        ? []
        : [
            line(
              'BOS',
              `${this.#bos} begins ${of(facts.withBos)}, doubled in ${facts.doubledBos.count || 'none'}`,
            ),
          ]),
      line(
        'length',
        `${count(facts.shortest)} to ${count(facts.longest)} tokens${facts.truncated > 0 ? `; ${of(facts.truncated)} cut off after ${count(facts.maxLength)}` : ''}`,
      ),
      ...(facts.leftOut > 0
        ? [
            line(
              'left out',
              facts.teaches
                ? `${rows(facts.leftOut)} with nothing to learn from${facts.leftOutTruncated > 0 ? `, ${count(facts.leftOutTruncated)} after being cut off at ${count(facts.maxLength)} tokens` : ''}`
                : `${rows(facts.leftOut)} of more than ${count(facts.maxLength)} tokens, or of none`,
            ),
          ]
        : []),
      ...[...facts.conditions.values()]
        .filter((held) => held.count > 0)
        .map(({ label, count: n, first }) =>
          line('of these', `${rows(n)}: ${label} (first: ${first?.origin})`),
        ),
      ...(facts.unusedColumns.size > 0 ? [line('not used', this.#unusedColumns())] : []),
      ...(facts.templateHash
        ? [line('chat template', `sha256 ${facts.templateHash.slice(0, 16)}`)]
        : []),
    ];
  }
}

/** Tokens that two splits differ in, each with its id. */
function boundaryOf(
  tokenizer: TextTokenizer | null,
  { inputIds, labels }: TokenExample,
  promptEnd: readonly number[],
) {
  const named = (ids: readonly number[]) =>
    ids.map((id) => `${JSON.stringify(textOf(tokenizer, [id]))} (${id})`).join(' ') || 'nothing';
  const start = Array.from(labels).findIndex((label) => label !== IGNORE_INDEX);
  const within = Array.from(inputIds).slice(start, start + Math.max(promptEnd.length, 1));
  return { alone: named(promptEnd), within: named(within) };
}

const count = (n: number): string => n.toLocaleString('en-US');
const rows = (n: number): string => `${count(n)} ${n === 1 ? 'row' : 'rows'}`;
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
