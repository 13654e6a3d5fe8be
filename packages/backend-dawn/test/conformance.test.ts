import { opTable } from '@attune/core';
import { compareCase, opCases } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDawnBackend, type DawnBackend } from '../src/index.js';

/** Every op of core's table on the device, against the float64 reference. */
let backend: DawnBackend;
beforeAll(async () => {
  backend = await createDawnBackend();
});
afterAll(() => backend[Symbol.asyncDispose]());

describe.each(opTable.map((op) => op.name))('%s', (name) => {
  test('equals the reference on every case', async () => {
    const failures: string[] = [];
    for (const testCase of opCases.filter((c) => c.op.name === name)) {
      const result = await compareCase(backend, testCase);
      if (!result.ok) failures.push(result.message);
    }
    expect(failures).toEqual([]);
  });
});
