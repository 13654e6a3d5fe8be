import { compile } from './compile.js';

/** Newer than the types in use. */
type SubgroupInfo = GPUAdapterInfo & { subgroupMinSize?: number; subgroupMaxSize?: number };

/** Lanes of a device's subgroups. */
export interface Subgroups {
  /** The least and the most that a subgroup has; both 0 where there are no subgroups. */
  readonly subgroupSizes: readonly [least: number, most: number];
  /**
   * The number that kernels are made for; 0 where there are no subgroups, and where their sizes
   * vary and shaders cannot ask for one.
   */
  readonly subgroupSize: number;
}

/** The feature with which a shader asks for a size: `@subgroup_size(32)`. */
export const subgroupSizeControl = 'subgroup-size-control';

/** Sizes are powers of two; of several, kernels take the one that is nearest to this. */
const PREFERRED = 32;

/**
 * The only size there is, or, where shaders can ask for one of several, 32 if the device has it,
 * else the size nearest to 32: 32 of AMD's 32 and 64, and of Intel's 8 to 32. So kernels run with
 * the sizes that they were tried with on other devices.
 */
export function subgroupsOf({ features, info }: Pick<GPUAdapter, 'features' | 'info'>): Subgroups {
  if (!features.has('subgroups')) return { subgroupSizes: [0, 0], subgroupSize: 0 };
  const { subgroupMinSize: least = 0, subgroupMaxSize: most = 0 } = info as SubgroupInfo;
  const canAsk = features.has(subgroupSizeControl) && least > 0;
  return {
    subgroupSizes: [least, most],
    subgroupSize: least === most ? least : canAsk ? Math.min(Math.max(PREFERRED, least), most) : 0,
  };
}

/** The size that shaders with subgroups have to ask for; undefined where there is no other. */
export const askedSize = ({
  subgroupSizes: [least, most],
  subgroupSize,
}: Subgroups): number | undefined =>
  subgroupSize > 0 && least !== most ? subgroupSize : undefined;

/** Why the device refuses shaders that ask for a size; null if it takes them. */
export async function sizeRefusal(device: GPUDevice, size: number): Promise<string | null> {
  device.pushErrorScope('validation');
  const code = `enable subgroups;
enable subgroup_size_control;
@compute @workgroup_size(${size}) @subgroup_size(${size}) fn main() {}`;
  const made = compile(device, { code, label: 'subgroup size', layout: 'auto' }).then(
    () => null,
    (error: Error) => error.message,
  );
  const invalid = await device.popErrorScope();
  return invalid?.message ?? (await made);
}
