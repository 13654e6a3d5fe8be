import { fork } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tsxEverywhere } from '../../src/sources/tables/readTable.js';

function run(work: string): Promise<number | string | null> {
  const child = fork(join(import.meta.dirname, 'endlessProgram.ts'), [work], {
    execArgv: ['--import', tsxEverywhere(import.meta.url)],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  return new Promise((resolve) => {
    child.on('exit', (code, signal) => resolve(signal ?? code));
  });
}

test.each([
  ['a loop without an end', 'SIGTERM'],
  ['many pieces', 0],
  ['a large piece', 0],
  ['a slow disk', 0],
  ['a pause between two requests', 0],
  ['too much memory', 'SIGKILL'],
])('%s', async (work, end) => {
  expect(await run(work)).toBe(end);
});
