import { Engine } from '@attune/core';
import { compareCase, type OpCase, opCases } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { factsOf } from '../src/deviceFacts.js';
import { type DawnBackend, defineKernel, grid1d, stage } from '../src/index.js';
import { kernels } from '../src/kernels/index.js';
import type { Stage } from '../src/kernels/kernel.js';
import { KernelPaths, stagesOf } from './kernelPaths.js';
import { soiledDevice } from './soiledDevice.js';

// `checked: false` takes a device's guards away: it clamps no index and clears neither buffers nor
// workgroup memory. So no built-in kernel may lean on that: each runs here where indices are
// searched and memory is soiled. Not seen: kernels on a matrix unit, and parts of split calls.

/** Parts of split calls have no cases of their own. */
const own = kernels.map(({ op }) => op).filter((op) => opCases.some((each) => each.op.name === op));

/** One for both devices: what the first has shown needs no second look. */
const paths = new KernelPaths();

describe.each([
  ['with subgroups', true],
  ['without', false],
])('%s', (_, subgroups) => {
  let backend: DawnBackend;
  beforeAll(async () => {
    backend = await soiledDevice({ subgroups, checked: true });
  });
  afterAll(() => backend[Symbol.asyncDispose]());

  const failures = async (cases: readonly OpCase[]): Promise<string[]> => {
    const messages: string[] = [];
    for (const testCase of paths.choose(cases, factsOf(backend.device, backend.choice))) {
      const result = await compareCase(backend, testCase);
      if (!result.ok) messages.push(result.message);
    }
    return messages;
  };

  test.each(own)('%s leans on no guard', async (op) => {
    const cases = opCases.filter((each) => each.op.name === op);
    expect(await failures(cases)).toEqual([]);
  });
});

/** Numbers that travel with a dispatch and by which its shader divides. */
function divisorsOf({ wgsl, params }: Stage): (readonly [name: string, value: number])[] {
  const text = wgsl();
  const fields = [...(/struct Params \{(.*?)\}/s.exec(text)?.[1] ?? '').matchAll(/(\w+):/g)];
  const names = new Set([...text.matchAll(/[/%]=? *\(*p\.(\w+)/g)].map(([, name]) => name));
  return fields.flatMap(([, name], at) => {
    const [type, value] = params[at] ?? ['f32', 1]; // Params without a number has one all the same
    return type === 'u32' && names.has(name) ? [[name!, value] as const] : [];
  });
}

test('no kernel divides an integer by a number of its dispatch that is 0', () => {
  const gpu = {
    ...{ subgroupSize: 0, software: false, maxBindings: 8, maxWorkgroupBytes: 16_384 },
    ...{ maxInvocations: 256, matrixUnit: null },
  };
  let divisors = 0;
  for (const facts of [
    gpu,
    { ...gpu, subgroupSize: 8 },
    { ...gpu, subgroupSize: 8, software: true },
  ])
    for (const testCase of opCases) {
      const kernel = kernels.find(({ op }) => op === testCase.op.name);
      for (const each of stagesOf(testCase, facts, kernel) ?? [])
        for (const [name, value] of divisorsOf(each)) {
          divisors++;
          expect(value, `${testCase.name}: ${each.key}, p.${name}`).toBeGreaterThan(0);
        }
    }
  expect(divisors).toBeGreaterThan(1000);
});

describe('a kernel is found that leans on', () => {
  const sine = (declarations: string, value: string) =>
    defineKernel({
      op: 'sin',
      plan: ({ inputs: [x], outputs: [out] }, _facts, scratch) => [
        stage({
          key: value,
          reads: { x: x! },
          writes: { out: out!, lent: scratch(4, 'float32') },
          workgroup: 4,
          declarations,
          body: `  out[lane] = x(lane) + ${value} + select(0.0, 1.0, lent[lane] > 1.0);`,
          grid: grid1d(4, 4),
        }),
      ],
    });

  test.each([
    ['clear workgroup memory', sine('var<workgroup> sums: array<f32, 4>;', 'sums[lane]')],
    ['a clear number there', sine('var<workgroup> count: u32;', 'f32(count)')],
    ['a clear buffer', sine('', 'lent[lane]')],
  ])('%s', async (_, kernel) => {
    await using backend = await soiledDevice({ kernels: [kernel] });
    const y = new Engine(backend).tensor([1, 2, 3, 4]).sin();
    expect((await y.data())[0]).not.toBe(1);
  });
});
