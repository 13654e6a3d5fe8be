import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Row } from '@attune/core';
import type { ReadRow } from '../contract/dataRow.js';
import type { TableRules } from './options.js';
import type { Places } from './places.js';
import { serveName, type TableAnswer, type TableJob, workerFunctions } from './tableWorker.js';

/** Longest time for some rows. What takes longer hangs: 16 MB are decoded in less than one. */
const PATIENCE_MS = 20_000;

/** Memory of the worker: rows of 16 MB, many times over. */
const MEMORY_MB = 1024;

/**
 * Rows of a Parquet or Arrow file, by a worker. Integers are numbers below 2^53 and BigInts beyond;
 * times are texts (ISO 8601), NaN is null.
 */
export async function* readTable(
  file: string,
  kind: TableJob['kind'],
  places: Places,
  rules: TableRules,
): AsyncGenerator<ReadRow[]> {
  const worker = startWorker({
    kind,
    file,
    columns: rules.columns ?? null,
    binary: rules.binary,
  });
  try {
    for (;;) {
      const answer = await nextAnswer(worker);
      if (answer.kind === 'end') return;
      yield answer.kind === 'gap'
        ? [places.gap(answer.problem, answer.rows)]
        : readsOf(answer, places);
      if (answer.kind === 'gap' && answer.isLast) return;
    }
  } finally {
    await worker.terminate();
  }
}

function readsOf(
  { rows, faults }: Extract<TableAnswer, { kind: 'rows' }>,
  places: Places,
): ReadRow[] {
  const faultOf = new Map(faults);
  return rows.map((row, i) => {
    const fault = faultOf.get(i);
    return fault === undefined ? places.row(row as Row) : places.problem(fault);
  });
}

function startWorker(job: TableJob): Worker {
  const require = createRequire(import.meta.url);
  const url = (name: string): string => pathToFileURL(require.resolve(name)).href;
  const libraries =
    job.kind === 'parquet'
      ? { hyparquet: url('hyparquet'), compressors: url('hyparquet-compressors') }
      : { arrow: url('apache-arrow'), zstd: url('fzstd') };
  const program = `
const { parentPort, workerData } = require('node:worker_threads');
${workerFunctions}
const { job, libraries } = workerData;
const load = async (name) => {
  if (libraries[name] === undefined) return null;
  const module = await import(libraries[name]);
  return module.default ?? module;
};
(async () => {
  const [hyparquet, compressors, arrow, zstd] =
    await Promise.all(['hyparquet', 'compressors', 'arrow', 'zstd'].map(load));
  ${serveName}({
    job,
    fs: require('node:fs'),
    hyparquet,
    compressors: compressors && compressors.compressors,
    arrow,
    decompressZstd: zstd && ((bytes) => zstd.decompress(bytes).slice()),
  }, parentPort);
})();`;
  return new Worker(program, {
    eval: true,
    name: 'attune-table',
    execArgv: [],
    workerData: { job, libraries },
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
  });
}

/** An answer, or that there is none and never will be. */
type Answer =
  | Exclude<TableAnswer, { kind: 'gap' }>
  | (Extract<TableAnswer, { kind: 'gap' }> & { readonly isLast?: boolean });

function nextAnswer(worker: Worker): Promise<Answer> {
  return new Promise((resolve) => {
    const settle = (answer: Answer): void => {
      clearTimeout(timer);
      worker.off('message', settle).off('error', onError).off('exit', onExit);
      resolve(answer);
    };
    const fail = (why: string): void =>
      settle({
        kind: 'gap',
        problem: `what comes next cannot be read: ${why}; the file is damaged.`,
        rows: 1,
        isLast: true,
      });
    const onError = (error: Error): void => fail(error.message);
    const onExit = (): void => fail('its reader ended');
    const timer = setTimeout(() => fail(`it took ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
    worker.on('message', settle).on('error', onError).on('exit', onExit);
    worker.postMessage('next');
  });
}
