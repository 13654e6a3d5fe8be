import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { imports, packageOf, parseImports, say } from './imports.js';

// The rooms of docs/architecture.md, read from the imports of every source file.

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
  it('import @attune/core and none of each other; core imports none; cli may import all', () => {
    const wrong = imports.filter(({ file, specifier }) => {
      const target = /^@attune\/([^/]+)/.exec(specifier)?.[1];
      if (!target || packageOf(file) === 'cli') return false;
      return packageOf(file) === 'core' || target !== 'core';
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

  it('core and peft know Node in platform/node.ts alone; kits for tests aside', () => {
    const wrong = imports.filter(
      ({ file, specifier }) =>
        /^(core|peft)\/src\/(?!testing\/)/.test(file) &&
        file !== 'core/src/platform/node.ts' &&
        (specifier.startsWith('node:') || specifier === '@huggingface/hub'),
    );
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
 * What each room of core may import, values and types, besides itself: the rooms stand in their
 * order, and every arrow points up this list.
 */
const rooms: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  platform: [],
  util: [],
  quant: ['util'],
  backend: ['util'],
  tensor: ['util', 'backend'],
  // The oracle runs the op table, so it stands on tensor, though it lies in backend's folder.
  'backend/reference': ['util', 'backend', 'tensor'],
  distributed: ['util', 'tensor'],
  'di contract': ['util', 'backend', 'tensor', 'distributed'],
  nn: ['util', 'quant', 'backend', 'tensor'],
  // Decay groups are found by module: the norms' weights have none.
  optim: ['util', 'quant', 'tensor', 'di contract', 'nn'],
  io: ['util', 'backend', 'tensor'],
  jinja: ['util'],
  tokenizer: ['util', 'io', 'jinja'],
  models: ['util', 'backend', 'tensor', 'di contract', 'nn', 'io', 'tokenizer'],
  dataset: ['util', 'io', 'di contract'],
  text: ['util', 'tokenizer', 'dataset'],
  training: ['util', 'backend', 'tensor', 'di contract', 'nn', 'optim', 'models', 'text'],
  objectives: ['util', 'tensor', 'models', 'text', 'training'],
  callbacks: ['util', 'di contract', 'training'],
  trackers: ['util', 'training', 'callbacks'],
  evaluation: [
    ...['util', 'backend', 'tensor', 'di contract', 'tokenizer', 'models', 'dataset', 'text'],
    ...['distributed', 'training', 'objectives', 'callbacks'],
  ],
  trainer: [
    ...['util', 'backend', 'tensor', 'di contract', 'nn', 'optim', 'io', 'models', 'dataset'],
    ...['text', 'distributed', 'training', 'objectives', 'callbacks', 'evaluation'],
  ],
  di: ['util', 'di contract'],
  // Beside all of it, on what users have: the kits run whole trainings.
  testing: [
    ...['util', 'quant', 'backend', 'tensor', 'backend/reference', 'di contract', 'nn', 'optim'],
    ...['io', 'dataset', 'text', 'models', 'training', 'objectives', 'callbacks', 'evaluation'],
    ...['trainer', 'distributed', 'di', 'top'],
  ],
};

/** What every room may use: the errors, and what the system gives. */
const free = new Set(['errors', 'platform']);

/**
 * Tokens and extension points are names with types: every room may use them. The container is not.
 */
const contracts = ['di/extensionPoint.ts', 'di/registry.ts', 'di/tokens.ts'];

/**
 * Types that may be named from below, each for its reason. Nothing of them is left after the build.
 */
const meant: readonly (readonly [from: RegExp, to: string])[] = [
  // A model, a callback, a token hold the Attune that they were made in.
  [/^(models|callbacks|trainer|di)\//, 'attune.ts'],
  // The token of the service that a PEFT plugin provides.
  [/^di\/tokens\.ts$/, 'models/adapterHost.ts'],
  // Evaluation asks for rows that the trainer has prepared.
  [/^evaluation\/evaluation\.ts$/, 'trainer/rows/preparedRows.ts'],
];

/** @param path below core/src. Files beside the rooms (attune.ts, index.ts, ...) stand on top. */
function roomOf(path: string): string {
  if (contracts.includes(path)) return 'di contract';
  if (path === 'util/errors.ts') return 'errors';
  if (path.startsWith('backend/reference/')) return 'backend/reference';
  if (path.startsWith('entries/')) return 'top';
  return path.includes('/') ? path.split('/')[0]! : 'top';
}

describe('rooms of core', () => {
  const inner = imports
    .filter((i) => i.file.startsWith('core/src/') && /^[.#]/.test(i.specifier))
    .map((i) => {
      const from = i.file.slice('core/src/'.length);
      if (i.specifier === '#platform') return { ...i, from, to: 'platform/types.ts' };
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

  it('import from the rooms below only, types too', () => {
    const wrong = inner.filter(({ from, to, typeOnly }) => {
      const [room, target] = [roomOf(from), roomOf(to)];
      if (room === target || room === 'top' || free.has(target)) return false;
      if (typeOnly && meant.some(([place, type]) => place.test(from) && type === to)) return false;
      return !rooms[room]?.includes(target);
    });
    expect(wrong.map(say)).toEqual([]);
  });

  it('name from below no type in vain: every exception is used', () => {
    const unused = meant.filter(
      ([place, type]) => !inner.some((i) => i.typeOnly && place.test(i.from) && i.to === type),
    );
    expect(unused).toEqual([]);
  });

  it('have an order: each stands on rooms before it', () => {
    const order = Object.keys(rooms);
    for (const [room, below] of Object.entries(rooms))
      for (const next of below) expect(order.indexOf(next), next).toBeLessThan(order.indexOf(room));
  });

  it('only attune.ts builds the container', () => {
    const users = inner.filter((i) => i.to === 'di/container.ts' && !i.typeOnly);
    expect(users.map((i) => i.from)).toEqual(['attune.ts']);
  });
});

it('the test files that start first are there: scripts/longestFirst.json', () => {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  const longest = JSON.parse(readFileSync(join(root, 'scripts/longestFirst.json'), 'utf8'));
  expect(longest.filter((path: string) => !existsSync(join(root, path)))).toEqual([]);
});
