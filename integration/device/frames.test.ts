import { AutoModelForCausalLM, SFTTrainer } from '@attune/core';
import type { OpCall } from '@attune/core/backend';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fixture, onDawn, temporaryFolder } from './support.js';

const { stackTraceLimit } = Error;
beforeEach(() => {
  Error.stackTraceLimit = Number.POSITIVE_INFINITY;
});
afterEach(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

/** Functions of ours from the dispatch up to `train()`, both included; innermost first. */
function framesOf(stack: string): string[] {
  const lines = stack
    .split('\n')
    .filter((line) => /^\s+at .*\/(packages|integration)\//.test(line));
  return lines.slice(0, 1 + lines.findIndex((line) => /Trainer\.train /.test(line)));
}

/** The longest way from `train()` to a dispatch, over two updates of LoRA with dropout. */
async function deepest(): Promise<string[]> {
  await using attune = await onDawn();
  const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
    attune,
    dtype: 'float32',
  });
  let longest: string[] = [];
  const { backend } = attune;
  const dispatch = backend.dispatch.bind(backend);
  backend.dispatch = (call: OpCall) => {
    const frames = framesOf(new Error().stack!);
    if (frames.length > longest.length) longest = frames;
    dispatch(call);
  };
  const rows = Array.from({ length: 16 }, (_, r) => {
    const ids = Array.from({ length: 24 }, (_, i) => (r * 31 + i * 7) % 250);
    return { input_ids: ids, labels: ids };
  });
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    peftConfig: { peftType: 'LORA', r: 4, loraDropout: 0.1 },
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 2,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 2,
      loggingSteps: 1,
    },
  });
  await trainer.train();
  return longest;
}

test('a stack of a LoRA update can be read: few frames from train() to a dispatch', async () => {
  const frames = await deepest();
  const text = frames.join('\n');
  const ofModel = frames.findIndex((line) => /\/(objectives|trainer|training)\//.test(line));
  expect(ofModel, text).toBeGreaterThan(0);
  expect(ofModel, `the model's part:\n${text}`).toBeLessThanOrEqual(19);
  expect(frames.length, text).toBeLessThanOrEqual(30);
});
