import type { DawnBuffer } from '../src/bufferPool.js';
import { chooseAdapter, DawnBackend } from '../src/index.js';
import { kernels as builtinKernels } from '../src/kernels/index.js';
import type { Kernel, Stage } from '../src/kernels/kernel.js';

const SHARED = /var<workgroup>\s*(\w+)\s*:\s*(?:array<(.*),\s*(\d+)u?\s*>|(.*));/g;
const MAIN = /@workgroup_size\((\d+)\)[^{]*fn main\([^{]*\{/;
const VALUES: Readonly<Record<string, string>> = {
  f32: 'bitcast<f32>(soil)',
  vec4f: 'vec4f(bitcast<f32>(soil))',
  u32: 'soil',
  vec2u: 'vec2u(soil)',
};

function fill(place: string, type: string): string {
  if (type === 'atomic<u32>') return `atomicStore(&${place}, soil);`;
  if (!VALUES[type]) throw new Error(`workgroup memory of ${type}: say here how it is soiled.`);
  return `${place} = ${VALUES[type]};`;
}

const soiled = (stage: Stage): Stage => ({
  ...stage,
  wgsl: (subgroupSize) => {
    const text = stage.wgsl(subgroupSize);
    const [main, lanes] = MAIN.exec(text)!;
    const fills = [...text.matchAll(SHARED)].map(([, name, element, length, type]) =>
      element
        ? `for (var w = lane; w < ${length}u; w += ${lanes}u) { ${fill(`${name}[w]`, element)} }`
        : fill(name!, type!),
    );
    if (fills.length === 0) return text;
    // Not a constant: the compiler would refuse NaN.
    const begin = `let soil = 0xffffffffu - min(lane, 1u); ${fills.join(' ')} workgroupBarrier();`;
    return text.replace(main, () => `${main}\n  ${begin}`);
  },
});

/** Kernels whose workgroup memory holds NaN and large integers when they begin. */
const soiledKernels = (kernels: readonly Kernel[]): Kernel[] =>
  kernels.map((kernel) => ({
    ...kernel,
    plan: (...args) => kernel.plan(...args).map(soiled),
  }));

/** From now on each buffer that is handed out holds NaN; as integers: the largest. */
function soilBuffers(backend: DawnBackend): void {
  const alloc = backend.alloc.bind(backend);
  backend.alloc = (byteLength, dtype) => {
    const buffer = alloc(byteLength, dtype) as DawnBuffer;
    backend.write(buffer, 0, new Uint32Array(buffer.capacity / 4).fill(0xffffffff));
    return buffer;
  };
}

interface Soiled {
  /** Default: the built-in ones. */
  readonly kernels?: readonly Kernel[];
  /** Whether indices are searched, too. Default false: the device has no guards. */
  readonly checked?: boolean;
  /** Default true. Without, it is a GPU whose subgroup sizes vary and can't be asked for. */
  readonly subgroups?: boolean;
}

/** A device on which memory is never as a kernel would like it. */
export async function soiledDevice(options: Soiled = {}): Promise<DawnBackend> {
  const { kernels = builtinKernels, checked = false, subgroups = true } = options;
  const found = { ...(await chooseAdapter(undefined, checked)), checked };
  const { limits } = found.adapter;
  const features = subgroups ? ['subgroups'].filter((f) => found.adapter.features.has(f)) : [];
  const device = await found.adapter.requestDevice({
    requiredFeatures: features as GPUFeatureName[],
    // Newer than the types in use: a proposal that Dawn implements. The search binds one more.
    requiredLimits: {
      maxImmediateSize: 64,
      maxStorageBuffersPerShaderStage: 8 + Number(checked),
      ...(subgroups && {
        maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      }),
    } as Record<string, number>,
  });
  const backend = new DawnBackend(
    device,
    subgroups ? found : { ...found, subgroupSize: 0, software: false },
    soiledKernels(kernels),
  );
  soilBuffers(backend);
  return backend;
}
