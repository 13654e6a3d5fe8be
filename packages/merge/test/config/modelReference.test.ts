import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ReferenceFault, readModelReference } from '../../src/config/modelReference.js';

const read = (value: unknown) => {
  const result = readModelReference(value);
  return result instanceof ReferenceFault ? result.message : result;
};

test.each([
  ['org/model', { path: 'org/model', revision: null, adapter: null }],
  ['org/model@main', { path: 'org/model', revision: 'main', adapter: null }],
  ['a+b', { path: 'a', revision: null, adapter: { path: 'b', revision: null } }],
  ['a@x+b@y', { path: 'a', revision: 'x', adapter: { path: 'b', revision: 'y' } }],
  ['C:\\models\\a', { path: 'C:\\models\\a', revision: null, adapter: null }],
  ['../a b/c', { path: '../a b/c', revision: null, adapter: null }],
])('%s', (text, expected) => {
  expect(read(text)).toEqual({ ...expected, key: text });
});

test('parts have the key of the text', () => {
  const parts = { model: { path: 'a', revision: 'x' }, lora: 'b@y', override_architecture: null };
  expect(read(parts)).toEqual(read('a@x+b@y'));
  expect(read({ model: 'a' })).toEqual(read('a'));
});

test.each([
  ['', 'is empty'],
  ['a@', 'has nothing on one side of "@"'],
  ['@main', 'has nothing on one side of "@"'],
  ['+b', 'has nothing on one side of "+"'],
  ['a+', 'has nothing on one side of "+"'],
  ['a@b@c', 'has 2 "@"'],
  ['a+b+c', 'has 2 "+"'],
  [7, 'is the number 7'],
  [null, 'is empty'],
  [['a'], 'is a list'],
  [{ path: 'a' }, 'has "path"'],
  [{ model: {} }, 'has a model that is {}'],
  [{ model: 'a', lora: 3 }, 'has a lora that is 3'],
  [{ lora: 'a' }, 'has a model that is missing'],
  [{ model: 'a', override_architecture: 'X' }, 'has override_architecture'],
])('%j is refused', (value, message) => {
  expect(read(value)).toContain(message);
});

describe('folders that are there', () => {
  let scratch: string;
  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'attune-reference-'));
    for (const name of ['a@1', 'b+c', 'd', 'e@2@3']) await mkdir(join(scratch, name));
  });
  afterAll(() => rm(scratch, { recursive: true }));
  const at = (name: string) => join(scratch, name);

  test('have @ and + in their names', () => {
    expect(read(at('a@1'))).toMatchObject({ path: at('a@1'), revision: null });
    expect(read(at('b+c'))).toMatchObject({ path: at('b+c'), adapter: null });
    expect(read(`${at('a@1')}@main`)).toMatchObject({ path: at('a@1'), revision: 'main' });
    expect(read(at('e@2@3'))).toMatchObject({ path: at('e@2@3'), revision: null });
    expect(read(`${at('b+c')}+${at('d')}`)).toMatchObject({
      path: at('b+c'),
      adapter: { path: at('d') },
    });
    expect(read(`${at('d')}+${at('b+c')}`)).toMatchObject({
      path: at('d'),
      adapter: { path: at('b+c') },
    });
  });
});
