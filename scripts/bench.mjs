#!/usr/bin/env node
// Runs benchmarks: `node scripts/bench.mjs NAME [--reps N] [--gpu] [--torch PYTHON] [--only TEXT]`.
// "all" runs every one, no name lists them. The libraries that we compare with are installed into
// bench/ on first use. `pack [FILE]` writes them as an archive for a machine without a network. See
// bench/README.md.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bench = join(root, 'bench');
const benches = readdirSync(join(bench, 'src'))
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));
const [name, ...options] = process.argv.slice(2);

if (name === 'pack') {
  const setup = join(root, 'scripts', 'setup.mjs');
  if (run(process.execPath, [setup, 'install']) !== 0) process.exit(1);
  const { NAME, pack } = await import('./carried.mjs');
  const file = resolve(options[0] ?? join(root, 'out', `${NAME}.tar.gz`));
  try {
    const { size, files } = await pack(file);
    console.error(`[bench] ${(size / 1e6).toFixed(1)} MB, ${files.length} files:`);
    console.log(relative(process.cwd(), file));
    process.exit(0);
  } catch (error) {
    console.error(`[bench] ${error.message}`);
    process.exit(1);
  }
}
if (!name || !['all', ...benches].includes(name)) {
  const unknown = name && !['-h', '--help'].includes(name);
  console.error(`${unknown ? `There is no benchmark "${name}". ` : ''}Benchmarks:`);
  for (const known of [...benches, 'all', 'pack']) console.error(`  ${known}`);
  process.exit(unknown ? 1 : 0);
}

/** Standard output is for JSON lines alone: of a bench, those that it writes to file 3. */
function run(command, args, { cwd = process.cwd(), env = {} } = {}) {
  const { status, error } = spawnSync(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', 2, 2, 1],
    shell: process.platform === 'win32' && command === 'npm', // npm.cmd
  });
  if (error) console.error(`[bench] ${command} could not be started: ${error.message}`);
  return error ? 1 : (status ?? 1);
}

/** Ours by scripts/setup.mjs, built as users get it; theirs into bench/. */
function install() {
  const setup = join(root, 'scripts', 'setup.mjs');
  if (run(process.execPath, [setup, 'build']) !== 0) process.exit(1);
  const hash = createHash('sha256');
  for (const file of ['package.json', 'pnpm-lock.yaml', 'pnpm-workspace.yaml'])
    hash.update(readFileSync(join(bench, file)));
  const key = hash.digest('hex');
  const stamp = join(bench, 'node_modules', '.attune-bench');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return;
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  console.error(`[bench] installing the libraries to compare with, by ${packageManager} ...`);
  const install = ['install', '--frozen-lockfile', '--reporter=append-only', '--loglevel=warn'];
  const npm = ['exec', '--yes', `--package=${packageManager}`, '--', 'pnpm', ...install];
  const status = run('npm', npm, { cwd: bench, env: { npm_config_yes: 'true' } });
  if (status !== 0) {
    console.error('[bench] that failed; the lines above say why.');
    process.exit(status);
  }
  writeFileSync(stamp, key);
}

install();
const tsx = createRequire(join(bench, 'package.json')).resolve('tsx');
let failed = 0;
for (const each of name === 'all' ? benches : [name]) {
  const status = run(
    process.execPath,
    ['--import', pathToFileURL(tsx).href, join(bench, 'src', `${each}.ts`), ...options],
    {
      env: {
        ATTUNE_BENCH_FD: '3',
        TSX_TSCONFIG_PATH: join(bench, 'tsconfig.json'),
        // A driver that finds its shaders on disk hides what compiling costs, and may serve old
        // code for new settings. Mesa's is the driver of software adapters; others ignore this.
        MESA_SHADER_CACHE_DISABLE: process.env.MESA_SHADER_CACHE_DISABLE ?? 'true',
      },
    },
  );
  if (status !== 0) failed = status;
}
process.exit(failed);
