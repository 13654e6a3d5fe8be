#!/usr/bin/env node
// Would a stranger's `npm install` work? Packs every package, installs the tarballs in an empty
// folder, imports them in plain node and compiles a program against their types. Needs a full build
// (`npm run build`); what is not ours comes from the registry.
import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));
const { packageManager, devDependencies } = readJson(join(root, 'package.json'));
const work = realpathSync(mkdtempSync(join(tmpdir(), 'attune-packages-')));
const [tarballs, consumer] = [join(work, 'tarballs'), join(work, 'consumer')];
mkdirSync(tarballs);
mkdirSync(consumer);
const problems = [];

function run(cwd, command, ...args) {
  const result = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, npm_config_yes: 'true', NODE_OPTIONS: '' },
  });
  if (result.status === 0) return result.stdout;
  throw new Error(
    `${command} ${args.join(' ')}: exit ${result.status ?? result.signal ?? result.error?.message}\n${result.stdout}${result.stderr}`,
  );
}

/** Runs one check; a failure is noted and the next check goes on. */
function check(what, body) {
  try {
    body();
    console.log(`ok    ${what}`);
  } catch (error) {
    problems.push(what);
    console.log(`FAIL  ${what}\n${String(error.message).trimEnd().replace(/^/gm, '      ')}`);
  }
}

function expect(holds, message) {
  if (!holds) throw new Error(message);
}

// Pack and install

/** Private ones are not published. */
const folders = readdirSync(join(root, 'packages')).filter(
  (folder) => !readJson(join(root, 'packages', folder, 'package.json')).private,
);

const packages = folders.map((folder) => {
  const path = join(root, 'packages', folder);
  const out = join(tarballs, `${folder}.tgz`);
  run(
    path,
    'npm',
    'exec',
    '--yes',
    `--package=${packageManager}`,
    '--',
    'pnpm',
    'pack',
    '--out',
    out,
  );
  const { name } = readJson(join(path, 'package.json'));
  return { name, out, installed: join(consumer, 'node_modules', name) };
});
const versionOf = (name) => devDependencies[name];
writeFileSync(
  join(consumer, 'package.json'),
  JSON.stringify({
    name: 'consumer',
    private: true,
    type: 'module',
    dependencies: Object.fromEntries(packages.map(({ name, out }) => [name, `file:${out}`])),
    devDependencies: {
      '@types/node': versionOf('@types/node'),
      typescript: versionOf('typescript'),
    },
  }),
);
run(consumer, 'npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error');
console.log(`installed ${packages.length} tarballs`);

// What is in them

const bareName = (specifier) =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

function importsOf(file) {
  const found = readFileSync(file, 'utf8').matchAll(
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3]);
}

const used = new Map();
for (const { name, installed } of packages) {
  const manifest = readJson(join(installed, 'package.json'));
  const dist = readdirSync(join(installed, 'dist')).map((file) => join(installed, 'dist', file));

  check(`${name}: manifest is fit to publish`, () => {
    const text = JSON.stringify(manifest);
    expect(!text.includes('attune-source'), 'the condition attune-source is still there');
    expect(!text.includes('workspace:'), 'a workspace: dependency is still there');
    for (const key of [
      'version',
      'description',
      'license',
      'engines',
      'exports',
      'repository',
      'homepage',
      'keywords',
    ])
      expect(manifest[key], `no ${key}`);
    const stray = readdirSync(installed).filter(
      (file) => !/^(bin|dist|package\.json|README\.md|LICENSE|node_modules)$/.test(file),
    );
    expect(stray.length === 0, `packed by mistake: ${stray.join(', ')}`);
  });

  check(`${name}: bundles nobody else's code`, () => {
    const maps = dist.filter((file) => file.endsWith('.js.map'));
    expect(maps.length > 0, 'no source map to tell by');
    // A thread of merge starts from one file, which has what it needs of core within.
    const own = (file) =>
      file.endsWith('worker.js.map') ? /^\.\.\/(src|..\/core\/src)\// : /^\.\.\/src\//;
    const foreign = maps.flatMap((file) =>
      readJson(file).sources.filter(
        (source) => source.includes('node_modules') || !own(file).test(source),
      ),
    );
    expect(foreign.length === 0, `from outside: ${[...new Set(foreign)].join(', ')}`);
  });

  check(`${name}: imports only what it depends on`, () => {
    const names = dist
      .filter((file) => /\.(js|d\.ts)$/.test(file))
      .flatMap(importsOf)
      .filter((specifier) => !/^(\.|#|node:)/.test(specifier))
      .map(bareName);
    used.set(name, new Set(names));
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies };
    const missing = names.filter(
      (other) => other !== name && !declared[other] && !builtinModules.includes(other),
    );
    expect(missing.length === 0, `not declared: ${[...new Set(missing)].join(', ')}`);
  });
}

for (const [name, dependency] of [
  ['@attune/core', 'inversify'],
  ['@attune/backend-dawn', 'webgpu'],
])
  check(`${name}: leaves ${dependency} an import`, () =>
    expect(used.get(name)?.has(dependency), `no import of ${dependency} in dist`),
  );

check('one copy of @attune/core', () => {
  const copies = run(consumer, 'npm', 'ls', '@attune/core', '--all', '--parseable')
    .trim()
    .split('\n');
  expect(copies.length === 1, copies.join('\n'));
});

// In use

const entries = packages.flatMap(({ name, installed }) =>
  Object.keys(readJson(join(installed, 'package.json')).exports).map((path) =>
    path === '.' ? name : `${name}/${path.slice(2)}`,
  ),
);
for (const entry of entries)
  check(`import '${entry}' in plain node`, () =>
    run(consumer, process.execPath, '--input-type=module', '-e', `await import('${entry}')`),
  );

check('attune --help', () => {
  const attune = join(consumer, 'node_modules', '.bin', 'attune');
  expect(run(consumer, attune, '--help').includes('inspect'), 'it does not name inspect');
  expect(run(consumer, attune, 'inspect', '--help').includes('--model'), 'no --model');
});

check('entries share their classes', () =>
  run(
    consumer,
    process.execPath,
    '--input-type=module',
    '-e',
    `const [front, tensor, util] = await Promise.all(['', '/tensor', '/util'].map((entry) => import('@attune/core' + entry)));
if (front.Tensor !== tensor.Tensor || front.AttuneError !== util.AttuneError) throw new Error('two of them');`,
  ),
);

check('a program of tensors runs', () => {
  writeFileSync(
    join(consumer, 'program.js'),
    `import { createAttune } from '@attune/core';
import { dawn } from '@attune/backend-dawn';
import { peft } from '@attune/peft';
const attune = await createAttune({ plugins: [dawn(), peft()] });
const doubled = await attune.engine.tensor([1, 2, 3]).mul(2).data();
if (String([...doubled]) !== '2,4,6') throw new Error(String(doubled));
await attune.dispose();
`,
  );
  run(consumer, process.execPath, 'program.js');
});

check('tables are read by a process of their own', () => {
  const tables = join(root, 'packages', 'data', 'test', 'fixtures', 'tables');
  const files = ['chats-zstd.parquet', 'chats-lz4.feather'].map((name) => join(tables, name));
  const program = `import { readRows } from '@attune/data';
for (const file of ${JSON.stringify(files)}) {
  let rows = 0;
  for await (const read of readRows(file)) if ('row' in read) rows++;
  if (rows !== 40) throw new Error(rows + ' rows of ' + file);
}`;
  run(consumer, process.execPath, '--input-type=module', '-e', program);
});

for (const [module, moduleResolution] of [
  ['NodeNext', 'NodeNext'],
  ['ESNext', 'Bundler'],
])
  check(`types resolve under ${moduleResolution}`, () => {
    const imports = entries.map((entry, i) => `import * as all${i} from '${entry}';`).join('\n');
    writeFileSync(
      join(consumer, 'program.ts'),
      `${imports}
import { dawn } from '@attune/backend-dawn';
import { type Attune, createAttune, type LanguageModel, SFTTrainer } from '@attune/core';
import { getPeftModel, type LoraConfig, peft } from '@attune/peft';
export const modules = [${entries.map((_, i) => `all${i}`).join(', ')}] as const;
export const attune: Promise<Attune> = createAttune({ plugins: [dawn(), peft()] });
export const adapt = async (model: LanguageModel, r: NonNullable<LoraConfig['r']>) =>
  (await getPeftModel(model, { peftType: 'LORA', r })).mergeAndUnload();
// @ts-expect-error: proof that the types are not any
export const wrong: number = SFTTrainer;
// @ts-expect-error: nor is what a call gives back
export const wrongToo: Promise<number> = createAttune({ plugins: [] });
`,
    );
    writeFileSync(
      join(consumer, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          target: 'ES2022',
          module,
          moduleResolution,
          strict: true,
          noEmit: true,
          types: ['node'],
        },
        files: ['program.ts'],
      }),
    );
    run(consumer, process.execPath, 'node_modules/typescript/bin/tsc', '-p', '.');
  });

if (problems.length) {
  console.log(`${problems.length} checks failed; the folder is ${work}`);
  process.exit(1);
}
rmSync(work, { recursive: true, force: true });
