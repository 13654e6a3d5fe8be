import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleScript } from '../../../core/test/bundleScript.js';

let folder: string;
let script: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-killed-'));
  script = await bundleScript(new URL('./killedPipeline.ts', import.meta.url), folder);
});
afterAll(() => rm(folder, { recursive: true }));

function run(output: string, killAt = 0) {
  const calls = join(folder, `${output}.calls`);
  const { signal, status, stderr } = spawnSync(
    process.execPath,
    [script, join(folder, output), calls, String(killAt)],
    { encoding: 'utf8' },
  );
  if (signal === null && status !== 0) throw new Error(stderr);
  return signal;
}

const callsOf = async (output: string) =>
  (await readFile(join(folder, `${output}.calls`), 'utf8')).trim().split('\n');

const files = ['train.jsonl', 'quarantine.jsonl', 'report.json'];
const bytesOf = (output: string) =>
  Promise.all(files.map((name) => readFile(join(folder, output, name), 'utf8')));

test('a run that is killed goes on: the same bytes, and no call twice', async () => {
  run('whole');
  const calls = await callsOf('whole');
  expect(calls).toHaveLength(40 + 34);
  for (const killAt of [15, 50]) {
    const output = `killed-${killAt}`;
    expect(run(output, killAt)).toBe('SIGKILL');
    expect(await readdir(folder)).not.toContain(output);
    expect(run(output)).toBe(null);
    expect(await bytesOf(output)).toEqual(await bytesOf('whole'));
    expect(await callsOf(output)).toEqual(calls);
    // Nothing half-written is left beside it.
    expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([
      '.attune-data',
    ]);
  }
  run('whole');
  expect(await callsOf('whole')).toEqual(calls);
}, 60_000);
