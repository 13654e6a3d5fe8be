/**
 * The process that killedSave.test.ts starts: saves something over an older save and kills itself
 * before the n-th file operation.
 *
 * usage: node savedRun.mjs KIND FOLDER N FIXTURES
 */
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { saves } from './saves.js';

const [kind, folder, at, fixtures] = process.argv.slice(2) as [string, string, string, string];
let count = 0;
const deadly = async () => {
  if (++count === Number(at)) process.kill(process.pid, 'SIGKILL');
};
const save = await saves[kind]![1](folder, fixtures);
const own = fs as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
for (const name of ['open', 'rename', 'rm', 'mkdir', 'copyFile', 'writeFile', 'utimes']) {
  const run = own[name]!;
  own[name] = async (...args) => {
    await deadly();
    const result = await run(...args);
    // A file is written in parts: it may be cut off between them.
    if (name === 'open') {
      const file = result as unknown as typeof own;
      for (const part of ['write', 'writeFile']) {
        const write = file[part]!.bind(file);
        file[part] = async (...data) => {
          await deadly();
          return write(...data);
        };
      }
    }
    return result;
  };
}
syncBuiltinESMExports();
await save();
process.stdout.write(`done ${count}\n`);
