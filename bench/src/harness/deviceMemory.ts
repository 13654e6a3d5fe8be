import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/**
 * Bytes of memory that the GPU has free, or all of it where only that is told. WebGPU does not say:
 * NVIDIA's tool does, and Linux for AMD's cards.
 *
 * @returns null where nothing tells
 */
export function deviceMemory(): number | null {
  const { stdout } = spawnSync(
    'nvidia-smi',
    ['--query-gpu=memory.free', '--format=csv,noheader,nounits'],
    { encoding: 'utf8' },
  );
  const mebibytes = Number.parseInt(stdout ?? '', 10);
  if (mebibytes > 0) return mebibytes * 2 ** 20;
  try {
    const sizes = readdirSync('/sys/class/drm')
      .filter((name) => /^card\d+$/.test(name))
      .flatMap((name) => {
        try {
          return [
            Number(readFileSync(`/sys/class/drm/${name}/device/mem_info_vram_total`, 'utf8')),
          ];
        } catch {
          return []; // another maker's
        }
      });
    return sizes.length > 0 ? Math.max(...sizes) : null;
  } catch {
    return null;
  }
}
