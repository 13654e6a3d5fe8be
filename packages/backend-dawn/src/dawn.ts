import { join } from 'node:path';
import { AttuneError, Backends, definePlugin, PLUGIN_API_VERSION, type Plugin } from '@attune/core';
import { type OptionsInput, parseOptions, z } from '@attune/core/util';
import { type AdapterChoice, type AdapterKind, chooseAdapter, matrixFeatures } from './adapter.js';
import { TuningFile } from './autotune/tuningFile.js';
import { cacheFolder } from './cacheFolder.js';
import { DawnBackend } from './dawnBackend.js';
import type { Kernel } from './kernels/kernel.js';
import { matrixUnitFault } from './matrixProbe.js';
import { askedSize, sizeRefusal, subgroupSizeControl } from './subgroups.js';

const dawnShape = {
  /**
   * Which device. 'auto': a GPU, else an installed software Vulkan, else SwiftShader from npm.
   * Default: the environment variable ATTUNE_VULKAN, else 'auto'.
   */
  adapter: z.custom<AdapterKind | 'auto'>().optional().meta({ aka: 'device gpu backend' }),
  /** Kernels of your own; one for an op that has one already replaces it. Default none. */
  kernels: z
    .custom<readonly Kernel[]>(Array.isArray, 'expected an array of kernels')
    .default([])
    .meta({ aka: 'kernel' }),
  /**
   * true, for tests of `kernels`: the device guards against wrong kernels and commands as it does
   * for web pages, and kernels are searched for indices beyond their arrays. The first is named at
   * the next wait, KERNEL_OUT_OF_BOUNDS. Shaders compile and run slower.
   * false: neither. A kernel that reads or writes outside of what it binds, reads workgroup memory
   * that it has not written, or divides an integer by 0 computes anything or ends the process; a
   * command that WebGPU forbids is not refused.
   * Default: the guards without the search.
   */
  checked: z.boolean().optional().meta({ aka: 'bounds robustness' }),
  /**
   * The file with the kernels' measured choices (see `trainer.tune`), or false to neither read nor
   * write one. Default: tuning.json in the cache folder.
   */
  tuning: z
    .union([z.string().min(1), z.literal(false)], 'expected the path of a file, or false')
    .optional()
    .meta({ aka: 'tuningfile tune' }),
};
const dawnOptions = z.strictObject(dawnShape);

/** Options of {@link dawn}. */
export type DawnOptions = OptionsInput<typeof dawnShape>;

/**
 * Opens the device. Most people use the plugin, {@link dawn}.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, NO_ADAPTER, ADAPTER_KIND, NO_DEVICE
 */
export async function createDawnBackend(options: DawnOptions = {}): Promise<DawnBackend> {
  const { checked } = parseOptions(dawnOptions, options, { where: 'createDawnBackend' });
  const choose = async () => ({
    ...(await chooseAdapter(options.adapter, checked ?? true)),
    checked: checked ?? false,
  });
  const choice = await choose();
  if (!choice.matrixUnit) return open(choice, options);
  const fault = await matrixUnitFault((kernels) =>
    open({ ...choice, checked: false }, { tuning: false, kernels }),
  );
  const again = await choose(); // an adapter gives one device
  if (!fault) return open(again, options);
  const message = `the matrix unit of ${choice.description} is not used: ${fault}.`;
  process.emitWarning(message, {
    code: 'ATTUNE_MATRIX_UNIT',
    detail: 'Products take the kernels without it, which are slower. Fix: update the GPU driver.',
  });
  return open({ ...again, matrixUnit: null, reason: `${again.reason}; ${message}` }, options);
}

async function open(choice: AdapterChoice, options: DawnOptions): Promise<DawnBackend> {
  const { adapter } = choice;
  const { limits } = adapter;
  const wanted = new Set([
    ...['subgroups', subgroupSizeControl, 'timestamp-query'],
    ...(choice.matrixUnit ? matrixFeatures : []),
  ]);
  const device = await adapter
    .requestDevice({
      requiredFeatures: [...wanted].filter((f) => adapter.features.has(f)) as GPUFeatureName[],
      requiredLimits: {
        maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
        maxBufferSize: limits.maxBufferSize,
        maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
        maxImmediateSize: 64,
      } as Record<string, number>,
    })
    .catch((cause: Error) => {
      throw new AttuneError(
        'NO_DEVICE',
        `${choice.description} gives no device: ${cause.message}`,
        {
          remedy:
            'Update the GPU driver and the npm package "webgpu", or choose dawn({ adapter }).',
          cause,
        },
      );
    });
  const { tuning = join(cacheFolder(), 'tuning.json') } = options;
  const file = tuning === false ? null : new TuningFile(tuning);
  return new DawnBackend(device, await withFixedSize(device, choice), options.kernels, file);
}

/** The choice, without subgroups where the device refuses shaders that ask for their size. */
async function withFixedSize(device: GPUDevice, choice: AdapterChoice): Promise<AdapterChoice> {
  const size = askedSize(choice);
  const refusal = size === undefined ? null : await sizeRefusal(device, size);
  if (refusal === null) return choice;
  const reason = `${choice.reason}; without subgroups, for it refuses ${size} lanes: ${refusal}`;
  return { ...choice, subgroupSize: 0, reason };
}

/**
 * The plugin that computes on WebGPU: `createAttune({ plugins: [dawn()] })`.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function dawn(options: DawnOptions = {}): Plugin {
  parseOptions(dawnOptions, options, { where: 'dawn' });
  return definePlugin({
    name: 'backend-dawn',
    version: '0.1.0',
    apiVersion: PLUGIN_API_VERSION,
    register: (context) => {
      context.add(Backends, { name: 'dawn', create: () => createDawnBackend(options) });
    },
  });
}
