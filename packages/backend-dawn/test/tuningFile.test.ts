import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { badJson, notFiles } from '../../core/test/hostile/cases.js';
import { TuningFile } from '../src/autotune/tuningFile.js';
import { temporaryFolder } from './support.js';

const root = temporaryFolder();
afterAll(() => rmSync(root, { recursive: true, force: true }));
let files = 0;
const next = () => join(root, `${files++}.json`);

describe('a file of choices that is none counts as none', () => {
  for (const [name, put] of notFiles)
    test(name, async () => {
      const path = next();
      await put(path);
      expect(new TuningFile(path).read('gpu')).toEqual({});
    });
  for (const [name, bytes] of badJson)
    test(name, () => {
      const path = next();
      writeFileSync(path, bytes);
      expect(new TuningFile(path).read('gpu')).toEqual({});
    });
  test.each([
    { version: 2, adapters: { gpu: { a: 'b' } } },
    { version: 1, adapters: [] },
    { version: 1, adapters: { gpu: [] } },
    { version: 1, adapters: { gpu: 'a' } },
    { version: 1, adapters: { gpu: { a: 1 } } },
    { version: 1, adapters: { gpu: { a: null } } },
  ])('%j', (contents) => {
    const path = next();
    writeFileSync(path, JSON.stringify(contents));
    expect(new TuningFile(path).read('gpu')).toEqual({});
    expect(new TuningFile(path).read('constructor')).toEqual({});
  });
});

test('an adapter may have any name', async () => {
  const file = new TuningFile(next());
  await file.write('constructor', { a: 'b' });
  await file.write('constructor', { c: 'd' });
  expect(file.read('constructor')).toEqual({ a: 'b', c: 'd' });
  expect(file.read('toString')).toEqual({});
});
