import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { AttuneError, type Row } from '@attune/core';
import type { ReadRow } from '../../contract/dataRow.js';
import type { TableRules } from '../options.js';
import type { Places } from '../places.js';
import type { TableAnswer, TableJob } from './messages.js';

/** Memory of the reader for what it makes of the bytes. */
const HEAP_MB = 1024;

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
  const { columns = null, binary } = rules;
  const reader = startReader({ kind, file, columns, binary });
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
  const here = import.meta.url;
  // Beside this file in the bundle and in the sources, which tsx runs.
  const isSource = here.endsWith('.ts');
  const program = new URL(isSource ? './tableProcess.ts' : './tableProcess.js', here);
  if (!existsSync(program))
    throw new AttuneError('DATA_READER', `no program that reads tables at ${program.href}.`, {
      remedy: 'A bundler left it behind: keep @attune/data external, or install it again.',
    });
  const typescript = isSource ? ['--import', tsxEverywhere(here)] : [];
  const { NODE_OPTIONS: _, ...env } = process.env;
  return fork(program, [JSON.stringify(job)], {
    execArgv: [`--max-old-space-size=${HEAP_MB}`, '--no-warnings', ...typescript],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    serialization: 'advanced',
    env,
  });
}

/** A module that has tsx run TypeScript in threads, too, which `--import tsx` does not. */
export function tsxEverywhere(here: string): string {
  const tsx = pathToFileURL(createRequire(here).resolve('tsx/package.json'));
  const api = new URL('dist/esm/api/index.mjs', tsx).href;
  return `data:text/javascript,import { register } from '${api}'; register();`;
}

/** An answer, or that there is none and never will be. */
type Answer =
  | Exclude<TableAnswer, { kind: 'gap' }>
  | (Extract<TableAnswer, { kind: 'gap' }> & { readonly isLast?: boolean });

function nextAnswer(reader: ChildProcess): Promise<Answer> {
  return new Promise((resolve) => {
    const settle = (answer: Answer): void => {
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
    const onExit = (): void => {
      if (reader.signalCode === 'SIGTERM') fail('its decoder did not come to an end');
      else fail('its reader ran out of memory');
    };
    reader.on('message', onMessage).on('error', onError).on('exit', onExit);
    if (reader.exitCode !== null || reader.signalCode !== null) onExit();
    else reader.send('next', (error) => error && fail(error.message));
  });
}
