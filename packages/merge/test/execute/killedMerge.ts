/**
 * The process that killed.test.ts starts: a merge that kills itself where it is told to, or says at
 * its end what came out.
 *
 * usage: node killedMerge.mjs PLAN OUTPUT_DIR WORKER|- [COUNT]
 *
 * It dies before the COUNT-th operation on files of this thread. Counted, not timed: the same place
 * on a busy machine.
 */
import fs from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { pathToFileURL } from 'node:url';
import { executeMerge } from '../../src/execute/index.js';
import { builtinMethods } from '../../src/methods/index.js';
import type { MergePlan } from '../../src/plan/mergePlan.js';

const [planFile, outputDir, worker, count] = process.argv.slice(2) as [
  string,
  string,
  string,
  string?,
];
const plan = JSON.parse(fs.readFileSync(planFile, 'utf8')) as MergePlan;
let operations = 0;
for (const [where, names] of [
  [files, ['mkdir', 'open', 'writeFile', 'rename', 'rm', 'rmdir', 'stat']],
  [fs, ['writeSync', 'openSync']],
] as const)
  for (const name of names) {
    const original = Reflect.get(where, name) as (...args: unknown[]) => unknown;
    Object.assign(where, {
      [name]: (...args: unknown[]) => {
        if (++operations === Number(count)) process.kill(process.pid, 'SIGKILL');
        return original(...args);
      },
    });
  }
syncBuiltinESMExports();

const { tensorsKept } = await executeMerge(
  { ...plan, folders: new Map() },
  {
    outputDir,
    overwrite: true,
    maxShardSize: '2MB',
    verify: false,
    methods: builtinMethods,
    workers: worker === '-' ? 0 : 2,
    workerScript: worker === '-' ? null : pathToFileURL(worker),
  },
);
console.log(JSON.stringify({ tensorsKept, operations }));
