import { type ChildProcess, spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { Row } from '@attune/core';
import type { ReadRow } from '../contract/dataRow.js';
import type { TableRules } from './options.js';
import type { Places } from './places.js';
import { readerFunctions, serveName, type TableAnswer, type TableJob } from './tableReader.js';

/** Longest time for some rows. What takes longer hangs: 16 MB are decoded in a part of a second. */
const PATIENCE_MS = 10_000;

/** Memory of the reader: rows of 16 MB, many times over. */
const MEMORY_MB = 1024;

/**
 * Rows of a Parquet or Arrow file, by a process of its own. Integers are numbers below 2^53 and
 * BigInts beyond; times are texts (ISO 8601), NaN is null.
 */
export async function* readTable(
  file: string,
  kind: TableJob['kind'],
  places: Places,
  rules: TableRules,
): AsyncGenerator<ReadRow[]> {
  const reader = startReader({
    kind,
    file,
    columns: rules.columns ?? null,
    binary: rules.binary,
  });
  try {
    for (;;) {
      const answer = await nextAnswer(reader);
      if (answer.kind === 'end') return;
      yield answer.kind === 'gap'
        ? [places.gap(answer.problem, answer.rows)]
        : readsOf(answer, places);
      if (answer.kind === 'gap' && answer.isLast) return;
    }
  } finally {
    reader.kill('SIGKILL');
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

function startReader(job: TableJob): ChildProcess {
  const require = createRequire(import.meta.url);
  const url = (name: string): string => pathToFileURL(require.resolve(name)).href;
  const libraries =
    job.kind === 'parquet'
      ? { hyparquet: url('hyparquet'), compressors: url('hyparquet-compressors') }
      : { arrow: url('apache-arrow'), zstd: url('fzstd') };
  // What runs TypeScript may have put calls of __name, a helper of esbuild, into the functions.
  const program = `
const __name = (value) => value;
${readerFunctions}
const libraries = ${JSON.stringify(libraries)};
const load = async (name) => {
  if (libraries[name] === undefined) return null;
  const module = await import(libraries[name]);
  return module.default ?? module;
};
process.on('disconnect', () => process.exit());
(async () => {
  const [hyparquet, compressors, arrow, zstd] =
    await Promise.all(['hyparquet', 'compressors', 'arrow', 'zstd'].map(load));
  ${serveName}({
    job: ${JSON.stringify(job)},
    fs: require('node:fs'),
    hyparquet,
    compressors: compressors && compressors.compressors,
    arrow,
    decompressZstd: zstd && ((bytes) => zstd.decompress(bytes).slice()),
  });
})();`;
  const flags = [`--max-old-space-size=${MEMORY_MB}`, '--no-warnings', '--input-type=commonjs'];
  const { NODE_OPTIONS: _, ...env } = process.env;
  return spawn(process.execPath, [...flags, '-e', program], {
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
    env,
  });
}

/** An answer, or that there is none and never will be. */
type Answer =
  | Exclude<TableAnswer, { kind: 'gap' }>
  | (Extract<TableAnswer, { kind: 'gap' }> & { readonly isLast?: boolean });

function nextAnswer(reader: ChildProcess): Promise<Answer> {
  return new Promise((resolve) => {
    const settle = (answer: Answer): void => {
      clearTimeout(timer);
      reader.off('message', onMessage).off('error', onError).off('exit', onExit);
      resolve(answer);
    };
    const fail = (why: string): void =>
      settle({
        kind: 'gap',
        problem: `what comes next cannot be read: ${why}; the file is damaged.`,
        rows: 1,
        isLast: true,
      });
    const onMessage = (answer: unknown): void => settle(answer as TableAnswer);
    const onError = (error: Error): void => fail(error.message);
    const onExit = (): void => fail('its reader ran out of memory');
    const timer = setTimeout(() => fail(`it took ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
    reader.on('message', onMessage).on('error', onError).on('exit', onExit);
    if (reader.exitCode !== null || reader.signalCode !== null) onExit();
    else reader.send('next', (error) => error && fail(error.message));
  });
}
