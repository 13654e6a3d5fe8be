import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readHfConfig, WeightFolder } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bundleScript } from '../../../core/test/bundleScript.js';
import { fixtures } from '../../../core/test/models/support.js';
import { hasAdapter } from '../../src/files/adapterFolder.js';
import { saves } from './saves.js';

/**
 * Deaths of a save that are left to see: in `folder`-n, what is there before the n-th operation.
 */
interface Deaths {
  /** File operations of the whole save. */
  readonly count: number;
  /** Before which operations. */
  readonly before: readonly number[];
}

let script: string;

/**
 * Saves in a process, into each of the folders.
 *
 * @param at dies before its n-th file operation; or copies what a death before each would leave
 * @returns how many operations there were; null: it died
 */
function save(
  kind: string,
  at: number | 'never' | 'copy',
  ...folders: readonly string[]
): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script, kind, fixtures, `${at}`, ...folders], {
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

/** A process for each death: before the last operations, where files are moved, and some others. */
export async function killed(kind: string, folder: string): Promise<Deaths> {
  const whole = `${folder}-whole`;
  await cp(folder, whole, { recursive: true });
  const count = (await save(kind, 'never', whole))!;
  const late = 22;
  const before = Array.from({ length: count }, (_, i) => i + 1).filter(
    (n) => n > count - late || n % Math.ceil(count / 6) === 0,
  );
  for (const n of before) {
    await cp(folder, `${folder}-${n}`, { recursive: true });
    expect(await save(kind, n, `${folder}-${n}`)).toBe(null);
  }
  return { count, before };
}

/**
 * One process, which copies the folder before each of its operations; and three that die: a death
 * leaves what the copy has.
 */
export async function copied(kind: string, folder: string): Promise<Deaths> {
  const copying = `${folder}-copying`;
  await cp(folder, copying, { recursive: true });
  const count = (await save(kind, 'copy', copying))!;
  const before = Array.from({ length: count }, (_, i) => i + 1);
  for (const n of before) await rename(`${copying}-${n}`, `${folder}-${n}`);
  for (const n of [Math.ceil(count / 3), count - 10, count]) {
    const dead = `${folder}-dead-${n}`;
    await cp(folder, dead, { recursive: true });
    expect(await save(kind, n, dead)).toBe(null);
    expect(await hidden(dead)).toBe(await hidden(`${folder}-${n}`));
    expect(await fingerprint(dead)).toBe(await fingerprint(`${folder}-${n}`));
  }
  return { count, before };
}

/** How many files of others, of no concern to who reads the folder, there are. */
const hidden = async (folder: string): Promise<number> =>
  (await readdir(folder)).filter((name) => name.startsWith('.')).length;

/** @param die brings about deaths of a save into a folder */
export function killedSaveTests(die: (kind: string, folder: string) => Promise<Deaths>): void {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'attune-killed-'));
    script = await bundleScript(new URL('./savedRun.ts', import.meta.url), root);
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  describe('a save that is killed leaves the old files or the new ones, whole', () => {
    for (const [kind, [older]] of Object.entries(saves))
      test(kind, async () => {
        const old = join(root, kind);
        await (await older(old, fixtures))();
        await writeFile(join(old, 'README.md'), 'of someone else');
        const fresh = join(root, `${kind}-new`);
        await cp(old, fresh, { recursive: true });
        await save(kind, 'never', fresh);
        const [before, after] = [await fingerprint(old), await fingerprint(fresh)];
        expect(before).not.toBe(after);
        expect(await hidden(fresh)).toBe(0);
        const outcomes = new Map([
          [before, 0],
          [after, 0],
        ]);
        const deaths = await die(kind, old);
        expect(deaths.before.length).toBeGreaterThan(20);
        const again: string[] = [];
        for (const n of deaths.before) {
          const folder = join(root, `${kind}-${n}`);
          // Whoever knows nothing of us finds one of the two, or no config file.
          const names = await readdir(folder);
          if (names.includes('config.json') || names.includes('adapter_config.json'))
            expect([before, after]).toContain(await fingerprint(folder));
          await load(folder);
          const found = await fingerprint(folder);
          expect([before, after]).toContain(found);
          outcomes.set(found, outcomes.get(found)! + 1);
          expect(await readFile(join(folder, 'README.md'), 'utf8')).toBe('of someone else');
          if (n % 5 === 0) again.push(folder);
        }
        expect(Math.min(...outcomes.values())).toBeGreaterThan(1);
        // What is left over goes with the next save.
        expect(await save(kind, 'never', ...again)).toBeGreaterThan(0);
        for (const folder of again) {
          expect(await fingerprint(folder)).toBe(after);
          expect(await hidden(folder)).toBe(0);
        }
      });
  });
}
