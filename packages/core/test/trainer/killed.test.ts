import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Rng } from '@attune/core/util';
import { beforeAll, expect, test } from 'vitest';
import { bundleScript } from '../bundleScript.js';
import { temporaryFolder } from './support.js';

interface Outcome {
  readonly history: Readonly<Record<string, number>>[];
  readonly weights: string;
  readonly warnings: string[];
}

let script: string;
beforeAll(async () => {
  script = await bundleScript(new URL('./killedRun.ts', import.meta.url), await temporaryFolder());
});

const isTorn = (name: string) => /^\.checkpoint-\d+\.(tmp|old)-/.test(name);

/** Where the process kills itself: see killedRun.ts. */
type Death = readonly [afterUpdates: number, kind: 'moment' | 'file', count: number];

/** Runs the script to its end, or until it is killed. */
function start(outputDir: string, death: Death | null): Promise<Outcome | 'killed'> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, outputDir, ...(death ?? []).map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let outcome: Outcome | null = null;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('done ')) outcome = JSON.parse(line.slice(5)) as Outcome;
    });
    child.on('close', (code, signal) => {
      if (signal === 'SIGKILL') resolve('killed');
      else if (outcome && code === 0) resolve(outcome);
      else reject(new Error(`the process ended with ${code ?? signal}`));
    });
  });
}

test('a run that is killed at ten random moments, in saves too, has the losses and weights of the uninterrupted one, bit for bit', async () => {
  const whole = await start(await temporaryFolder(), null);
  const outputDir = await temporaryFolder();
  const rng = new Rng(20);
  let torn = 0;
  for (let n = 0; n < 10; n++) {
    const inSave = n % 2 === 1;
    const count = 1 + Math.floor(rng.uniform() * (inSave ? 20 : 9));
    const death = [1 + Math.floor(rng.uniform() * 3), inSave ? 'file' : 'moment', count] as const;
    expect(await start(outputDir, death)).toBe('killed');
    if ((await readdir(outputDir)).some(isTorn)) torn++;
  }
  // At least once it was in the middle of writing a checkpoint.
  expect(torn).toBeGreaterThan(0);
  const last = await start(outputDir, null);
  const { history, weights, warnings } = last as Outcome;
  expect(history).toEqual((whole as Outcome).history);
  expect(weights).toBe((whole as Outcome).weights);
  expect(history.filter(({ loss }) => loss !== undefined)).toHaveLength(25);
  // What the last death left behind was cleared away, and said so.
  expect((await readdir(outputDir)).filter(isTorn)).toEqual([]);
  expect(warnings.every((line) => !line.startsWith('error'))).toBe(true);
});
