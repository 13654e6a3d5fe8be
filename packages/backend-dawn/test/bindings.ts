import { chooseAdapter, DawnBackend } from '../src/index.js';
import type { Kernel } from '../src/kernels/kernel.js';

/** The largest binding that a backend made. */
export interface Watched {
  readonly backend: DawnBackend;
  readonly largest: () => number;
}

/**
 * The device of these tests, as one whose bindings end at `maxBindingBytes`. WebGPU promises 128
 * MiB, so no device can be asked for less.
 *
 * @param software false: the kernels of a GPU without subgroups
 */
export async function withBindings(
  maxBindingBytes: number,
  software = true,
  kernels: readonly Kernel[] = [],
): Promise<Watched> {
  const found = await chooseAdapter(undefined);
  const choice = software ? found : { ...found, subgroupSize: 0, software };
  // Newer than the types in use: a proposal that Dawn implements.
  const requiredLimits = { maxImmediateSize: 64 } as Record<string, number>;
  const features = software && found.adapter.features.has('subgroups' as GPUFeatureName);
  const device = await choice.adapter.requestDevice({
    requiredFeatures: features ? (['subgroups'] as unknown as GPUFeatureName[]) : [],
    requiredLimits,
  });
  let largest = 0;
  const create = device.createBindGroup.bind(device);
  device.createBindGroup = (descriptor) => {
    for (const { resource } of descriptor.entries)
      largest = Math.max(largest, (resource as GPUBufferBinding).size ?? 0);
    return create(descriptor);
  };
  const backend = new DawnBackend(device, choice, kernels, null, maxBindingBytes);
  return { backend, largest: () => largest };
}
