/**
 * The process that the tests of killed saves start: saves something over an older save and kills
 * itself before the n-th file operation. N `never`: it lives. N `copy`: it lives, and before its
 * n-th operation copies what a death there would leave to FOLDER-n.
 *
 * usage: node savedRun.mjs KIND FIXTURES N FOLDER...
 */
import { cpSync } from 'node:fs';
import fs from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { saves } from './saves.js';

const [kind, fixtures, at, ...folders] = process.argv.slice(2) as [string, string, string, string];
const folder = folders[0]!;
let count = 0;
const deadly = async () => {
  count++;
  if (at === 'copy') cpSync(folder, `${folder}-${count}`, { recursive: true });
  else if (count === Number(at)) process.kill(process.pid, 'SIGKILL');
};
const prepared: (() => Promise<void>)[] = [];
for (const each of folders) prepared.push(await saves[kind]![1](each, fixtures));
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
for (const save of prepared) await save();
process.stdout.write(`done ${count}\n`);
