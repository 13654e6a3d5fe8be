import { numel, opTable, ReferenceBackend, type TensorSpec } from '@attune/core';
import { type CaseResult, compareCase, type OpCase, opCases } from '@attune/core/testing';
import { describe, expect, it } from 'vitest';

describe('opCases', () => {
  it('has a case for every op of the table', () => {
    const covered = new Set(opCases.map((c) => c.op.name));
    expect(opTable.map((op) => op.name).filter((name) => !covered.has(name))).toEqual([]);
  });

  it('names each case once', () => {
    const names = opCases.map((c) => c.name);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  it('compares something in each case that has outputs', async () => {
    const passed: string[] = [];
    for (const c of opCases) {
      if (outputsOf(c).every((t) => numel(t.shape) === 0)) continue;
      if ((await compareCase(new NanBackend(), c)).ok) passed.push(c.name);
    }
    expect(passed).toEqual([]);
  });
});

function outputsOf(c: OpCase): readonly TensorSpec[] {
  if (c.targets.length > 0) return c.targets;
  // The ops whose inputs are derived have outputs shaped like their first input.
  return c.derive ? c.inputs.slice(0, 1) : c.op.infer(c.inputs, c.attrs);
}

/** A backend whose every result is NaN (-1 for integers): a comparison that it passes compares nothing. */
class NanBackend extends ReferenceBackend {
  override async read(_: unknown, __: number, byteLength: number): Promise<ArrayBuffer> {
    return new Uint8Array(byteLength).fill(0xff).buffer as ArrayBuffer;
  }
}

describe.each(opTable.map((op) => op.name))('%s on the reference backend', (name) => {
  it('agrees with itself and leaves nothing behind', async () => {
    const backend = new ReferenceBackend();
    const results: CaseResult[] = [];
    for (const c of opCases.filter((c) => c.op.name === name))
      results.push(await compareCase(backend, c));
    expect(results.filter((r) => !r.ok).map((r) => r.message)).toEqual([]);
    expect(backend.stats.liveBytes).toBe(0);
  });
});
