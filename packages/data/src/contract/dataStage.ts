import { type Attune, type ExtensionPoint, extensionPoint, type Logger } from '@attune/core';
import type { PlainJson } from '@attune/core/util';
import type { z } from 'zod';
import type { DataRow, RowProblem } from './dataRow.js';
import type { RowsInput } from './rowsInput.js';

/** Rows that are held for a stage that needs all of them: in a file beside the output. */
export interface HeldRows extends AsyncIterable<DataRow>, AsyncDisposable {
  readonly length: number;
  /** Row `index`. Rows that are asked for in their order are read fastest. */
  at(index: number): Promise<DataRow>;
}

/** Small results that are kept between runs, by a key that says what they depend on. */
export interface StageCache {
  get(key: string): Promise<PlainJson | undefined>;
  /** Kept at once: a run that is killed later goes on from it. */
  set(key: string, value: PlainJson): Promise<void>;
}

/** What a stage is given beside rows and options. */
export interface StageContext {
  /**
   * Leaves a row out.
   *
   * @param reason under which it is counted: "near-duplicate". A few words, the same for all such
   *   rows
   * @param detail of this one: "of train.jsonl:12, Jaccard 0.91"
   */
  drop(row: DataRow, reason: string, detail?: string): void;
  /**
   * Puts a row aside, into the quarantine file.
   *
   * @param reason under which it is counted, as for `drop`
   * @param detail of this one: "messages[2].role is 7"
   */
  quarantine(row: DataRow | RowProblem, reason: string, detail?: string): void;
  /** Says that the stage makes a row that it was not given; it is yielded, too. */
  added(row: DataRow, reason: string): void;
  /** A fact for the report: cluster sizes, a histogram. */
  fact(name: string, value: PlainJson): void;
  warn(message: string): void;
  /** How far a stage is that sees all rows before it gives any. */
  progress(done: number, total: number | null): void;
  /** Reads all rows, and gives them back as often as they are wanted. */
  hold(rows: AsyncIterable<DataRow>): Promise<HeldRows>;
  readonly cache: StageCache;
  readonly seed: number;
  /** For stages that load models by their names; null: the caller gave none. */
  readonly attune: Attune | null;
  readonly signal: AbortSignal | null;
  readonly logger: Logger;
}

/** What `defineDataStage` takes. */
export interface DataStageDefinition<S extends z.ZodObject> {
  /** What a pipeline and its YAML call it: "dedupe". */
  readonly name: string;
  /** Checks and completes its options. */
  readonly options: S;
  /**
   * Whether its rows are kept between runs, because they cost much: model calls, embeddings.
   * Default false: it runs again.
   */
  readonly isCostly?: boolean;
  /**
   * Raised when the same options and rows give another result, so that rows kept from before are
   * not taken. Default 1.
   */
  readonly version?: number;
  /**
   * What options that are no JSON (models, functions) add to what kept rows depend on. Default: the
   * text of a function, nothing for other objects.
   */
  fingerprint?(options: z.output<S>): PlainJson | Promise<PlainJson>;
  /**
   * Rows of other sets that its options name, or the paths of their files: an output must not take
   * the place of one. Default: none.
   */
  inputs?(options: z.output<S>): readonly (RowsInput | string)[];
  /**
   * Gives rows, one after the other. Each row that comes in is yielded (changed or not), dropped or
   * quarantined; rows that are new are `added`. The pipeline counts, and refuses a stage that loses
   * rows.
   */
  run(
    rows: AsyncIterable<DataRow>,
    options: z.output<S>,
    context: StageContext,
  ): AsyncIterable<DataRow>;
}

/** A stage as the SDK uses it. {@link defineDataStage} makes one. */
export interface DataStage
  extends Omit<DataStageDefinition<z.ZodObject>, 'run' | 'fingerprint' | 'inputs'> {
  fingerprint?(options: Readonly<Record<string, unknown>>): PlainJson | Promise<PlainJson>;
  inputs?(options: Readonly<Record<string, unknown>>): readonly (RowsInput | string)[];
  run(
    rows: AsyncIterable<DataRow>,
    options: Readonly<Record<string, unknown>>,
    context: StageContext,
  ): AsyncIterable<DataRow>;
}

/**
 * Makes a stage of a data pipeline: a name, the schema of its options, a function on rows.
 *
 * @example
 * export const shorterThan = defineDataStage({
 *   name: 'shorter-than',
 *   options: z.strictObject({ characters: z.int().min(1) }),
 *   async *run(rows, { characters }, context) {
 *     for await (const item of rows)
 *       if (JSON.stringify(item.row).length < characters) yield item;
 *       else context.drop(item, 'too long');
 *   },
 * });
 */
export const defineDataStage = <S extends z.ZodObject>(
  definition: DataStageDefinition<S>,
): DataStage => definition as unknown as DataStage;

/** Stages that a pipeline can name. A plugin adds its own. */
export const DataStages: ExtensionPoint<DataStage> = extensionPoint(
  'data stage',
  (stage) => stage.name,
);
