import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';
import { createDawnBackend, defineKernel } from '../src/index.js';
import { attentionKernel } from '../src/kernels/attention/forward.js';
import { attentionGradKernel } from '../src/kernels/attention/gradient.js';
import type { DeviceFacts, Kernel } from '../src/kernels/kernel.js';
import { emulatedFacts, emulatedStage, type Fault } from './emulatedUnit.js';

/** What rounding to float16 makes of sums of numbers around 1; the reference rounds nothing. */
const tolerance = { abs: 8e-3, rel: 8e-3 };

const inHalves = (testCase: OpCase): OpCase => ({
  ...testCase,
  attrs: { ...testCase.attrs, compute: 'float16' },
  tolerance,
});

/** The kernel on the emulated unit, and how many of its stages were there. */
function onUnit(kernel: Kernel, maxWorkgroupBytes: number, fault: Fault) {
  let stages = 0;
  const emulating = defineKernel({
    op: kernel.op,
    plan: (call, facts, scratch) =>
      kernel
        .plan(call, { ...emulatedFacts(facts), maxWorkgroupBytes }, scratch, 'matrix')
        .map((stage) => {
          if (!stage.key.includes(':matrix')) return stage;
          stages++;
          return emulatedStage(stage, fault);
        }),
  });
  return { emulating, count: () => stages };
}

const names = [
  'T17-D32-H4-gqa1',
  'T17-D64-H4-gqa2',
  'T64-D16-H4-gqa4-B1',
  'T70-D32-H2-gqa2-packed',
  'T17-D8-H4-gqa1-full-left-padding',
  'T17-D16-H4-gqa1-B3-right-padding',
  'T70-D8-H2-gqa1-window33',
  'T70-D8-H2-gqa1-window9-softcap2-packed',
  'T17-D16-H4-gqa2-softcap0.5',
  'T17-D32-H2-gqa1-window20-offset50-spare61',
  'T70-D8-H2-gqa2-B3-window5-offset2-placed',
  'T9-D16-H4-gqa2-offset2-shared',
  'T9-D12-H3-gqa1',
];

describe.each([attentionKernel, attentionGradKernel])('$op on the emulated unit', (kernel) => {
  const cases = opCases.filter(({ op }) => op.name === kernel.op);
  const one = (name: string) => {
    const found = cases.find((c) => c.name === `${kernel.op}/${name}`);
    if (!found) throw new Error(`no case ${name}`);
    return found;
  };

  const results = async (few: readonly string[], bytes: number, fault: Fault = 'none') => {
    const { emulating, count } = onUnit(kernel, bytes, fault);
    const backend = await createDawnBackend({ tuning: false, kernels: [emulating] });
    const failures: string[] = [];
    for (const name of few) {
      const result = await compareCase(backend, inHalves(one(name)));
      if (!result.ok) failures.push(result.message);
    }
    await backend[Symbol.asyncDispose]();
    expect(count()).toBe(few.length * (kernel === attentionKernel ? 1 : 2));
    return failures;
  };

  test('equals the reference', async () => {
    expect(await results(names, 11_000)).toEqual([]);
  });

  test('equals it in little memory, where several lanes share a row', async () => {
    expect(await results(names.slice(-2), 6000)).toEqual([]);
  });

  test('does not, where the unit computes wrongly', async () => {
    for (const fault of ['columns as rows', 'sum is lost'] as const)
      expect(await results(names.slice(-1), 11_000, fault)).toHaveLength(1);
  });

  test('is there only for calls that allow it, on devices that have it', () => {
    const gpu = emulatedFacts({
      ...{ software: false, maxBindings: 10, maxInvocations: 256, maxWorkgroupBytes: 0 },
      ...{ subgroupSize: 0, matrixUnit: null },
    });
    const { inputs, op, attrs } = inHalves(one('T17-D32-H4-gqa1'));
    const variants = (compute: string, facts: DeviceFacts) =>
      kernel.variants!({ op: op.name, inputs, outputs: [], attrs: { ...attrs, compute } }, facts);
    expect(variants('float16', gpu)!.names).toEqual(['matrix', 'lanes']);
    expect(variants('float32', gpu)).toBeUndefined();
    expect(variants('float16', { ...gpu, matrixUnit: null })).toBeUndefined();
  });
});
