// The benchmarks as one archive for linux-x64, for a machine that has a GPU and nothing else:
// `node scripts/bench.mjs pack [FILE]`. See "A machine that has a GPU and nothing else" in
// bench/README.md.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'tsup';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** What the archive is called, and the one folder in it. */
export const NAME = 'attune-bench-linux-x64';
export const MOST_BYTES = 60e6;
export const BENCHES = [
  'adapter',
  'conformance',
  'matmul',
  'attention',
  'lora-1b',
  'train-step',
  'generate',
  'recording',
];

/** Runtime libraries for systems without them: they may be passed on, and are looked for here. */
const LIBRARIES = {
  runtime: ['libstdc++.so.6', 'libgcc_s.so.1'],
  vulkan: ['libvulkan.so.1'],
};
const LIBRARY_FOLDERS = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
  '/lib/x86_64-linux-gnu',
];

/**
 * Writes the archive.
 *
 * @param file its path
 * @returns its size in bytes and the files in it, those of the libraries last
 * @throws when it is not below MOST_BYTES
 */
export async function pack(file) {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error('The archive holds the Node that runs this script: run it on Linux, x86-64.');
  const folder = mkdtempSync(join(tmpdir(), 'attune-pack-'));
  try {
    const top = join(folder, NAME);
    await bundle(join(top, 'app'));
    addDawn(join(top, 'app', 'node_modules', 'webgpu'));
    // With --torch, for whoever has PyTorch on that machine.
    copyFileSync(join(root, 'bench/src/peers/yardstick.py'), join(top, 'app/yardstick.py'));
    addNode(join(top, 'bin'));
    addLibraries(join(top, 'lib'));
    cpSync(join(root, 'bench', 'carried'), top, { recursive: true });
    copyFileSync(join(root, 'LICENSE'), join(top, 'LICENSE'));
    writeFileSync(join(top, 'COMMIT'), `${commit()}\n`);
    compress(folder, file);
    const { size } = statSync(file);
    if (size >= MOST_BYTES)
      throw new Error(`${file} has ${size} bytes; it should stay below ${MOST_BYTES}.`);
    return { size, files: filesBelow(top).map((path) => relative(top, path)) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Modules that are not bundled. */
const OUTSIDE = /^(webgpu$|@tensorflow\/|@jax-js\/|@genai-fi\/)/;

/** Benches and packages in one: from the sources, so that nothing has to be built before. */
const bundle = (outDir) =>
  build({
    config: false,
    entry: Object.fromEntries([
      ...BENCHES.map((name) => [name, join(root, 'bench', 'src', `${name}.ts`)]),
      ['driver', join(root, 'bench', 'src', 'carried', 'driver.ts')],
    ]),
    outDir,
    tsconfig: join(root, 'bench', 'tsconfig.json'),
    format: ['esm'],
    target: 'node20',
    platform: 'node',
    splitting: true,
    silent: true,
    clean: false,
    // Dawn's addon lies beside it; the peers are not taken along.
    external: [OUTSIDE],
    noExternal: [new RegExp(`^(?!${OUTSIDE.source.slice(1)})`)],
    // Packages that are no modules ask for Node's own parts.
    banner: {
      js: "import { createRequire as attuneRequire } from 'node:module'; const require = attuneRequire(import.meta.url);",
    },
    esbuildOptions(options) {
      options.conditions = ['attune-source'];
    },
  }).then(() => writeFileSync(join(outDir, 'package.json'), '{ "type": "module" }\n'));

function addDawn(to) {
  const require = createRequire(join(root, 'packages', 'backend-dawn', 'package.json'));
  const from = dirname(require.resolve('webgpu'));
  const addon = join('dist', 'linux-x64', 'dawn.node');
  mkdirSync(dirname(join(to, addon)), { recursive: true });
  for (const name of ['package.json', 'index.js', 'LICENSE', addon])
    if (existsSync(join(from, name))) copyFileSync(join(from, name), join(to, name));
}

/** The Node that runs this script, without its table of symbols where `strip` is installed. */
function addNode(to) {
  mkdirSync(to, { recursive: true });
  const node = join(to, 'node');
  copyFileSync(realpathSync(process.execPath), node);
  chmodSync(node, 0o755);
  spawnSync('strip', [node], { stdio: 'ignore' });
  const license = join(dirname(realpathSync(process.execPath)), '..', 'LICENSE');
  if (existsSync(license)) copyFileSync(license, join(to, 'LICENSE.node'));
}

function addLibraries(to) {
  for (const [kind, names] of Object.entries(LIBRARIES))
    for (const name of names) {
      const from = LIBRARY_FOLDERS.map((each) => join(each, name)).find(existsSync);
      mkdirSync(join(to, kind), { recursive: true });
      if (from) copyFileSync(realpathSync(from), join(to, kind, name));
      else console.error(`[bench] ${name} is not installed here, so the archive has none.`);
    }
}

function compress(folder, file) {
  mkdirSync(dirname(file), { recursive: true });
  const tar = [
    '--owner=0',
    '--group=0',
    '--sort=name',
    '-I',
    'gzip -9',
    '-cf',
    file,
    '-C',
    folder,
    NAME,
  ];
  const { status, error, stderr } = spawnSync('tar', tar, { encoding: 'utf8' });
  if (error || status !== 0) throw new Error(`tar: ${error?.message ?? stderr}`);
}

/** What was measured, for whoever reads the figures later. */
function commit() {
  const { stdout } = spawnSync('git', ['-C', root, 'rev-parse', 'HEAD'], { encoding: 'utf8' });
  const { version } = JSON.parse(readFileSync(join(root, 'packages/core/package.json'), 'utf8'));
  return stdout?.trim() || `version ${version}`;
}

const filesBelow = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? filesBelow(path) : [path];
    });
