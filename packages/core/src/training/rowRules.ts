import type { LanguageModel } from '../models/languageModel.js';
import type { Preflight } from '../text/preflight/preflight.js';
import type { TextTokenizer } from '../text/tokenizeRow.js';
import type { PlainJson } from '../util/json.js';

/** What defines something, by name: two runs are of one kind when these are equal. */
export type Fingerprint = Readonly<Record<string, PlainJson>>;

/** What rows are for. */
export type RowUse = 'training' | 'evaluation';

/** What `encode` may need beside the row. */
export interface EncodeContext {
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  /** Where the row came from, for errors: "train.jsonl:12". */
  readonly origin: string;
  /** Default 'training'. */
  readonly use?: RowUse;
  /** To be shown what each row becomes, where the rules have a preflight. */
  readonly preflight?: Preflight | null;
}

/** What became of a row. */
export interface EncodedRow<Example> {
  /** null: the row has nothing to learn from; it is left out and counted. */
  readonly example: Example | null;
  /**
   * Remarks such as "cut off after 160 tokens"; the Trainer counts equal ones and reports each
   * once.
   */
  readonly notes?: readonly string[];
}

/**
 * How rows of a data set become examples: formats, tokens, masks, packing. The rules say nothing
 * about the loss, so that objectives share them. `causalLmRows` tokenises for SFT, for distillation
 * and for the answers of a preference pair.
 */
export interface RowRules<Example = unknown> {
  /** What defines the rules: lengths, masks, packing. It is part of the objective's. Default {}. */
  readonly fingerprint?: Fingerprint;
  /**
   * Makes an example of a row: formats, tokens, masks, truncation. It is called once for each row
   * before the first step, and for a row of a stream each time that it comes. Without it, rows are
   * examples as they are.
   */
  encode?(row: unknown, context: EncodeContext): EncodedRow<Example>;
  /**
   * Watches the rows of one set being encoded, for `Trainer.preview()` and the check before the
   * first step.
   *
   * @param title what messages call the rows: "training rows", `evaluation rows "math"`
   */
  preflight?(
    model: LanguageModel,
    tokenizer: TextTokenizer | null,
    use: RowUse,
    title: string,
  ): Preflight;
  /**
   * Whether `train()` shows what the preflight saw, and refuses what cannot be meant. Default true.
   */
  readonly isPreflightOn?: boolean;
  /**
   * Makes fewer and fuller examples of those in their order. It is called with at most
   * `PACKING_WINDOW` of them at a time. Without it examples stay as they are.
   */
  pack?(examples: readonly Example[]): readonly Example[];
  /** Whether rows of this use go through `pack`. Default: all do. */
  isPacked?(use: RowUse): boolean;
  /**
   * Tokens of an example; of its longest text, where it has several. `groupByLength` orders by
   * them, and the memory plan finds the largest batch. Without it, the length of its `inputIds`
   * counts, and the plan takes all numbers in an example.
   */
  lengthOf?(example: Example): number;
}
