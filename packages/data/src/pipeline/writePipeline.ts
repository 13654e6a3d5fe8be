import { join } from 'node:path';
import { FolderLock, makeFolder, writeFolderAtomic } from '@attune/core/io';
import {
  diskError,
  type OptionsInput,
  type ProgressStream,
  parseOptions,
  silentLogger,
} from '@attune/core/util';
import { z } from 'zod';
import { isProblem, type SplitName } from '../contract/dataRow.js';
import { reportHtml } from '../report/reportHtml.js';
import type { RowFiles } from '../sources/rowFiles.js';
import { fromFiles } from '../sources/sources.js';
import type { DataReport } from './dataReport.js';
import { DiskCache } from './diskCache.js';
import { KeptRows } from './keptRows.js';
import { LineFile } from './lineFile.js';
import { cacheBeside, checkOutput } from './outputFolder.js';
import { rowToJson, valueToJson } from './rowLines.js';
import { type PipelineRun, runPipeline } from './runPipeline.js';
import { StageLines } from './stageLines.js';
import type { LostRow } from './stageTally.js';

/** The shape of the options of `writeTo`. */
export const writeShape = {
  /**
   * Replaces the folder, where a pipeline wrote it. Default false: a folder that is there is an
   * error.
   */
  overwrite: z.boolean().default(false).meta({ aka: 'force' }),
  /**
   * Where the rows of costly stages and the results of single calls are kept for the next run;
   * null: nowhere. Default `.attune-data/NAME` beside the folder.
   */
  cacheDir: z.string().nullish().meta({ aka: 'cache cachefolder' }),
  /**
   * Draws how far each stage is on a terminal: true: standard error; or another stream. Default
   * true.
   */
  progress: z
    .union([
      z.boolean(),
      z.custom<ProgressStream>(
        (value) => typeof (value as ProgressStream | null)?.write === 'function',
        'expected a stream',
      ),
    ])
    .default(true),
};
const writeOptions = z.strictObject(writeShape);

/** Options of `writeTo`. */
export type PipelineWriteOptions = OptionsInput<typeof writeShape>;

/**
 * Runs a pipeline, and writes what comes of it.
 *
 * @throws DATA_OUTPUT, DISK_WRITE, OUTPUT_DIR_IN_USE
 */
export async function writePipeline(
  plan: Omit<PipelineRun, 'onLost' | 'keeping'>,
  folder: string,
  options: PipelineWriteOptions,
): Promise<DataReport> {
  const { overwrite, cacheDir, progress } = parseOptions(writeOptions, options, {
    where: 'writeTo',
  });
  const target = await checkOutput(folder, overwrite, await inputFiles(plan));
  await using kept =
    cacheDir === null ? null : await Kept.open(cacheDir ?? cacheBeside(target), folder);
  using lines = new StageLines(progress === true ? process.stderr : progress || null);
  let report: DataReport | null = null;
  await writeFolderAtomic(target, async (temporary) => {
    report = await write(temporary, {
      ...plan,
      options: {
        ...plan.options,
        onProgress: (step) => {
          lines.draw(step);
          plan.options.onProgress?.(step);
        },
      },
      ...(kept && { keeping: kept }),
    });
  });
  await kept?.clean();
  return report!;
}

/** Files that are read, where the rows know them: of the source, and of what stages read. */
async function inputFiles({ source, stages }: Pick<PipelineRun, 'source' | 'stages'>) {
  const inputs = [source, ...stages.flatMap(({ stage, options }) => stage.inputs?.(options) ?? [])];
  const files = await Promise.all(
    inputs.map((input) => {
      const rows = (typeof input === 'string' ? fromFiles(input) : input) as Partial<RowFiles>;
      return typeof rows.files === 'function' ? rows.files() : [];
    }),
  );
  return files.flat();
}

/** What is kept between runs: rows of costly stages, results of single calls. */
class Kept implements AsyncDisposable {
  readonly keeper: KeptRows;
  readonly #caches = new Map<string, DiskCache>();

  private constructor(
    private readonly folder: string,
    private readonly lock: FolderLock,
  ) {
    this.keeper = new KeptRows(join(folder, 'rows'));
  }

  /** @throws OUTPUT_DIR_IN_USE where another run is at work; DISK_WRITE */
  static async open(folder: string, output: string): Promise<Kept> {
    try {
      await makeFolder(folder);
      const use = { folder: output, doing: 'running a data pipeline' };
      return new Kept(folder, await FolderLock.take(join(folder, 'lock'), use, silentLogger));
    } catch (error) {
      throw diskError(error, folder);
    }
  }

  readonly cacheOf = (stage: string, version: number): DiskCache => {
    const name = `${encodeURIComponent(stage)}-${version}.jsonl`;
    const cache = this.#caches.get(name) ?? new DiskCache(join(this.folder, 'calls', name));
    this.#caches.set(name, cache);
    return cache;
  };

  clean(): Promise<void> {
    return this.keeper.clean();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cache of this.#caches.values()) await cache.close();
    await this.lock[Symbol.asyncDispose]();
  }
}

async function write(folder: string, run: PipelineRun): Promise<DataReport> {
  const files = new Map<SplitName, LineFile>();
  const fileOf = (split: SplitName): LineFile => {
    const file = files.get(split) ?? new LineFile(join(folder, `${split}.jsonl`));
    files.set(split, file);
    return file;
  };
  fileOf('train');
  const quarantine = new LineFile(join(folder, 'quarantine.jsonl'));
  const running = runPipeline({
    ...run,
    onLost: (lost, kind) => {
      if (kind === 'quarantined') quarantine.write(quarantined(lost));
    },
  });
  try {
    for await (const { row, split = 'train' } of running.rows) fileOf(split).write(rowToJson(row));
  } finally {
    for (const file of [...files.values(), quarantine]) file.close();
  }
  const report = running.report();
  const texts = { 'report.json': reportText(report), 'report.html': reportHtml(report) };
  for (const [name, text] of Object.entries(texts)) {
    const file = new LineFile(join(folder, name));
    file.write(text);
    file.close();
  }
  return report;
}

/** Why a row was put aside, where it stands, and the row as it was, or what stood in its place. */
function quarantined({ stage, reason, detail, row }: LostRow): string {
  const what = isProblem(row) ? (row.raw === undefined ? {} : { raw: row.raw }) : { row: row.row };
  return valueToJson({
    stage,
    reason,
    ...(detail !== undefined && { detail }),
    origin: row.origin,
    ...what,
  });
}

/** A report without its times: the same rows and options give the same bytes. */
function reportText({ seconds: _seconds, ...report }: DataReport): string {
  const stages = report.stages.map(({ seconds: _time, ...stage }) => stage);
  return valueToJson({ ...report, stages }, 2);
}
