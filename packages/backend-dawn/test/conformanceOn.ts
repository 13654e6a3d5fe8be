import { opTable } from '@attune/core/tensor';
import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { factsOf } from '../src/deviceFacts.js';
import { chooseAdapter, createDawnBackend, DawnBackend } from '../src/index.js';
import type { DeviceFacts } from '../src/kernels/kernel.js';

/**
 * Every op of core's table on the device, against the float64 reference.
 *
 * @param choose which of the cases of an op a device runs
 */
export function conformanceTests(
  choose: (cases: readonly OpCase[], facts: DeviceFacts) => readonly OpCase[],
): void {
  let backend: DawnBackend;
  /**
   * A device with WebGPU's least limits and without subgroups: the kernels of GPUs whose subgroup
   * sizes vary and can't be asked for.
   */
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

  describe.each(opTable.map((op) => op.name))('%s', (name) => {
    const failures = async (on: DawnBackend): Promise<string[]> => {
      const cases = choose(
        opCases.filter((c) => c.op.name === name),
        factsOf(on.device, on.choice),
      );
      expect(cases.length).toBeGreaterThan(0);
      const messages: string[] = [];
      for (const testCase of cases) {
        const result = await compareCase(on, testCase);
        if (!result.ok) messages.push(result.message);
      }
      return messages;
    };

    test('equals the reference', async () => {
      expect(await failures(backend)).toEqual([]);
    });

    test('equals it without subgroups', async () => {
      expect(await failures(plain)).toEqual([]);
    });
  });
}
