import { opTable } from '@attune/core';
import { compareCase, opCases } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDawnBackend, DawnBackend } from '../src/index.js';

/** Every op of core's table on the device, against the float64 reference. */
let backend: DawnBackend;
/** The same device as one whose subgroups have no fixed size: the kernels that most GPUs of AMD and Intel run. */
let plain: DawnBackend;
beforeAll(async () => {
  backend = await createDawnBackend();
  const choice = { ...backend.choice, subgroupSize: 0, software: false };
  plain = new DawnBackend(backend.device, choice);
});
afterAll(() => backend[Symbol.asyncDispose]());

/** A software driver compiles the unrolled kernels for a minute when its disk cache is cold. */
const timeout = 300_000;

describe.each(opTable.map((op) => op.name))('%s', (name) => {
  const failures = async (on: DawnBackend): Promise<string[]> => {
    const messages: string[] = [];
    for (const testCase of opCases.filter((c) => c.op.name === name)) {
      const result = await compareCase(on, testCase);
      if (!result.ok) messages.push(result.message);
    }
    return messages;
  };

  test('equals the reference on every case', { timeout }, async () => {
    expect(await failures(backend)).toEqual([]);
  });

  test('equals it without subgroups', { timeout }, async () => {
    expect(await failures(plain)).toEqual([]);
  });
});
