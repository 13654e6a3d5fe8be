// One update of models of the sizes that people train, by LoRA on bfloat16, int8 and NF4 weights
// and in full, with operands of products in float16; beside it what others published of the same
// work. On a software adapter a tiny one alone shows that it runs: the others take minutes there.
import { estimateMemory } from '@attune/core';
import { peft } from '@attune/peft';
import { bench, Unfit } from './harness/bench.js';
import { deviceMemory } from './harness/deviceMemory.js';
import { filledModel } from './models/filledModel.js';
import { type LoraCase, loraCases } from './models/loraCases.js';
import { loraConfig, trainingSteps } from './models/training.js';
import { PythonYardstick } from './peers/python.js';

const titleOf = ({ name, loraRank, batchSize, length }: LoraCase) =>
  `${name} shape, ${loraRank > 0 ? `LoRA r=${loraRank}` : 'full'}, B${batchSize} T${length}, float16`;

await bench([], async ({ run, skip, options, attune, software, python }) => {
  const { backend } = attune;
  const { stats } = backend;
  const there = options.memory ?? (software ? null : deviceMemory());
  for (const each of loraCases) {
    const { config, batchSize, length, loraRank, quantization, published } = each;
    const title = titleOf(each);
    if (software && !each.small) {
      if (title.includes(options.only)) skip(title, 'a software adapter would take minutes a step');
      continue;
    }
    await run(title, async () => {
      const dtype = loraRank > 0 ? 'bfloat16' : 'float32';
      const held = { dtype, ...(quantization && { quantization }) } as const;
      const { gradientCheckpointing = false } = each;
      const plan = await estimateMemory({
        config,
        args: {
          perDeviceTrainBatchSize: batchSize,
          maxLength: length,
          fp16: true,
          gradientCheckpointing,
        },
        ...(loraRank > 0 && { peftConfig: loraConfig(loraRank, each) }),
        ...held,
        plugins: [peft()],
        ...(backend.memoryModel && { device: backend.memoryModel() }),
      });
      const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
      if (there !== null && plan.reservedBytes > there)
        throw new Unfit(
          `it takes ${gigabytes(plan.reservedBytes)}, the device has ${gigabytes(there)}`,
        );
      const model = await filledModel(config, { attune, ...held });
      stats.peakBytes = stats.liveBytes;
      const steps = trainingSteps({ model, fp16: true, ...each });
      return {
        ...(published && { published }),
        ours: {
          run: () => steps.run(),
          dispose: async () => {
            await steps.dispose?.();
            model.dispose();
          },
        },
        yardsticks: PythonYardstick.of(published ? null : python, 'train_step', {
          config,
          batch_size: batchSize,
          length,
          lora_rank: loraRank,
          bf16: true,
        }),
        facts: (ms) => ({
          tokensPerSecond: (1000 * batchSize * length) / ms,
          peakMegabytes: stats.peakBytes / 1e6,
          plannedMegabytes: plan.peakBytes / 1e6,
        }),
      };
    });
  }
});
