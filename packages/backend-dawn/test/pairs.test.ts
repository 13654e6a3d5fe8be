import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleScript } from '../../core/test/bundleScript.js';
import { createDawnBackend } from '../src/index.js';

interface Held {
  readonly threads: number;
  readonly files: number;
}

let folder: string;
let script: string;
beforeAll(async () => {
  // Below the package, so that the script finds Dawn's bindings.
  folder = await mkdtemp(fileURLToPath(new URL('../node_modules/.pairs-', import.meta.url)));
  script = await bundleScript(new URL('./pairsRun.ts', import.meta.url), folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function pairs(kind: 'plain' | 'work'): Promise<{ after: Held[]; collected: Held }> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    script,
    '12',
    kind,
  ]);
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

const onLinux = test.skipIf(process.platform !== 'linux');

onLinux('12 Attunes, each disposed before the next: no thread and no open file more', async () => {
  const { after } = await pairs('plain');
  expect(after.at(-1)!.threads).toBeLessThanOrEqual(after[1]!.threads);
  expect(after.at(-1)!.files).toBeLessThanOrEqual(after[1]!.files);
});

onLinux('the threads that compiled shaders go with the device as garbage', async () => {
  const { after, collected } = await pairs('work');
  expect(after.at(-1)!.files).toBeLessThanOrEqual(after[1]!.files);
  // One device may still lie in a register or on the stack.
  expect(collected.threads).toBeLessThanOrEqual(after[0]!.threads + 2);
});

test('a disposed backend listens to nothing', async () => {
  const backend = await createDawnBackend({ tuning: false });
  const listeners = new Set<unknown>();
  const { device } = backend;
  const remove = device.removeEventListener.bind(device);
  device.removeEventListener = ((type: string, listener: never) => {
    if (type === 'uncapturederror') listeners.add(listener);
    remove(type, listener);
  }) as typeof remove;
  await backend[Symbol.asyncDispose]();
  expect(listeners.size).toBe(1);
});
