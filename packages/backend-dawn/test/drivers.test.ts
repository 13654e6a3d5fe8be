import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bundleScript } from '../../core/test/bundleScript.js';

// Row 125: one seed gives one run on a device, and nearly the same run on another. A process has
// one driver, so each gets a process of its own.

interface Outcome {
  readonly device: string;
  readonly losses: readonly number[];
  readonly weights: string;
}

let folder: string;
let script: string;
beforeAll(async () => {
  // Below the package, so that the script finds Dawn's bindings.
  folder = await mkdtemp(fileURLToPath(new URL('../node_modules/.drivers-', import.meta.url)));
  script = await bundleScript(new URL('./driverRun.ts', import.meta.url), folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Two runs of the same seed; why not, where the driver is not there. */
async function runOn(driver: string): Promise<readonly Outcome[] | string> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [script], {
      env: { ...process.env, ATTUNE_VULKAN: driver },
    });
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as Outcome[];
  } catch (error) {
    const { stderr = '' } = error as { stderr?: string };
    if (/NO_ADAPTER/.test(stderr)) return `${driver} is not installed`;
    throw error;
  }
}

test('row 125: one seed, one driver: the same bits; lavapipe and SwiftShader: losses within 1e-4', async (context) => {
  const results = await Promise.all(['lavapipe', 'swiftshader'].map(runOn));
  const runs = results.map((outcomes) => {
    if (typeof outcomes === 'string') return context.skip(outcomes);
    const [first, second] = outcomes as [Outcome, Outcome];
    expect(second).toEqual(first);
    return first;
  });
  const [lavapipe, swiftshader] = runs as [Outcome, Outcome];
  expect(lavapipe.device).toMatch(/llvmpipe/i);
  expect(swiftshader.device).toMatch(/swiftshader/i);
  expect(lavapipe.losses).toHaveLength(20);
  expect(lavapipe.losses.at(-1)).toBeLessThan(0.9 * lavapipe.losses[0]!);
  for (const [i, loss] of lavapipe.losses.entries())
    expect(Math.abs(swiftshader.losses[i]! - loss), `update ${i + 1}`).toBeLessThanOrEqual(1e-4);
});
