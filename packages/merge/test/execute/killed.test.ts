import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Rng } from '@attune/core/util';
import { build } from 'tsup';
import { beforeAll, expect, test } from 'vitest';
import { mergeWorker } from '../../../../scripts/mergeWorker.js';
import { bundleScript } from '../../../core/test/bundleScript.js';
import { hashes, makeModel, planOf, temporaryFolder } from './support.js';

let script: string;
let worker: string;
let planFile: string;
beforeAll(async () => {
  const folder = await temporaryFolder();
  script = await bundleScript(new URL('./killedMerge.ts', import.meta.url), folder);
  await build({ ...mergeWorker(folder), config: false, silent: true });
  worker = join(folder, 'worker.js');
  const sizes = Object.fromEntries(
    Array.from({ length: 40 }, (_, i) => [`layer.${i}.weight`, [20 + i, 2000]]),
  );
  const models = await Promise.all([1, 2].map((seed) => makeModel(seed, 'bfloat16', sizes)));
  const plan = await planOf(models, 'linear', { weight: [1, 2] }, { dtype: 'bfloat16' });
  planFile = join(folder, 'plan.json');
  await writeFile(planFile, JSON.stringify(plan));
});

interface Done {
  readonly tensorsKept: number;
  /** On files, of the thread that called. */
  readonly operations: number;
}

/** @returns null: it was killed */
function run(outputDir: string, workerFile: string, count?: number): Promise<Done | null> {
  return new Promise((resolve, reject) => {
    const args = [planFile, outputDir, workerFile, ...(count === undefined ? [] : [`${count}`])];
    const child = spawn(process.execPath, [script, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(JSON.parse(output) as Done);
      else if (signal === 'SIGKILL') resolve(null);
      else reject(new Error(`the process ended with ${code ?? signal}`));
    });
  });
}

/** How many tensors the journal of a merge has. */
const begun = async (folder: string): Promise<number> => {
  const text = await readFile(join(folder, '.out.merging', 'journal'), 'utf8').catch(() => '');
  return text.split('"tensor"').length - 1;
};

test.each([
  ['the calling thread', false],
  ['workers', true],
])(
  'a merge on %s that is killed at ten random moments writes the bytes of the uninterrupted one',
  async (_, threads) => {
    const workerFile = threads ? worker : '-';
    const folder = await temporaryFolder();
    const { operations } = (await run(join(folder, 'whole'), workerFile))!;
    const whole = await hashes(join(folder, 'whole'));
    const outputDir = join(folder, 'out');
    const rng = new Rng(threads ? 1 : 2);
    let [kept, inTheMiddle] = [0, 0];
    for (let killed = 0; killed < 10; ) {
      const done = await run(outputDir, workerFile, 1 + rng.below(operations));
      // It is not there; or, where death came after the rename, whole.
      if (existsSync(outputDir)) expect(await hashes(outputDir)).toEqual(whole);
      if (done === null) {
        killed++;
        if (!existsSync(outputDir) && (await begun(folder)) > 0) inTheMiddle++;
      } else {
        kept += done.tensorsKept;
        await rm(outputDir, { recursive: true });
      }
    }
    const last = (await run(outputDir, workerFile))!;
    expect(await hashes(outputDir)).toEqual(whole);
    expect((await readdir(folder)).sort()).toEqual(['out', 'whole']);
    expect(inTheMiddle).toBeGreaterThan(0);
    expect(kept + last.tensorsKept).toBeGreaterThan(0);
  },
);

test('killed at any moment while it replaces a folder, it leaves the old one or the new one', async () => {
  const folder = await temporaryFolder();
  const outputDir = join(folder, 'out');
  const { operations } = (await run(join(folder, 'whole'), '-'))!;
  const whole = await hashes(join(folder, 'whole'));
  const old = await temporaryFolder();
  await writeFile(join(old, 'config.json'), '{"model_type":"old"}');
  const before = await hashes(old);
  const seen = new Set<string>();
  for (let count = operations - 8; ; count++) {
    await rm(outputDir, { recursive: true, force: true });
    await cp(old, outputDir, { recursive: true });
    const done = await run(outputDir, '-', count);
    if (!existsSync(outputDir)) {
      // Between two renames: the old one waits beside, and comes back with the next call.
      expect(await hashes(join(folder, '.out.merging', 'replaced'))).toEqual(before);
      seen.add('between');
    } else {
      const found = await hashes(outputDir);
      expect([before, whole]).toContainEqual(found);
      seen.add(JSON.stringify(found) === JSON.stringify(before) ? 'old' : 'new');
    }
    expect(await run(outputDir, '-')).not.toBeNull();
    expect(await hashes(outputDir)).toEqual(whole);
    expect((await readdir(folder)).sort()).toEqual(['out', 'whole']);
    if (done) break;
  }
  expect(seen).toEqual(new Set(['old', 'between', 'new']));
});
