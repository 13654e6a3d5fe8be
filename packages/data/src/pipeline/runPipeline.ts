import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DataRow, SplitName } from '../contract/dataRow.js';
import { type RowsInput, withOrigins } from '../contract/rowsInput.js';
import { RowCounter } from '../report/rowStatistics.js';
import { type DataReport, dataReport } from './dataReport.js';
import { MemoryCache } from './memoryCache.js';
import { type PlannedStage, type RunningStages, type RunParts, runStages } from './runStages.js';

/** What a pipeline runs. */
export interface PipelineRun {
  readonly source: RowsInput;
  readonly stages: readonly PlannedStage[];
  readonly options: Partial<Pick<RunParts, 'seed' | 'attune' | 'onProgress' | 'signal' | 'logger'>>;
  readonly onLost?: RunParts['onLost'];
  /** What is kept between runs. Absent: nothing. */
  readonly keeping?: Pick<RunParts, 'keeper' | 'cacheOf'>;
}

/** A pipeline at work. */
export interface RunningPipeline {
  /** Once. */
  readonly rows: AsyncIterable<DataRow>;
  /** When `rows` has come to its end. */
  report(): DataReport;
}

/** Leads rows through a pipeline, in a work folder that is gone when they are through. */
export function runPipeline({
  source,
  stages,
  options,
  onLost,
  keeping,
}: PipelineRun): RunningPipeline {
  const splits: Record<SplitName, number> = { train: 0, validation: 0, test: 0 };
  const counter = new RowCounter();
  let running: RunningStages | null = null;
  async function* rows(): AsyncGenerator<DataRow> {
    const workFolder = await mkdtemp(join(tmpdir(), 'attune-data-'));
    const caches = new Map<string, MemoryCache>();
    const cacheOf = (stage: string, version: number) => {
      const key = `${stage}@${version}`;
      const cache = caches.get(key) ?? new MemoryCache();
      caches.set(key, cache);
      return cache;
    };
    try {
      running = runStages(withOrigins(source), stages, {
        ...options,
        seed: options.seed ?? 0,
        workFolder,
        cacheOf: keeping?.cacheOf ?? cacheOf,
        keeper: keeping?.keeper ?? null,
        ...(onLost && { onLost }),
      });
      for await (const row of running.rows) {
        splits[row.split ?? 'train']++;
        counter.add(row.row);
        yield row;
      }
    } finally {
      await rm(workFolder, { recursive: true, force: true });
    }
  }
  return {
    rows: rows(),
    report: () => dataReport(running!.reports(), splits, counter.summary(), running!.seconds()),
  };
}
