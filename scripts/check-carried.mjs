#!/usr/bin/env node
// Packs the benchmarks as people carry them to a machine that has a GPU and nothing else, and looks
// at what came of it: its size, the files in it, and a run of a minute outside of the repository,
// with nothing on the PATH but the system's tools. For CI; `node scripts/check-carried.mjs`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BENCHES, MOST_BYTES, NAME, pack } from './carried.mjs';

/** Less than a run that measures: benches that get no time say so, which is looked at as well. */
const MINUTES = 1;

if (process.platform !== 'linux' || process.arch !== 'x64') {
  console.log('[carried] skipped: the archive is for Linux on x86-64, and is made there.');
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), 'attune-carried-'));
try {
  const archive = join(folder, `${NAME}.tar.gz`);
  const { size } = await pack(archive);
  assert.ok(size < MOST_BYTES, `${size} bytes`);

  const listed = spawnSync('tar', ['-tzf', archive], { encoding: 'utf8' }).stdout.split('\n');
  const inside = listed.filter((path) => path && !path.endsWith('/'));
  const expected = [
    'run.sh',
    'README.txt',
    'LICENSE',
    'COMMIT',
    'bin/node',
    'app/driver.js',
    'app/yardstick.py',
    'app/node_modules/webgpu/index.js',
    'app/node_modules/webgpu/dist/linux-x64/dawn.node',
    ...BENCHES.map((name) => `app/${name}.js`),
  ];
  for (const path of expected) assert.ok(inside.includes(`${NAME}/${path}`), `${path} is missing`);
  const addons = inside.filter((path) => path.endsWith('.node'));
  assert.equal(addons.length, 1, `addons of other systems: ${addons}`);
  assert.ok(!inside.some((path) => path.endsWith('.map')), 'source maps');

  assert.equal(spawnSync('tar', ['-xzf', archive, '-C', folder]).status, 0);
  const top = join(folder, NAME);
  const bundled = inside.filter((path) => /\/app\/[^/]+\.js$/.test(path));
  for (const path of bundled)
    assert.ok(
      !readFileSync(join(folder, path), 'utf8').includes(process.cwd()),
      `${path} names this folder`,
    );

  const { status } = spawnSync(
    join(top, 'run.sh'),
    [String(MINUTES), 'lines.jsonl', '--reps', '1'],
    {
      cwd: folder,
      stdio: ['ignore', 2, 2],
      env: {
        PATH: '/usr/bin:/bin',
        HOME: folder,
        // Where set-up put a software device, on machines without another.
        ATTUNE_CACHE_DIR:
          process.env.ATTUNE_CACHE_DIR ??
          join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'attune'),
        ...(process.env.ATTUNE_VULKAN && { ATTUNE_VULKAN: process.env.ATTUNE_VULKAN }),
      },
      timeout: MINUTES * 60_000 + 30_000,
    },
  );
  const lines = readFileSync(join(folder, 'lines.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const of = (bench) => lines.filter((line) => line.bench === bench);
  for (const bench of BENCHES) assert.ok(of(bench).length > 0, `no line of ${bench}`);
  const [adapter] = of('adapter');
  assert.ok(adapter.peakGflops > 0, 'no peak of the adapter');
  assert.equal(typeof adapter.software, 'boolean');
  const conformance = of('conformance').filter((line) => line.next !== undefined);
  assert.ok(
    conformance.some((line) => line.passed > 0),
    'no case of the conformance suite passed',
  );
  assert.ok(conformance.every((line) => line.failures === 0));
  assert.ok(of('matmul')[0].ours.shareOfPeak > 0, 'no share of the peak');
  const end = lines.at(-1);
  assert.equal(end.bench, 'run');
  assert.ok(end.commit, 'the run does not name its commit');
  assert.ok(end.seconds <= MINUTES * 60 + 5, `it took ${end.seconds} s`);
  const ended = lines.filter((line) => line.failed && !/its time was over/.test(line.failed));
  assert.deepEqual(ended, []);
  assert.equal(status, end.good ? 0 : 1);
  console.log(
    `[carried] ${(size / 1e6).toFixed(1)} MB, ${inside.length} files, ${lines.length} lines.`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
