import type { TableAnswer, TableJob } from './messages.js';

/** Names that two columns have, or that make no key. */
export function* nameProblems(names: readonly string[]): Generator<TableAnswer> {
  const twice = [...new Set(names.filter((name, i) => names.indexOf(name) !== i))];
  for (const name of twice)
    yield {
      kind: 'gap',
      problem: `two columns are named ${JSON.stringify(name)}: one of them is read.`,
      rows: 0,
    };
  if (names.includes('__proto__'))
    yield { kind: 'gap', problem: 'a column is named "__proto__": it is not read.', rows: 0 };
}

export function missingColumns(names: readonly string[], job: TableJob): TableAnswer | null {
  const missing = job.columns?.filter((name) => !names.includes(name)) ?? [];
  return missing.length === 0
    ? null
    : {
        kind: 'gap',
        problem: `no column is named ${missing.map((name) => JSON.stringify(name)).join(', ')}; there are ${names.slice(0, 20).join(', ')}.`,
        rows: 1,
      };
}

/** Columns as rows, some at a time. */
export function* rowsOf(
  count: number,
  rowAt: (index: number) => Record<string, unknown>,
): Generator<TableAnswer> {
  for (let begin = 0; begin < count; begin += 4096) {
    const rows: unknown[] = [];
    const faults: [number, string][] = [];
    for (let i = begin; i < Math.min(count, begin + 4096); i++)
      try {
        rows.push(rowAt(i));
      } catch (error) {
        faults.push([rows.length, (error as Error).message]);
        rows.push(null);
      }
    yield { kind: 'rows', rows, faults };
  }
}

/** Errors name the column. */
export function within<T>(name: string, work: () => T, end = ''): T {
  try {
    return work();
  } catch (error) {
    throw new Error(`column ${JSON.stringify(name)}: ${(error as Error).message}${end}`);
  }
}
