import { opTable } from '@attune/core';
import { compareCase, opCases } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chooseAdapter, createDawnBackend, DawnBackend } from '../src/index.js';

/** Every op of core's table on the device, against the float64 reference. */
let backend: DawnBackend;
/** A device with WebGPU's least limits and without subgroups: the kernels that most GPUs of AMD and Intel run. */
let plain: DawnBackend;
beforeAll(async () => {
  backend = await createDawnBackend();
  const choice = { ...(await chooseAdapter(undefined)), subgroupSize: 0, software: false };
  // Newer than the types in use: a proposal that Dawn implements.
  const requiredLimits = { maxImmediateSize: 64 } as Record<string, number>;
  plain = new DawnBackend(await choice.adapter.requestDevice({ requiredLimits }), choice);
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
  await plain[Symbol.asyncDispose]();
});

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
