import { AutoModelForCausalLM, createAttune, SFTTrainer, silentLogger } from '@attune/core';
import { describe, expect, test } from 'vitest';
// The adapters of the traces are PEFT's: this test crosses the rooms on purpose.
import { PeftModel, peft } from '../../../peft/src/index.js';
import { fixture, fixtureJson, temporaryFolder } from './support.js';

interface Entry {
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
}

const close = (ours: number, theirs: number, relative: number) =>
  expect(Math.abs(ours - theirs)).toBeLessThanOrEqual(relative * Math.abs(theirs) + 1e-12);

/** transformers.Trainer + PEFT from the same initial adapter, 20 or 30 updates; the tolerance is the fixture's. */
describe('traces of LoRA runs', () => {
  for (const name of [
    'lora-run-tiny',
    'lora-run-tiny-2',
    'lora-variants/dora-llama',
    'lora-variants/dora-qwen2',
    'lora-variants/loraplus-qwen2',
    'lora-variants/olora-llama',
    'lora-variants/olora-qwen2',
    'lora-variants/orthogonal-llama',
    'lora-variants/patterns-llama',
    'lora-variants/patterns-qwen2',
    'lora-variants/pissa-llama',
    'lora-variants/pissa-qwen2',
    'lora-variants/rslora-llama',
    'lora-variants/rslora-qwen2',
  ])
    test(name, async () => {
      const { settings, rows, trace, base, loadConfig } = fixtureJson(`${name}/run.json`);
      await using attune = await createAttune({
        backend: 'reference',
        plugins: [peft()],
        logger: silentLogger,
      });
      const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), {
        attune,
        dtype: 'float32',
      });
      const model = await PeftModel.fromPretrained(plain, fixture(`${name}/initial`), {
        isTrainable: true,
        config: loadConfig,
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
          maxSteps: settings.maxSteps,
          perDeviceTrainBatchSize: settings.perDeviceTrainBatchSize,
          gradientAccumulationSteps: settings.gradientAccumulationSteps,
          learningRate: settings.learningRate,
          lrSchedulerType: settings.lrSchedulerType,
          warmupSteps: settings.warmupSteps,
          weightDecay: settings.weightDecay,
          maxGradNorm: settings.maxGradNorm,
        },
      });
      trainer.on('log', (event) => logs.push(event.logs));
      await trainer.train();
      expect(logs).toHaveLength(trace.length);
      for (const [i, ours] of logs.entries()) {
        const theirs = trace[i] as Entry;
        close(ours.loss, theirs.loss, 1e-4);
        close(ours.gradNorm, theirs.gradNorm, 1e-3);
        close(ours.learningRate, theirs.learningRate, 1e-9);
      }
    });
});
