import type { BackendInfo, BackendLimits } from '@attune/core/backend';
import type { AdapterChoice } from './adapter.js';
import type { DeviceFacts } from './kernels/kernel.js';
import { askedSize, subgroupSizeControl } from './subgroups.js';

export const infoOf = (device: GPUDevice, choice: AdapterChoice): BackendInfo => ({
  name: 'dawn',
  device: choice.description,
  vendor: choice.adapter.info.vendor,
  software: choice.software,
  features: [...device.features].sort(),
});

/**
 * Bindings are whole 16 bytes, and some devices stop at 2^31 - 4.
 *
 * @param most bytes that a kernel shall bind, if that is less than the device can
 */
export function limitsOf({ limits }: GPUDevice, most = Infinity): Required<BackendLimits> {
  const whole = (bytes: number) => Math.floor(bytes / 16) * 16;
  const { maxBufferSize, maxStorageBufferBindingSize } = limits;
  return {
    maxBufferBytes: whole(maxBufferSize),
    maxBindingBytes: whole(Math.min(most, maxStorageBufferBindingSize, maxBufferSize)),
  };
}

/** The device and its driver: what a measurement holds for. */
export const adapterName = ({ adapter: { info }, description }: AdapterChoice): string =>
  [info.vendor, info.architecture, info.device, description].filter(Boolean).join(' | ');

/** What kernels may ask. */
export function factsOf(device: GPUDevice, choice: AdapterChoice): DeviceFacts {
  const needed = ['subgroups', ...(askedSize(choice) ? [subgroupSizeControl] : [])];
  const has = needed.every((feature) => device.features.has(feature as GPUFeatureName));
  const subgroupSize = has ? choice.subgroupSize : 0;
  return {
    subgroupSize,
    software: choice.software,
    // The notes of a check are bound too.
    maxBindings: device.limits.maxStorageBuffersPerShaderStage - Number(choice.checked),
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
    matrixUnit: subgroupSize > 0 ? choice.matrixUnit : null,
  };
}
