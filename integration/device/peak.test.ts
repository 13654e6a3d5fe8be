import { createDawnBackend, type DawnBackend } from '@attune/backend-dawn';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { matrixProducts, probePeak, rate } from '../../bench/src/harness/peak.js';
import {
  emulated,
  emulatedLanes,
  emulatedUnit,
} from '../../packages/backend-dawn/test/emulatedUnit.js';

let backend: DawnBackend;
beforeAll(async () => {
  backend = await createDawnBackend();
});
afterAll(() => backend[Symbol.asyncDispose]());

test('the peak of float32 is measured, that of a matrix unit where there is one', async () => {
  const { float32, matrixUnit } = await probePeak(backend);
  expect(float32).toBeGreaterThan(0.1);
  expect(float32).toBeLessThan(1e6);
  if (backend.choice.matrixUnit) expect(matrixUnit).toBeGreaterThan(float32);
  else expect(matrixUnit).toBeNull();
});

/** Devices here have no matrix unit: stand-ins compute in its place, at a fraction of the turns. */
test('the shader of the matrix unit runs, with stand-ins for the unit', async () => {
  const wgsl = matrixProducts(emulatedUnit, emulatedLanes).replace('turn < 4096u', 'turn < 2u');
  const rounding = 'fn packFloat16(v: f32) -> u32 { return pack2x16float(vec2f(v, 0.0)); }';
  expect(await rate(backend, `${emulated(wgsl)}\n${rounding}`, 1)).toBeGreaterThan(0);
});

test('where subgroups have several sizes, it asks for one in workgroups of the largest', () => {
  const unit = { M: 16, N: 16, K: 16 };
  const main = (wgsl: string) => wgsl.match(/^(enable subgroup.*|@compute.*)$/gm);
  expect(main(matrixProducts(unit, 32, [32, 64]))).toEqual([
    ...['enable subgroups;', 'enable subgroup_size_control;'],
    '@compute @workgroup_size(64) @subgroup_size(32)',
  ]);
  expect(main(matrixProducts(unit, 32, [32, 32]))).toEqual([
    ...['enable subgroups;', '@compute @workgroup_size(32)'],
  ]);
});

test('a shader that the device refuses is an error', async () => {
  await expect(rate(backend, 'fn main() { return 1; }', 1)).rejects.toThrow(/main/);
});
