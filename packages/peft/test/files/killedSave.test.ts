import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readHfConfig, WeightFolder } from '@attune/core/io';
import { build } from 'tsup';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixtures } from '../../../core/test/models/support.js';
import { hasAdapter } from '../../src/files/adapterFolder.js';
import { saves } from './saves.js';

let root: string;
let script: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-killed-'));
  await build({
    entry: [fileURLToPath(new URL('./savedRun.ts', import.meta.url))],
    outDir: root,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    config: false,
    silent: true,
    noExternal: [/.*/],
    esbuildOptions: (options) => {
      options.conditions = ['attune-source', 'import', 'node'];
    },
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    outExtension: () => ({ js: '.mjs' }),
  });
  script = join(root, 'savedRun.mjs');
});
afterAll(() => rm(root, { recursive: true, force: true }));

/**
 * Saves in a process that dies before its n-th file operation.
 *
 * @returns how many there were; null: it died
 */
function run(kind: string, folder: string, n: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, kind, folder, `${n}`, fixtures], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (text) => {
      out += text;
    });
    child.on('close', (code, signal) => {
      if (signal === 'SIGKILL') resolve(null);
      else if (code === 0) resolve(Number(/done (\d+)/.exec(out)![1]));
      else reject(new Error(`the process ended with ${code ?? signal}`));
    });
  });
}

/** Names and contents of all files that others see. */
async function fingerprint(folder: string): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir(folder)).sort())
    if (!name.startsWith('.')) hash.update(name).update(await readFile(join(folder, name)));
  return hash.digest('hex');
}

/** Opens the folder as loading does. */
async function load(folder: string): Promise<void> {
  if (await hasAdapter(folder)) return;
  await readHfConfig(folder);
  await using weights = await WeightFolder.open(folder);
  for (const name of weights.names) await weights.get(name);
}

/**
 * Deaths that are tried: all of the last operations, where files are moved, and some of those
 * before.
 */
function deaths(count: number): number[] {
  const late = 22;
  return Array.from({ length: count }, (_, i) => i + 1).filter(
    (n) => n > count - late || n % Math.ceil(count / 6) === 0,
  );
}

describe('a save that is killed leaves the old files or the new ones, whole', () => {
  for (const [kind, [older]] of Object.entries(saves))
    test(kind, async () => {
      const old = join(root, kind);
      await (await older(old, fixtures))();
      await writeFile(join(old, 'README.md'), 'of someone else');
      const fresh = join(root, `${kind}-new`);
      await cp(old, fresh, { recursive: true });
      const count = (await run(kind, fresh, -1))!;
      const [before, after] = [await fingerprint(old), await fingerprint(fresh)];
      expect(before).not.toBe(after);
      expect((await readdir(fresh)).filter((name) => name.startsWith('.'))).toEqual([]);
      const outcomes = new Map([
        [before, 0],
        [after, 0],
      ]);
      for (const n of deaths(count)) {
        const folder = join(root, `${kind}-${n}`);
        await cp(old, folder, { recursive: true });
        expect(await run(kind, folder, n)).toBe(null);
        // Whoever knows nothing of us finds one of the two, or no config file.
        const names = await readdir(folder);
        if (names.includes('config.json') || names.includes('adapter_config.json'))
          expect([before, after]).toContain(await fingerprint(folder));
        await load(folder);
        const found = await fingerprint(folder);
        expect([before, after]).toContain(found);
        outcomes.set(found, outcomes.get(found)! + 1);
        expect(await readFile(join(folder, 'README.md'), 'utf8')).toBe('of someone else');
        // What is left over goes with the next save.
        if (n % 5 === 0) {
          expect(await run(kind, folder, -1)).toBeGreaterThan(0);
          expect(await fingerprint(folder)).toBe(after);
          expect((await readdir(folder)).filter((name) => name.startsWith('.'))).toEqual([]);
        }
        await rm(folder, { recursive: true });
      }
      expect(Math.min(...outcomes.values())).toBeGreaterThan(1);
    });
});
