import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

// The rooms of docs/architecture.md, read from the imports of every source file.

const packagesFolder = fileURLToPath(new URL('../..', import.meta.url));

interface Import {
  /** Path below packages/, with slashes: "core/src/nn/linear.ts". */
  readonly file: string;
  readonly specifier: string;
  /** `import type`: gone after the build, so it binds nobody at run time. */
  readonly typeOnly: boolean;
}

function parseImports(file: string, text: string): Import[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const statements = code.matchAll(
    /(?:^|[;\n])\s*(?:import|export)\b(\s+type\b)?[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|(?:^|[;\n])\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
  );
  return [...statements].map((match) => ({
    file,
    specifier: (match[2] ?? match[3] ?? match[4])!,
    typeOnly: match[1] !== undefined,
  }));
}

const imports = readdirSync(packagesFolder).flatMap((name) => {
  const source = join(packagesFolder, name, 'src');
  if (!existsSync(source)) return [];
  return readdirSync(source, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .flatMap((path) => {
      const file = relative(packagesFolder, join(source, path)).split(sep).join('/');
      return parseImports(file, readFileSync(join(source, path), 'utf8'));
    });
});

const say = ({ file, specifier }: Import) => `${file} imports ${specifier}`;
const packageOf = (file: string) => file.split('/')[0]!;

describe('the parser of this test', () => {
  it('sees every form of import', () => {
    const text = `
      import a, { b,
        type C } from './one.js';
      import type { D } from './two.js';
      import * as e from "three";
      export * from './four.js'; export { f } from './five.js';
      export type { G } from './six.js';
      import 'seven';
      const h = await import('eight');
      // import i from 'nine';
      /** import j from 'ten'; */
      const text = 'not from';`;
    const seen = parseImports('x.ts', text);
    expect(seen.map((i) => `${i.specifier}${i.typeOnly ? ' (type)' : ''}`)).toEqual([
      './one.js',
      './two.js (type)',
      'three',
      './four.js',
      './five.js',
      './six.js (type)',
      'seven',
      'eight',
    ]);
  });

  it('finds the sources', () => {
    expect(imports.length).toBeGreaterThan(100);
  });
});

describe('packages', () => {
  it('import @attune/core and none of each other; core imports none', () => {
    const wrong = imports.filter(({ file, specifier }) => {
      const target = /^@attune\/([^/]+)/.exec(specifier)?.[1];
      return target && (packageOf(file) === 'core' || target !== 'core');
    });
    expect(wrong.map(say)).toEqual([]);
  });

  it('reach into no other package by a relative path', () => {
    const wrong = imports.filter(({ file, specifier }) => {
      if (!specifier.startsWith('.')) return false;
      const target = normalize(join(dirname(file), specifier))
        .split(sep)
        .join('/');
      return !target.startsWith(`${packageOf(file)}/src/`);
    });
    expect(wrong.map(say)).toEqual([]);
  });

  it.each([
    ['inversify', 'core/src/di/'],
    ['reflect-metadata', 'core/src/di/'],
    ['webgpu', 'backend-dawn/src/'],
  ])('%s is imported in %s only', (library, home) => {
    const wrong = imports.filter(
      ({ file, specifier }) =>
        (specifier === library || specifier.startsWith(`${library}/`)) && !file.startsWith(home),
    );
    expect(wrong.map(say)).toEqual([]);
  });
});

/**
 * What each room of core may import values from, besides itself. Types are free: a contract may name
 * what stands above it (`Backend` names `DType`, `AdapterHost` names `LanguageModel`), and nothing of
 * that is left after the build.
 */
const rooms: Readonly<Record<string, readonly string[]>> = {
  util: [],
  backend: ['util'],
  tensor: ['util', 'backend'],
  // The oracle runs the op table, so it stands on tensor, though it lies in backend's folder.
  'backend/reference': ['util', 'backend', 'tensor'],
  quant: ['util'],
  nn: ['util', 'tensor', 'quant'],
  // Decay groups are found by module: the norms' weights have none.
  optim: ['util', 'tensor', 'nn', 'quant', 'di contract'],
  io: ['util', 'tensor'],
  jinja: ['util'],
  tokenizer: ['util', 'io', 'jinja'],
  dataset: ['util', 'io', 'tokenizer'],
  models: ['util', 'tensor', 'nn', 'io', 'tokenizer', 'di contract'],
  distributed: ['util', 'tensor'],
  callbacks: ['util', 'di contract'],
  trainer: [
    ...['util', 'tensor', 'nn', 'optim', 'io', 'tokenizer', 'dataset', 'models', 'callbacks'],
    ...['distributed', 'di contract'],
  ],
  cli: ['util', 'io', 'tokenizer', 'dataset'],
  testing: ['util', 'backend', 'backend/reference', 'tensor', 'quant'],
  'di contract': ['util'],
  di: ['util', 'di contract'],
};

/** Tokens and extension points are names with types: every room may use them. The container is not. */
const contracts = ['di/extensionPoint.ts', 'di/tokens.ts'];

/** @param path below core/src. Files beside the rooms (attune.ts, index.ts, ...) stand on top. */
function roomOf(path: string): string {
  if (contracts.includes(path)) return 'di contract';
  if (path.startsWith('backend/reference/')) return 'backend/reference';
  return path.includes('/') ? path.split('/')[0]! : 'top';
}

describe('rooms of core', () => {
  const inner = imports
    .filter((i) => i.file.startsWith('core/src/') && i.specifier.startsWith('.'))
    .map((i) => {
      const from = i.file.slice('core/src/'.length);
      const to = normalize(join(dirname(from), i.specifier))
        .split(sep)
        .join('/');
      return { ...i, from, to: to.replace(/\.js$/, '.ts') };
    });

  it('are all known to this test', () => {
    const unknown = new Set(inner.map((i) => roomOf(i.from)).filter((room) => !(room in rooms)));
    unknown.delete('top');
    expect([...unknown]).toEqual([]);
  });

  it('import values from the rooms below only', () => {
    const wrong = inner.filter(({ from, to, typeOnly }) => {
      const [room, target] = [roomOf(from), roomOf(to)];
      if (typeOnly || room === target || room === 'top') return false;
      return !rooms[room]?.includes(target);
    });
    expect(wrong.map(say)).toEqual([]);
  });

  it('have an order: no room stands on itself', () => {
    const below = (room: string, seen: readonly string[]): void => {
      expect(seen, `${[...seen, room].join(' <- ')}`).not.toContain(room);
      for (const next of rooms[room] ?? []) below(next, [...seen, room]);
    };
    for (const room of Object.keys(rooms)) below(room, []);
  });

  it('only attune.ts builds the container', () => {
    const users = inner.filter((i) => i.to === 'di/container.ts' && !i.typeOnly);
    expect(users.map((i) => i.from)).toEqual(['attune.ts']);
  });
});
