import { numel } from '@attune/core';
import { type OpCall, ReferenceBackend } from '@attune/core/backend';
import { opTable, type TensorSpec } from '@attune/core/tensor';
import {
  type CaseResult,
  compareCase,
  conformanceSuite,
  type OpCase,
  opCases,
} from '@attune/core/testing';
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

/**
 * A backend whose every result is NaN (-1 for integers): a comparison that it passes compares
 * nothing.
 */
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

describe('conformanceSuite', () => {
  const some = opCases.filter((c) => /^(add|matmul)\/.*33/.test(c.name)).slice(0, 6);

  it('runs the chosen cases, reports each and passes a right backend', async () => {
    const seen: string[] = [];
    const report = await conformanceSuite(async () => new ReferenceBackend(), {
      cases: some,
      filter: (c) => c.op.name === 'add',
      onResult: (r) => seen.push(r.name),
    });
    expect(seen).toEqual(some.filter((c) => c.op.name === 'add').map((c) => c.name));
    expect(report.failures).toEqual([]);
    report.assert();
  });

  it('sees an element that is one part in a million off, and says where', async () => {
    class Slightly extends ReferenceBackend {
      override dispatch(call: OpCall): void {
        super.dispatch(call);
        const out = call.outputs[0]!;
        const data = this.peek(out);
        data[5]! *= 1 + 1e-6;
        this.poke(out, data);
      }
    }
    const report = await conformanceSuite(async () => new Slightly(), {
      cases: opCases.filter((c) => c.name === 'add/4x33-33'),
    });
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]!.message).toMatch(/^add\/4x33-33: output 0 \[4, 33\] at \[0, 5\]:/);
    expect(report.failures[0]!.kernel).toBe(true);
    expect(() => report.assert()).toThrow('CONFORMANCE: 1 of 1 cases differ');
  });

  it('an error of the backend fails its case, and the suite goes on', async () => {
    class Broken extends ReferenceBackend {
      override dispatch(call: OpCall): void {
        if (call.op === 'add') throw new Error('the shader does not compile');
        super.dispatch(call);
      }
    }
    const report = await conformanceSuite(async () => new Broken(), { cases: some });
    expect(report.results).toHaveLength(some.length);
    expect(report.failures.map((f) => f.message)).toEqual(
      some.filter((c) => c.op.name === 'add').map((c) => `${c.name}: the shader does not compile`),
    );
  });

  it('a backend without a fused kernel runs the decomposition', async () => {
    const fused = opCases.find((c) => c.op.name === 'attention')!;
    const result = await compareCase(new ReferenceBackend(), fused);
    expect(result).toMatchObject({ ok: true, kernel: false });
  });
});
