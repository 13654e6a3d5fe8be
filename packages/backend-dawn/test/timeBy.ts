import { vi } from 'vitest';
import type { DawnBackend } from '../src/dawnBackend.js';

/**
 * Lets tuning see times that are given by the kernels' names in place of the clock's: what it
 * chooses does not hang on how busy the machine is.
 */
export function timeBy(backend: DawnBackend, durationUs: (kernel: string) => number): void {
  const profile = backend.profile.bind(backend);
  vi.spyOn(backend, 'profile').mockImplementation(async (work) =>
    (await profile(work)).map((timing) => ({
      ...timing,
      kernels: timing.kernels.map((kernel) => ({
        ...kernel,
        durationUs: durationUs(kernel.name),
      })),
    })),
  );
}
