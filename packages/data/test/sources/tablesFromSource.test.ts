import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('a program that runs from its TypeScript sources reads tables', () => {
  const file = join(import.meta.dirname, '../fixtures/tables/chats-none.parquet');
  const sources = join(import.meta.dirname, '../../src/index.ts');
  const program = `
    import { readRows } from ${JSON.stringify(sources)};
    let rows = 0;
    for await (const read of readRows(${JSON.stringify(file)})) if ('row' in read) rows++;
    console.log(rows);`;
  const { stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--conditions', 'attune-source', '--input-type=module', '-e', program],
    { encoding: 'utf8', cwd: join(import.meta.dirname, '../../../..') },
  );
  expect(stderr).toBe('');
  expect(stdout.trim()).toBe('40');
});
