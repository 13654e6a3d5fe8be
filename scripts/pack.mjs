#!/usr/bin/env node
// Makes tarballs of the packages that have something in them, for a project outside of this repository:
//   npm run pack [-- FOLDER]        (default: tarballs/)
// Builds first, declarations too. `npm install ../attune/tarballs/*.tgz` installs them.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = resolve(process.argv[2] ?? join(root, 'tarballs'));
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));
const { packageManager } = readJson(join(root, 'package.json'));

function run(cwd, command, args) {
  const { status, error } = spawnSync(command, args, {
    cwd,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, npm_config_yes: 'true' },
    shell: process.platform === 'win32' && command === 'npm', // npm.cmd
  });
  if (error) console.error(`[pack] ${command} could not be started: ${error.message}`);
  if (error || status !== 0) process.exit(status || 1);
}

run(root, 'npm', ['run', 'build']);
mkdirSync(out, { recursive: true });
for (const folder of readdirSync(join(root, 'packages'))) {
  const path = join(root, 'packages', folder);
  const { name, version, private: isPrivate } = readJson(join(path, 'package.json'));
  if (isPrivate) continue;
  const file = join(out, `${name.replace('@', '').replace('/', '-')}-${version}.tgz`);
  const pack = [
    'exec',
    '--yes',
    `--package=${packageManager}`,
    '--',
    'pnpm',
    'pack',
    '--out',
    file,
  ];
  run(path, 'npm', pack);
  console.log(relative(process.cwd(), file) || file);
}
