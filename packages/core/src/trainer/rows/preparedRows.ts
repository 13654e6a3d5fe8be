import { type Examples, firstExamples, isStream } from '../../dataset/loader.js';
import type { RowSource } from '../../dataset/rowSource.js';
import type { LanguageModel } from '../../models/languageModel.js';
import type { Preflight } from '../../text/preflight/preflight.js';
import type { PreflightReport } from '../../text/preflight/preflightReport.js';
import type { TextTokenizer } from '../../text/tokenizeRow.js';
import type { Objective } from '../../training/objective.js';
import type { RowUse } from '../../training/rowRules.js';
import { AttuneError } from '../../util/errors.js';
import { prepareRows } from './prepareRows.js';
import type { RowLengths } from './rowLengths.js';

/** Rows of a stream that are read where only its beginning is looked at. */
const BEGINNING = 100;

type ByUse<T> = Readonly<Record<RowUse, Map<RowSource, T>>>;
const byUse = <T>(): ByUse<T> => ({ training: new Map(), evaluation: new Map() });

/**
 * The sets of rows of a trainer as its objective takes them: each is tokenised once, and shown and
 * checked before the first step. The rows of a stream go through while they are used.
 */
export class PreparedRows {
  readonly #examples = byUse<Promise<Examples<unknown>>>();
  /** They outlive rows that are refused, which are what a preview is for. */
  readonly #preflights = byUse<Preflight>();

  /** @param lengths what keeps the lengths of training rows; null: nobody asks for them */
  constructor(
    private readonly model: LanguageModel,
    private readonly objective: Objective,
    private readonly tokenizer: TextTokenizer | null,
    readonly lengths: RowLengths | null,
  ) {}

  /**
   * @param name of an evaluation set, where there are several
   * @throws NO_ROWS, and what a row is refused for
   */
  async examples(source: RowSource, use: RowUse, name?: string): Promise<Examples<unknown>> {
    const prepared = this.#examples[use];
    const held = prepared.get(source);
    if (held) return held;
    const { model, objective, tokenizer } = this;
    const title = `${use} rows${name === undefined ? '' : ` "${name}"`}`;
    const preflight = objective.rows?.preflight?.(model, tokenizer, use, title) ?? null;
    if (preflight) this.#preflights[use].set(source, preflight);
    const { logger } = model.attune;
    const lengths = use === 'training' ? this.lengths : null;
    const context = { use, title, model, tokenizer, preflight, logger, lengths };
    const examples = prepareRows(source, objective.rows ?? {}, context);
    prepared.set(source, examples);
    examples.catch(() => prepared.delete(source));
    return examples;
  }

  /**
   * Shows the rows that were seen, once, and refuses what cannot be meant.
   *
   * @throws NO_TRAINED_TOKEN, NO_STOP_TOKEN, DOUBLED_BOS, PROMPT_MISMATCH
   */
  check(source: RowSource, use: RowUse): void {
    if (this.objective.rows?.isPreflightOn === false) return;
    this.#preflights[use].get(source)?.check(this.model.attune.logger);
  }

  /**
   * The examples of an evaluation set, checked before they are needed; of a stream its beginning.
   */
  async checkAhead(source: RowSource, name: string | undefined): Promise<void> {
    const examples = await this.examples(source, 'evaluation', name);
    if (isStream(examples)) await firstExamples(examples, BEGINNING);
    this.check(source, 'evaluation');
  }

  /**
   * What training rows teach, those of a stream at its beginning.
   *
   * @param rows to show
   * @throws PREVIEW_UNSUPPORTED, NO_ROWS, and what a row is refused for
   */
  async preview(source: RowSource, rows?: number): Promise<PreflightReport> {
    let failure: unknown = null;
    try {
      const examples = await this.examples(source, 'training');
      if (isStream(examples)) await firstExamples(examples, BEGINNING);
    } catch (error) {
      failure = error;
    }
    const report = this.#preflights.training.get(source)?.report(rows);
    // Rows that all teach nothing are what a preview is for.
    const isReported =
      AttuneError.isInstance(failure) && ['NO_ROWS', 'NO_TRAINED_TOKEN'].includes(failure.code);
    if (failure && !(isReported && report && report.facts.rows > 0)) throw failure;
    if (report) return report;
    throw new AttuneError(
      'PREVIEW_UNSUPPORTED',
      `objective "${this.objective.name}" does not say what it trains on.`,
      { remedy: 'Give its rows a preflight, as causalLmRows has.' },
    );
  }
}
