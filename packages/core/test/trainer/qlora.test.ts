import { AutoModelForCausalLM, createAttune, SFTTrainer, silentLogger } from '@attune/core';
import { describe, expect, test } from 'vitest';
// Adapters on quantised models: this test crosses the rooms on purpose.
import { PeftModel, peft } from '../../../peft/src/index.js';
import { fixture, fixtureJson, temporaryFolder } from './support.js';

interface Entry {
  readonly loss: number;
  readonly gradNorm: number;
}

/** Row 64: 20 updates of PEFT's LoRA on the weights that bitsandbytes dequantises. */
describe('LoRA on a base that bitsandbytes quantised', () => {
  for (const name of ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'])
    for (const gradientCheckpointing of [false, true])
      test(`${name}${gradientCheckpointing ? ', gradient checkpointing' : ''}`, async () => {
        const { base, settings, rows, trace } = fixtureJson(`${name}/run.json`);
        await using attune = await createAttune({
          backend: 'reference',
          plugins: [peft()],
          logger: silentLogger,
        });
        const quantized = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
        const model = await PeftModel.fromPretrained(quantized, fixture(`${name}/initial`), {
          isTrainable: true,
        });
        const logs: Entry[] = [];
        const trainer = new SFTTrainer({
          model,
          trainDataset: rows,
          args: {
            outputDir: await temporaryFolder(),
            saveStrategy: 'no',
            shuffle: false,
            loggingSteps: 1,
            gradientCheckpointing,
            maxSteps: gradientCheckpointing ? 1 : settings.maxSteps,
            perDeviceTrainBatchSize: settings.perDeviceTrainBatchSize,
            learningRate: settings.learningRate,
            lrSchedulerType: settings.lrSchedulerType,
            maxGradNorm: settings.maxGradNorm,
          },
        });
        trainer.on('log', (event) => logs.push(event.logs));
        await trainer.train();
        for (const [i, ours] of logs.entries()) {
          const theirs = trace[i] as Entry;
          expect(Math.abs(ours.loss / theirs.loss - 1)).toBeLessThan(1e-5);
          expect(Math.abs(ours.gradNorm / theirs.gradNorm - 1)).toBeLessThan(1e-3);
        }
        // A weight of 4 bits counts as one parameter, as in PEFT.
        const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), { attune });
        const plainSize = [...plain.root.namedParameters()].reduce((n, [, p]) => n + p.size, 0);
        const { trainable, all } = model.getNbTrainableParameters();
        expect(all - trainable).toBe(plainSize);
      });
});
