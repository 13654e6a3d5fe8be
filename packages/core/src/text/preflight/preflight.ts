import { z } from 'zod';
import { createHash, outputHasColors } from '#platform';
import { consoleLogger, type Logger } from '../../util/logger.js';
import type { OptionsInput } from '../../util/options.js';
import { IGNORE_INDEX, type TokenExample } from '../collator.js';
import type { TextTokenizer, TokenizedRow } from '../tokenizeRow.js';
import type { PreflightProblem } from './preflightProblems.js';
import { type PreflightFacts, PreflightReport } from './preflightReport.js';

/**
 * What a run is refused for:
 * - `no-trained-token`: a row of several tokens teaches nothing, though nothing of it was cut off;
 * - `no-stop-token`: no prompt + completion or conversation teaches a token that ends an answer;
 * - `doubled-bos`: a row begins with two BOS tokens;
 * - `prompt-mismatch`: the chat template renders a prompt alone otherwise than before its
 *   completion.
 */
export const PREFLIGHT_CHECKS = [
  'no-trained-token',
  'no-stop-token',
  'doubled-bos',
  'prompt-mismatch',
] as const;
/** What a run may be refused for, by name. */
export type PreflightCheck = (typeof PREFLIGHT_CHECKS)[number];

/** Rows that can be shown at most. */
export const PREFLIGHT_MAX_ROWS = 100;

/** What is shown before training, and what is refused. */
const preflightShape = {
  /** Rows to show, at most 100. Default 3. */
  rows: z.int().min(0).max(PREFLIGHT_MAX_ROWS).optional(),
  /** Checks that are said and not refused. Default none. */
  allow: z.array(z.enum(PREFLIGHT_CHECKS)).readonly().optional(),
};
export const preflightOptions = z.strictObject(preflightShape);

/** Options of the check before the first step. */
export type PreflightOptions = OptionsInput<typeof preflightShape>;

/** 'off': nothing is shown or refused. Default 'on'. */
export type PreflightSetting = 'on' | 'off' | PreflightOptions;

/** Under its name: inlined, the options of it would lose their documentation in declarations. */
export const preflightSetting: z.ZodType<PreflightSetting, PreflightSetting> = z.union(
  [z.enum(['on', 'off']), preflightOptions],
  {
    error: `expected "on", "off", or { rows: 0 to ${PREFLIGHT_MAX_ROWS}, allow: a list of ${PREFLIGHT_CHECKS.map((c) => `"${c}"`).join(', ')} }`,
  },
);

/** Something that is fine in a few rows and cannot be meant in all of them. */
export interface RowCondition {
  /** What such rows are, in the summary: "chosen and rejected are equal". */
  readonly label: string;
  /** Where all rows are so: why that teaches nothing. */
  readonly message: string;
  readonly remedy: string;
  /** Whether a run on such rows alone is refused. Default true; else it is said. */
  readonly isRefused?: boolean;
}

/** What a {@link Preflight} knows of the model and its tokenizer. */
export interface PreflightContext extends Omit<PreflightOptions, 'allow'> {
  /** Checks that are said and not refused: of `PREFLIGHT_CHECKS`, and names of `conditions`. */
  readonly allow?: readonly string[] | undefined;
  /** Conditions that rows may be in, by name. A run whose rows are all in one is refused. */
  readonly conditions?: Readonly<Record<string, RowCondition>>;
  /** What else is wrong, or likely so, with rows of which this is known. Default nothing. */
  readonly judge?: (facts: PreflightFacts) => readonly PreflightProblem[];
  /** What tokens with labels are called: "trained", "scored". Default "trained". */
  readonly word?: string;
  /**
   * Whether rows have anything to learn in them. Prompts whose answers are generated have not.
   * Default true.
   */
  readonly teaches?: boolean;
  /** null: rows of ids, of which nothing is known but their labels. */
  readonly tokenizer: TextTokenizer | null;
  /** Where `generate` stops: eos_token_id of generation_config.json or config.json. */
  readonly eosTokenIds: readonly number[];
  /** Tokens beyond which rows are cut off. */
  readonly maxLength: number;
  /**
   * Rows of an evaluation teach nothing: how they end is not looked at, and they are not shown.
   * Default 'training'.
   */
  readonly use?: 'training' | 'evaluation';
  /** What the rows are called. Default "training rows". */
  readonly title?: string;
}

/** A row that a message is about. */
export interface NotedRow {
  /** With the part of the row, where it has several: "rows[3] chosen". */
  readonly origin: string;
  readonly tokens: TokenExample;
  /** Ids that the prompt alone ends with, where it merges with what follows. */
  readonly promptEnd?: readonly number[];
}

/** How many rows, and the first of them. */
export interface Noted {
  count: number;
  first: (NotedRow & { readonly detail?: string }) | null;
}

/**
 * The proof of the mask: sees each row once after it was tokenised, and keeps counts and the first
 * rows, for a report that shows what is trained and refuses what cannot be meant.
 */
export class Preflight {
  /** These are the first rows of a stream, not all. */
  isStart = false;
  #isPassed = false;
  /** Rows of a stream, whose beginning may be read more than once. */
  readonly #seen = new Set<string>();
  readonly #context: PreflightContext;
  readonly #stops: ReadonlySet<number>;
  readonly #blank = new Map<number, boolean>();
  readonly #stopCounts = new Map<number, number>();
  readonly #unused = new Map<string, Noted>();
  readonly #shown: (readonly NotedRow[])[] = [];
  #boundary: readonly NotedRow[] | null = null;
  readonly #conditions = new Map<string, Noted>();
  readonly #facts = {
    rows: 0,
    leftOut: 0,
    texts: 0,
    leftOutTruncated: 0,
    truncated: 0,
    tokens: 0,
    trainedTokens: 0,
    shortest: Number.POSITIVE_INFINITY,
    longest: 0,
    withBos: 0,
    withStop: 0,
    /** Rows that end with an answer: prompt + completion, conversations. */
    answers: 0,
    answersWithStop: 0,
    answersTruncated: 0,
    boundaryMerged: 0,
    throughTemplate: 0,
  };
  readonly #noted = {
    untrained: none(),
    doubledBos: none(),
    doubledEos: none(),
    promptMismatch: none(),
    shiftedLabels: none(),
    withoutStop: none(),
  };

  constructor(context: PreflightContext) {
    this.#context = context;
    const own = context.tokenizer?.eosTokenId ?? null;
    this.#stops = new Set([...context.eosTokenIds, ...(own === null ? [] : [own])]);
  }

  /**
   * Counts a row. Those of a stream count until the check has passed.
   *
   * @param row of several texts (a preference pair), all of them; then all are trained on, or none
   * @param conditions names of those of the context that the row is in
   */
  add(
    origin: string,
    row: TokenizedRow | readonly TokenizedRow[],
    conditions: readonly string[] = [],
  ): void {
    if (this.#isPassed || (this.isStart && this.#seen.has(origin))) return;
    if (this.isStart) this.#seen.add(origin);
    const texts: readonly TokenizedRow[] = 'tokens' in row ? [row] : row;
    const placed = texts.map((text) => ({
      text,
      here: {
        origin: text.part ? `${origin} ${text.part}` : origin,
        tokens: text.tokens,
        ...(text.promptEnd && { promptEnd: text.promptEnd }),
      },
    }));
    const facts = this.#facts;
    facts.rows++;
    const [first] = placed;
    for (const column of first?.text.unusedColumns ?? [])
      note(at(this.#unused, column), first!.here);
    for (const name of conditions) note(at(this.#conditions, name), { ...first!.here, origin });
    const isLeftOut = texts.some(({ example }) => !example);
    for (const { text, here } of placed) this.#addText(text, here, isLeftOut);
    if (isLeftOut) {
      facts.leftOut++;
      if (texts.some(({ truncated }) => truncated)) facts.leftOutTruncated++;
      return;
    }
    const group = placed.map(({ here }) => here);
    if (texts.some(({ promptEnd }) => promptEnd)) this.#boundary ??= group;
    if (this.#shown.length < PREFLIGHT_MAX_ROWS) this.#shown.push(group);
  }

  #addText(row: TokenizedRow, here: NotedRow, isLeftOut: boolean): void {
    const { tokens, kind, truncated } = row;
    const facts = this.#facts;
    const noted = this.#noted;
    if (kind === 'messages' || kind === 'chatPrompt') facts.throughTemplate++;
    if (row.promptMismatch !== null)
      note(noted.promptMismatch, { ...here, detail: row.promptMismatch });
    this.#noteDoubles(here, kind);
    if (isLeftOut) {
      // One token alone has nothing before it to be predicted from: that is no mask gone wrong.
      if (!row.example && !truncated && tokens.labels.length > 1) note(noted.untrained, here);
      return;
    }
    facts.texts++;
    const { inputIds, labels } = tokens;
    if (truncated) facts.truncated++;
    if (row.boundaryMerged) facts.boundaryMerged++;
    if (inputIds[0] === this.#context.tokenizer?.bosTokenId) facts.withBos++;
    facts.tokens += inputIds.length;
    facts.shortest = Math.min(facts.shortest, inputIds.length);
    facts.longest = Math.max(facts.longest, inputIds.length);
    let isOther = false;
    for (let i = 1; i < labels.length; i++)
      if (labels[i] !== IGNORE_INDEX) {
        facts.trainedTokens++;
        isOther ||= labels[i] !== inputIds[i];
      }
    if (isOther) note(noted.shiftedLabels, here);
    this.#noteStop(here, row);
  }

  /**
   * Shows the report before the first step, of evaluation rows without samples; nothing once it has
   * passed.
   *
   * @throws NO_TRAINED_TOKEN, NO_STOP_TOKEN, DOUBLED_BOS, PROMPT_MISMATCH
   */
  check(logger: Logger): void {
    if (this.#isPassed) return;
    const report = this.#context.use === 'evaluation' ? this.report(0) : this.report();
    const color = logger === consoleLogger && outputHasColors();
    logger.info(report.format({ color, problems: false }));
    for (const { refused, message, remedy } of report.problems)
      if (!refused) logger.warn(`${message} ${remedy}`);
    const refusal = report.refusal();
    if (refusal) throw refusal;
    this.#isPassed = true;
  }

  report(rows = this.#context.rows ?? 3): PreflightReport {
    const { tokenizer, maxLength, allow = [], eosTokenIds } = this.#context;
    const { use = 'training', title = 'training rows', word = 'trained' } = this.#context;
    const { conditions = {}, teaches = true } = this.#context;
    const template = tokenizer?.chatTemplate ?? null;
    const facts: PreflightFacts = {
      ...this.#facts,
      ...this.#noted,
      use,
      title,
      word,
      teaches,
      conditions: new Map(
        Object.entries(conditions).map(([name, condition]) => [
          name,
          { ...condition, ...(this.#conditions.get(name) ?? none()) },
        ]),
      ),
      isStart: this.isStart,
      shortest: this.#facts.longest === 0 ? 0 : this.#facts.shortest,
      maxLength,
      stopCounts: this.#stopCounts,
      unusedColumns: this.#unused,
      knowsStops: this.#stops.size > 0,
      templateHash:
        this.#facts.throughTemplate > 0 && template !== null
          ? createHash('sha256').update(template).digest('hex')
          : null,
    };
    const shown = this.#shown.slice(0, rows);
    // One row whose prompt merges with its answer is always shown, with both splits.
    if (rows > 0 && this.#boundary && !shown.includes(this.#boundary)) shown.push(this.#boundary);
    const judged = this.#context.judge?.(facts) ?? [];
    return new PreflightReport(facts, shown.flat(), tokenizer, eosTokenIds, allow, judged);
  }

  #noteDoubles(row: NotedRow, kind: TokenizedRow['kind']): void {
    const { tokenizer } = this.#context;
    const { inputIds, labels } = row.tokens;
    const bos = tokenizer?.bosTokenId ?? null;
    // Ids made elsewhere may be padded on the left, or separated, with a token that is also the
    // BOS.
    const isElse =
      kind === 'tokens' && (bos === tokenizer?.eosTokenId || bos === tokenizer?.padTokenId);
    if (bos !== null && !isElse && inputIds[0] === bos && inputIds[1] === bos)
      note(this.#noted.doubledBos, row);
    const end = inputIds.length - 1;
    const eos = tokenizer?.eosTokenId ?? null;
    if (eos !== null && end > 0 && labels[end] === eos && labels[end - 1] === eos)
      note(this.#noted.doubledEos, row);
  }

  #noteStop(here: NotedRow, row: TokenizedRow): void {
    const facts = this.#facts;
    const stop = this.#stopOf(row);
    const isAnswer = row.kind !== 'text' && row.kind !== 'tokens';
    if (isAnswer) {
      facts.answers++;
      if (row.truncated) facts.answersTruncated++;
      if (stop !== null) facts.answersWithStop++;
      else note(this.#noted.withoutStop, here);
    }
    if (stop === null) return;
    facts.withStop++;
    this.#stopCounts.set(stop, (this.#stopCounts.get(stop) ?? 0) + 1);
  }

  /**
   * The token that teaches to stop: an eos token, or what ends a stretch of trained tokens, white
   * space aside, and is an added token of the tokenizer, as <|im_end|> is. null: none is trained.
   */
  #stopOf({ tokens: { labels }, truncated }: TokenizedRow): number | null {
    const added = this.#context.tokenizer?.addedTokenIds;
    const bos = this.#context.tokenizer?.bosTokenId;
    const last = labels.length - 1;
    for (let i = 1; i <= last; i++) if (this.#stops.has(labels[i]!)) return labels[i]!;
    if (!added) return null;
    for (let i = last; i > 0; i--) {
      if (labels[i] === IGNORE_INDEX) continue;
      const isEnd = i === last ? !truncated : labels[i + 1] === IGNORE_INDEX;
      if (!isEnd) continue;
      let end = i;
      while (end > 1 && labels[end - 1] !== IGNORE_INDEX && this.#isBlank(labels[end]!)) end--;
      if (added.has(labels[end]!) && labels[end] !== bos) return labels[end]!;
    }
    return null;
  }

  #isBlank(id: number): boolean {
    const held = this.#blank.get(id);
    if (held !== undefined) return held;
    const text = this.#context.tokenizer?.decode?.([id], { skipSpecialTokens: false });
    const blank = text !== undefined && text.trim() === '';
    this.#blank.set(id, blank);
    return blank;
  }
}

const none = (): Noted => ({ count: 0, first: null });

function at(all: Map<string, Noted>, name: string): Noted {
  const held = all.get(name) ?? none();
  all.set(name, held);
  return held;
}

function note(noted: Noted, row: NonNullable<Noted['first']>): void {
  noted.count++;
  noted.first ??= row;
}
