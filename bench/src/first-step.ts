// Time to the end of the first training step of the tiny LM, in a fresh process each: what
// compiling costs. Cold: drivers keep no shaders on disk. Warm: they have those of an earlier
// process.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AutoModelForCausalLM } from '@attune/core';
import { bench, openAttune } from './harness/bench.js';
import { median } from './harness/measure.js';
import { tinyLm, tinyLmConfig } from './models/tinyLm.js';
import { trainingSteps } from './models/training.js';

/** Set in the processes that do the step; its value is the rank of LoRA. */
const CHILD = 'ATTUNE_BENCH_FIRST_STEP';

interface FirstStep {
  readonly firstMs: number;
  readonly secondMs: number;
  readonly pipelines: number;
}

async function firstStep(loraRank: number): Promise<FirstStep> {
  await using attune = await openAttune();
  const model = await AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
  await attune.backend.sync();
  const { batchSize, length } = tinyLm;
  const steps = trainingSteps({ model, batchSize, length, loraRank });
  const timed = async () => {
    const start = performance.now();
    await steps.run();
    return performance.now() - start;
  };
  const firstMs = await timed();
  const secondMs = await timed();
  const { pipelines } = attune.backend.stats;
  await steps.dispose?.();
  return { firstMs, secondMs, pipelines };
}

function inFreshProcess(loraRank: number, cache: Readonly<Record<string, string>>): FirstStep {
  const { stdout, status } = spawnSync(
    process.execPath,
    [...process.execArgv, fileURLToPath(import.meta.url)],
    {
      env: { ...process.env, ...cache, [CHILD]: String(loraRank) },
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  if (status !== 0) throw new Error('the process of the first step failed; see above.');
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as FirstStep;
}

/** Switches of Mesa's and NVIDIA's caches of compiled shaders. */
const cold = { MESA_SHADER_CACHE_DISABLE: 'true', __GL_SHADER_DISK_CACHE: '0' };
const warm = (folder: string) => ({
  MESA_SHADER_CACHE_DISABLE: 'false',
  MESA_SHADER_CACHE_DIR: folder,
  __GL_SHADER_DISK_CACHE: '1',
  __GL_SHADER_DISK_CACHE_PATH: folder,
});

const asChild = process.env[CHILD];
if (asChild !== undefined) {
  process.stdout.write(`${JSON.stringify(await firstStep(Number(asChild)))}\n`);
  process.exit(0);
}

await bench([], async ({ run }) => {
  const folder = mkdtempSync(join(tmpdir(), 'attune-shaders-'));
  try {
    for (const [name, loraRank] of [
      ['full', 0],
      ['LoRA r=16', 16],
    ] as const)
      for (const [temperature, cache] of [
        ['cold', cold],
        ['warm', warm(folder)],
      ] as const)
        await run(`tiny LM ${name}, ${temperature} cache`, () => {
          const steps: FirstStep[] = [];
          return {
            // Every process starts anew; one before the others fills the warm cache.
            maxWarmups: 1,
            ours: {
              async run() {
                const step = inFreshProcess(loraRank, cache);
                steps.push(step);
                return step.firstMs;
              },
            },
            facts: (ms) => {
              const steadyMs = median(steps.map((step) => step.secondMs));
              return { steadyMs, compileMs: ms - steadyMs, pipelines: steps[0]!.pipelines };
            },
          };
        });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
