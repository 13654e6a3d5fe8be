// What the Trainer takes beside the update itself: the same updates by the public Trainer, which
// logs every one of them, and by a bare loop of forward, backward, clipping and AdamW, in turn.
import { AutoModelForCausalLM } from '@attune/core';
import { bench } from './harness/bench.js';
import { type Contender, median } from './harness/measure.js';
import { threadCpuMs } from './harness/threadCpu.js';
import { bareSteps } from './models/bareSteps.js';
import { tinyLm, tinyLmConfig } from './models/tinyLm.js';
import { trainingSteps } from './models/training.js';

const { batchSize, length } = tinyLm;

/** A contender whose every repetition is noted. */
function noted(steps: Contender, dispatched: () => number) {
  const ms: number[] = [];
  const cpuMs: number[] = [];
  const notes = { ms, cpuMs, dispatches: 0 };
  const run = async () => {
    const [began, cpuBegan, before] = [performance.now(), threadCpuMs() ?? 0, dispatched()];
    await steps.run();
    ms.push(performance.now() - began);
    cpuMs.push((threadCpuMs() ?? 0) - cpuBegan);
    notes.dispatches = dispatched() - before;
  };
  return { run, notes };
}

await bench([], async ({ run, attune, options }) => {
  const dispatched = () => attune.backend.stats.dispatches;
  for (const [name, loraRank] of [
    ['tiny LM full', 0],
    ['tiny LM LoRA r=16', 16],
  ] as const)
    await run(name, async () => {
      const make = () => AutoModelForCausalLM.fromConfig(tinyLmConfig, { attune, seed: 1 });
      const [model, bareModel] = [await make(), await make()];
      const steps = trainingSteps({ model, batchSize, length, loraRank, logging: true });
      const bareOnes = bareSteps({ model: bareModel, batchSize, length, loraRank });
      const ours = noted(steps, dispatched);
      const bare = noted(bareOnes, dispatched);
      const measured = (times: readonly number[]) => times.slice(-options.reps);
      return {
        ours: {
          run: ours.run,
          async dispose() {
            await steps.dispose?.();
            model.dispose();
          },
        },
        yardsticks: {
          bare: () => ({
            run: bare.run,
            async dispose() {
              await bareOnes.dispose?.();
              bareModel.dispose();
            },
          }),
        },
        facts: () => {
          const bareMs = measured(bare.notes.ms);
          // Pair by pair, so that what else the machine does falls on both.
          const shares = measured(ours.notes.ms).map((ms, i) => 1 - bareMs[i]! / ms);
          return {
            overheadShare: median(shares),
            cpuMs: median(measured(ours.notes.cpuMs)),
            bareCpuMs: median(measured(bare.notes.cpuMs)),
            dispatches: ours.notes.dispatches,
            bareDispatches: bare.notes.dispatches,
          };
        },
      };
    });
});
