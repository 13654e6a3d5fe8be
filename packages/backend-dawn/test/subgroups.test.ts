import { compareCase, opCases } from '@attune/core/testing';
import { describe, expect, type TestContext, test } from 'vitest';
import { factsOf } from '../src/deviceFacts.js';
import { type AdapterChoice, chooseAdapter, createDawnBackend, DawnBackend } from '../src/index.js';
import { shader } from '../src/kernels/shader.js';
import { matrixUnitFault } from '../src/matrixProbe.js';
import { askedSize, sizeRefusal, subgroupsOf } from '../src/subgroups.js';
import { KernelPaths } from './kernelPaths.js';

const control = ['subgroups', 'subgroup-size-control'];
const madeUp = (features: readonly string[], least?: number, most?: number) =>
  ({
    features: new Set(features),
    info: { subgroupMinSize: least, subgroupMaxSize: most },
  }) as unknown as GPUAdapter;

describe('the size that kernels are made for', () => {
  test.each([
    ['NVIDIA', madeUp(control, 32, 32), 32, undefined],
    ['AMD', madeUp(control, 32, 64), 32, 32],
    ['AMD with 64 only', madeUp(control, 64, 64), 64, undefined],
    ['Intel', madeUp(control, 8, 32), 32, 32],
    ['Intel with 8 and 16', madeUp(control, 8, 16), 16, 16],
    ['Qualcomm', madeUp(control, 64, 128), 64, 64],
    ['sizes that vary for good', madeUp(['subgroups'], 8, 32), 0, undefined],
    ['one size that cannot be asked for', madeUp(['subgroups'], 8, 8), 8, undefined],
    ['no subgroups', madeUp([], 32, 64), 0, undefined],
    ['sizes that are not told', madeUp(control), 0, undefined],
  ] as const)('%s', (_, adapter, size, asked) => {
    const subgroups = subgroupsOf(adapter);
    expect(subgroups.subgroupSize).toBe(size);
    expect(askedSize(subgroups)).toBe(asked);
  });

  const facts = (adapter: GPUAdapter, features: readonly string[]) => {
    const unit = { M: 16, N: 16, K: 16 };
    const choice = { adapter, ...subgroupsOf(adapter), matrixUnit: unit, checked: false };
    const device = { features: new Set(features), limits: {} } as unknown as GPUDevice;
    const { subgroupSize, matrixUnit } = factsOf(device, choice as unknown as AdapterChoice);
    return { subgroupSize, unit: matrixUnit === unit };
  };

  test('is a fact where the device was given the features, and the matrix unit with it', () => {
    const amd = madeUp(control, 32, 64);
    expect(facts(amd, control)).toEqual({ subgroupSize: 32, unit: true });
    expect(facts(amd, ['subgroups'])).toEqual({ subgroupSize: 0, unit: false });
    expect(facts(amd, [])).toEqual({ subgroupSize: 0, unit: false });
    const nvidia = madeUp(control, 32, 32);
    expect(facts(nvidia, ['subgroups'])).toEqual({ subgroupSize: 32, unit: true });
    const varying = madeUp(['subgroups'], 8, 32);
    expect(facts(varying, ['subgroups'])).toEqual({ subgroupSize: 0, unit: false });
  });
});

describe('a shader asks for the size', () => {
  const written = (subgroups: boolean, subgroupSize?: number) =>
    shader({
      ...{ reads: [], writes: [], params: {}, declarations: '', body: '' },
      ...{ workgroup: 64, subgroups, subgroupSize },
    });

  test('where it uses subgroups and the device has several', () => {
    const asking = written(true, 32);
    expect(asking).toMatch(/^enable subgroups;\nenable subgroup_size_control;\n/);
    expect(asking).toContain('@compute @workgroup_size(64) @subgroup_size(32)\nfn main(');
  });

  test('and nowhere else', () => {
    expect(written(true)).toContain('@compute @workgroup_size(64)\nfn main(');
    expect(written(true)).not.toContain('subgroup_size');
    expect(written(false, 32)).toBe(written(false));
  });
});

/** The adapter of these tests as one with several sizes; skips where it cannot be asked for one. */
async function asked(context: TestContext, changes: Partial<AdapterChoice> = {}) {
  const found = await chooseAdapter(undefined);
  const { adapter, subgroupSize } = found;
  if (!control.every((feature) => adapter.features.has(feature)) || subgroupSize === 0)
    context.skip(`${found.description} has no ${control.join(' or no ')}`);
  const device = await adapter.requestDevice({
    requiredFeatures: control as GPUFeatureName[],
    // Newer than the types in use: a proposal that Dawn implements.
    requiredLimits: { maxImmediateSize: 64 } as Record<string, number>,
  });
  const modules: string[] = [];
  const create = device.createShaderModule.bind(device);
  device.createShaderModule = (descriptor) => {
    modules.push(descriptor.code);
    return create(descriptor);
  };
  const subgroupSizes = [subgroupSize, 2 * subgroupSize] as const;
  return { device, modules, choice: { ...found, subgroupSizes, ...changes } };
}

describe('on a device', () => {
  test('the feature is requested where it is offered', async () => {
    await using backend = await createDawnBackend({ tuning: false });
    const { device, choice } = backend;
    for (const feature of control as GPUFeatureName[])
      expect(device.features.has(feature)).toBe(choice.adapter.features.has(feature));
  });

  const ops = ['sum', 'softmax', 'rmsNorm', 'crossEntropy', 'matmul', 'attention', 'attentionGrad'];

  test.for([
    ["a software device's kernels", { software: true, checked: false }],
    ["a GPU's kernels", { software: false, checked: false }],
    ['checked kernels', { software: true, checked: true }],
  ] as const)('%s that ask for the size equal the reference', async ([, changes], context) => {
    const { device, modules, choice } = await asked(context, changes);
    await using backend = new DawnBackend(device, choice);
    const paths = new KernelPaths();
    const failures: string[] = [];
    for (const name of changes.checked ? ops.slice(0, 2) : ops) {
      const cases = opCases.filter(({ op }) => op.name === name);
      expect(cases.length).toBeGreaterThan(0);
      for (const testCase of paths.choose(cases, factsOf(device, choice)).slice(0, 4)) {
        const result = await compareCase(backend, testCase);
        if (!result.ok) failures.push(result.message);
      }
    }
    expect(failures).toEqual([]);
    const using = modules.filter((code) => code.includes('enable subgroups;'));
    expect(using.length).toBeGreaterThan(1);
    for (const code of modules)
      expect(code.includes(`@subgroup_size(${choice.subgroupSize})`)).toBe(using.includes(code));
    for (const code of using) expect(code.includes('checked_main')).toBe(changes.checked);
  });

  test('a size that the device does not have is refused by name', async (context) => {
    const { device, choice } = await asked(context);
    expect(await sizeRefusal(device, choice.subgroupSize)).toBeNull();
    expect(await sizeRefusal(device, 4 * choice.subgroupSize)).toMatch(/not in the allowed range/);
    device.destroy();
  });

  test('a matrix unit whose subgroups vary for good is refused by name', async (context) => {
    const { device, choice } = await asked(context, {
      ...{ subgroupSizes: [8, 32], subgroupSize: 0, matrixUnit: { M: 16, N: 16, K: 16 } },
    });
    const fault = await matrixUnitFault(async () => new DawnBackend(device, choice));
    expect(fault).toMatch(/^its subgroups have 8 to 32 lanes, and the driver lets no shader ask/);
  });
});
