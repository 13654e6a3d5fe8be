import { tmpdir } from 'node:os';
import { AttuneError } from '@attune/core';
import type { MatrixUnit } from './kernels/kernel.js';
import { type Subgroups, subgroupsOf } from './subgroups.js';
import { hasSystemLoader, unpackSwiftShader, useDriver } from './swiftshader.js';

/** Which kind of device: a real GPU, Mesa's software Vulkan, or the one that comes with npm. */
export type AdapterKind = 'gpu' | 'lavapipe' | 'swiftshader';

/** The device that was chosen, and what kind it is. */
export interface AdapterChoice extends Subgroups {
  readonly kind: AdapterKind;
  readonly adapter: GPUAdapter;
  /** Keeps Dawn's instance alive as long as the adapter. */
  readonly gpu: GPU;
  /** e.g. "llvmpipe (LLVM 19.1.7, 256 bits)". */
  readonly description: string;
  readonly software: boolean;
  /** Devices guard against commands and kernels that are wrong, see `checked` of `dawn`. */
  readonly guarded: boolean;
  /** Kernels are searched for indices beyond their buffers, see the same. */
  readonly checked: boolean;
  /**
   * Makes products of float16 with sums in float32, if the device has such a unit. Kernels take it
   * where subgroups have one size, see `subgroupSize`.
   */
  readonly matrixUnit: MatrixUnit | null;
  /** One line: why this one. */
  readonly reason: string;
}

const choices: readonly string[] = ['auto', 'gpu', 'lavapipe', 'swiftshader'];

function wantedKind(option: string | undefined): AdapterKind | 'auto' {
  const wanted = option ?? (process.env.ATTUNE_VULKAN || 'auto');
  if (!choices.includes(wanted))
    throw new AttuneError(
      'ADAPTER_KIND',
      `${option === undefined ? 'ATTUNE_VULKAN' : 'adapter'} is "${wanted}".`,
      { remedy: `Use one of: ${choices.join(', ')}.` },
    );
  return wanted as AdapterKind | 'auto';
}

function kindOf(adapter: GPUAdapter): AdapterKind {
  const { description, device } = adapter.info;
  const name = `${description} ${device}`;
  if (/swiftshader/i.test(name)) return 'swiftshader';
  if (/llvmpipe|lavapipe/i.test(name) || adapter.info.isFallbackAdapter) return 'lavapipe';
  return 'gpu';
}

function describe(adapter: GPUAdapter, gpu: GPU, guarded: boolean): Omit<AdapterChoice, 'reason'> {
  const info = adapter.info as GPUAdapterInfo & {
    subgroupMatrixConfigs?: Iterable<SubgroupMatrixConfig>;
  };
  const kind = kindOf(adapter);
  return {
    kind,
    adapter,
    gpu,
    description: info.description || info.device || info.vendor,
    software: kind !== 'gpu',
    guarded,
    checked: false,
    ...subgroupsOf(adapter),
    matrixUnit: matrixUnitOf(adapter, info.subgroupMatrixConfigs ?? []),
  };
}

/** As Dawn lists it; newer than the types in use. */
interface SubgroupMatrixConfig extends MatrixUnit {
  readonly componentType: string;
  readonly resultComponentType: string;
}

/** The features that the matrix unit needs. */
export const matrixFeatures = ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix'];

function matrixUnitOf(
  adapter: GPUAdapter,
  configs: Iterable<SubgroupMatrixConfig>,
): MatrixUnit | null {
  if (!matrixFeatures.every((feature) => adapter.features.has(feature))) return null;
  for (const { componentType, resultComponentType, M, N, K } of configs)
    if (componentType === 'f16' && resultComponentType === 'f32') return { M, N, K };
  return null;
}

/**
 * A real GPU if there is one, else an installed software Vulkan that Dawn accepts, else the
 * SwiftShader of `@sparticuz/chromium`.
 *
 * @param want a kind, or 'auto'. Default: ATTUNE_VULKAN from the environment, else 'auto'.
 * @param guarded false: its devices neither validate commands nor guard kernels, see `dawn`
 * @throws ADAPTER_KIND; NO_ADAPTER with everything that was tried and what to install
 */
export async function chooseAdapter(
  want: AdapterKind | 'auto' | undefined,
  guarded = true,
): Promise<AdapterChoice> {
  const kind = wantedKind(want);
  process.env.XDG_RUNTIME_DIR ??= tmpdir(); // lavapipe warns without it
  const { dawnInstance } = await import('./dawnInstance.js'); // it may not be installed
  const request = async () => {
    const gpu = dawnInstance(guarded);
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
    return adapter && describe(adapter, gpu, guarded);
  };
  const tried: string[] = [];

  if (kind !== 'swiftshader') {
    const choice = hasSystemLoader() ? await request() : null;
    if (choice) {
      if (kind === 'auto' || kind === choice.kind) {
        const reason =
          choice.kind === 'gpu'
            ? 'a GPU with Vulkan, Metal or Direct3D'
            : 'no GPU; the software Vulkan that is installed';
        return { ...choice, reason };
      }
      tried.push(`system Vulkan: ${choice.description} is ${choice.kind}, not ${kind}`);
    } else
      tried.push(
        'system Vulkan: no loader, no driver, or a driver that Dawn refuses (Mesa before 23)',
      );
  }
  if (kind === 'auto' || kind === 'swiftshader') {
    try {
      useDriver(unpackSwiftShader());
      const choice = await request();
      const reason =
        kind === 'auto' ? 'no GPU and no usable Vulkan driver; the one from npm' : 'asked for';
      if (choice) return { ...choice, reason };
      tried.push('SwiftShader from npm: unpacked, but no adapter came of it');
    } catch (cause) {
      tried.push(`SwiftShader from npm: ${(cause as Error).message}`);
    }
  }
  throw new AttuneError(
    'NO_ADAPTER',
    `no device for WebGPU (wanted: ${kind}).\n  - ${tried.join('\n  - ')}`,
    {
      remedy:
        'Install your GPU driver with Vulkan; or a software one: as root on Debian 12 `apt-get install -t bookworm-backports mesa-vulkan-drivers`; or without root `npm install @sparticuz/chromium@143.0.4` (linux-x64).',
      details: { tried },
    },
  );
}
