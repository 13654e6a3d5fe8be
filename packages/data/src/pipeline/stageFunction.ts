import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Attune, Logger, Row } from '@attune/core';
import { parseOptions } from '@attune/core/util';
import type { DataStage, StageCache } from '../contract/dataStage.js';
import { type RowsInput, withOrigins } from '../contract/rowsInput.js';
import { MemoryCache } from './memoryCache.js';
import { checkServices } from './runOptions.js';
import { type RunParts, runStages, type StageProgress } from './runStages.js';
import type { LostRow, StageFacts, StageReport } from './stageTally.js';

/** What a stage runs with beside its options, called as a function. */
export interface StageServices {
  /** Seeds what is drawn. Default 0. */
  readonly seed?: number;
  /** Loads models that options name. Default: none. */
  readonly attune?: Attune | null;
  /** Keeps costly results between calls. Default: in memory, for one call. */
  readonly cache?: StageCache;
  readonly onProgress?: (progress: StageProgress) => void;
  readonly signal?: AbortSignal | null;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** All that came of a stage. */
export interface StageOutcome<Facts = StageFacts> {
  readonly rows: readonly Row[];
  /** Rows that were left out, in their order. */
  readonly dropped: readonly LostRow[];
  /** Rows, and places without one, that were put aside. */
  readonly quarantined: readonly LostRow[];
  readonly report: StageReport<Facts>;
}

/**
 * A stage at work. Iterate over it for one row after the other, or await it for all of them with a
 * report. Either of the two, once.
 */
export interface StageRun<Facts = StageFacts>
  extends AsyncIterable<Row>,
    PromiseLike<StageOutcome<Facts>> {}

/** A stage as a function on rows. `Facts` is what its report has in `facts`. */
export type StageFunction<Options, Facts = StageFacts> = (
  rows: RowsInput,
  ...rest: object extends Options
    ? [options?: Options, services?: StageServices]
    : [options: Options, services?: StageServices]
) => StageRun<Facts>;

/** Makes the function of a stage. @throws UNKNOWN_OPTION, INVALID_OPTION when it is called */
export function stageFunction<Options, Facts = StageFacts>(
  stage: DataStage,
): StageFunction<Options, Facts> {
  return (rows, options?: Options, services: StageServices = {}) => {
    const parsed = parseOptions(stage.options, options ?? {}, { where: stage.name });
    checkServices(services, stage.name);
    return new RunningStage<Facts>(stage, parsed, rows, services);
  };
}

class RunningStage<Facts> implements StageRun<Facts> {
  #report: StageReport<Facts> | null = null;

  constructor(
    private readonly stage: DataStage,
    private readonly options: Readonly<Record<string, unknown>>,
    private readonly input: RowsInput,
    private readonly services: StageServices,
  ) {}

  [Symbol.asyncIterator](): AsyncGenerator<Row> {
    return this.#run();
  }

  /** @param onLost lost rows are kept by who asks for them: a stream forgets them */
  async *#run(onLost?: RunParts['onLost']): AsyncGenerator<Row> {
    const { seed = 0, attune = null, cache = new MemoryCache(), ...rest } = this.services;
    const workFolder = await mkdtemp(join(tmpdir(), 'attune-data-'));
    try {
      const running = runStages(
        withOrigins(this.input),
        [{ stage: this.stage, options: this.options }],
        {
          ...rest,
          seed,
          attune,
          workFolder,
          cacheOf: () => cache,
          ...(onLost && { onLost }),
        },
      );
      for await (const { row } of running.rows) yield row;
      this.#report = running.reports()[1] as StageReport<Facts>;
    } finally {
      await rm(workFolder, { recursive: true, force: true });
    }
  }

  async #all(): Promise<StageOutcome<Facts>> {
    const rows: Row[] = [];
    const lost = { dropped: [] as LostRow[], quarantined: [] as LostRow[] };
    for await (const row of this.#run((one, kind) => lost[kind].push(one))) rows.push(row);
    return { rows, ...lost, report: this.#report! };
  }

  // biome-ignore lint/suspicious/noThenProperty: it is awaited.
  then<A = StageOutcome<Facts>, B = never>(
    onDone?: ((outcome: StageOutcome<Facts>) => A | PromiseLike<A>) | null,
    onFailed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#all().then(onDone, onFailed);
  }
}
