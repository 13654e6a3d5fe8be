import { createDawnBackend } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  Backends,
  createAttune,
  defineCallback,
  definePlugin,
  type LanguageModel,
  PLUGIN_API_VERSION,
  SFTTrainer,
  silentLogger,
  type TrainingArguments,
} from '@attune/core';
import type { Backend, Recording } from '@attune/core/backend';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixture, temporaryFolder } from './support.js';

interface Repetitions {
  recorded: number;
  repeated: number;
  /** Asked for, and impossible: memory was used in another way. */
  refused: number;
}

/** The device, with its recordings counted, or without any. */
async function device(counts: Repetitions | null): Promise<Backend> {
  const backend = await createDawnBackend();
  if (!counts) {
    Object.defineProperty(backend, 'record', { value: undefined });
    return backend;
  }
  const counted = (recording: Recording | null): Recording | null => {
    if (!recording) return null;
    counts.recorded++;
    return {
      dispatches: recording.dispatches,
      repeat: (later) => {
        const isDone = recording.repeat(later);
        counts[isDone ? 'repeated' : 'refused']++;
        return isDone;
      },
    };
  };
  const record = backend.record.bind(backend);
  backend.record = (work, known) => counted(record(work, known));
  return backend;
}

interface Case {
  readonly args?: Partial<TrainingArguments>;
  readonly lora?: Record<string, unknown>;
  /** Tokens of row r. Default: 24. */
  readonly length?: (row: number) => number;
  /** Between two updates. @param step that was done */
  readonly between?: (model: LanguageModel, step: number) => void | Promise<void>;
}

/** Losses and gradient norms of 12 updates, and what the device counted. */
async function train({ args, lora, length = () => 24, between }: Case, isRecorded: boolean) {
  const counts: Repetitions = { recorded: 0, repeated: 0, refused: 0 };
  const dawnHere = definePlugin({
    name: 'dawn-counted',
    version: '1.0.0',
    apiVersion: PLUGIN_API_VERSION,
    register: (context) =>
      context.add(Backends, { name: 'dawn', create: () => device(isRecorded ? counts : null) }),
  });
  await using attune = await createAttune({ plugins: [dawnHere, peft()], logger: silentLogger });
  const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
    attune,
    dtype: 'float32',
  });
  const trainer = new SFTTrainer({
    model,
    trainDataset: Array.from({ length: 24 }, (_, r) => {
      const ids = Array.from({ length: length(r) }, (_, i) => (r * 31 + i * 7) % 250);
      return { input_ids: ids, labels: ids };
    }),
    ...(lora && {
      peftConfig: { peftType: 'LORA', r: 4, targetModules: ['q_proj', 'v_proj'], ...lora },
    }),
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 12,
      perDeviceTrainBatchSize: 2,
      learningRate: 1e-3,
      loggingSteps: 1,
      seed: 7,
      ...args,
    },
    callbacks: [
      defineCallback({
        name: 'between',
        onStepEnd: async ({ state }) => {
          await between?.(model, state.globalStep);
        },
      }),
    ],
  });
  const logs: (readonly [number, number])[] = [];
  trainer.on('log', ({ logs: { loss, gradNorm } }) => {
    if (loss !== undefined) logs.push([loss, gradNorm as number]);
  });
  await trainer.train();
  const { dispatches, peakBytes, liveBytes } = attune.backend.stats;
  return { logs, counts, stats: { dispatches, peakBytes, liveBytes } };
}

/** The run with recordings: the same as without, to the last bit, and to the last byte. */
async function same(run: Case): Promise<Repetitions> {
  const walked = await train(run, false);
  const { logs, stats, counts } = await train(run, true);
  expect(logs).toHaveLength(12);
  expect(logs).toEqual(walked.logs);
  expect(stats).toEqual(walked.stats);
  return counts;
}

describe('a backward pass that was walked before is dispatched again: the same bits, the same bytes', () => {
  test.each<[name: string, run: Case]>([
    ['all weights, several micro-batches', { args: { gradientAccumulationSteps: 3 } }],
    ['LoRA with dropout and noise', { lora: { loraDropout: 0.2 }, args: { neftuneNoiseAlpha: 5 } }],
    [
      'checkpointing with dropout',
      { lora: { loraDropout: 0.2 }, args: { gradientCheckpointing: true } },
    ],
    ['float16 products with a loss scale', { args: { fp16: true } }],
  ])('%s', async (_, run) => {
    const { repeated } = await same(run);
    const passes = 12 * (run.args?.gradientAccumulationSteps ?? 1);
    expect(repeated).toBeGreaterThanOrEqual(passes - 5);
  });

  test('rows of many lengths: what comes again is found again', async () => {
    const { repeated } = await same({
      length: (row) => 16 + 4 * (row % 3),
      args: { perDeviceTrainBatchSize: 1, shuffle: false },
    });
    expect(repeated).toBeGreaterThan(0);
  });
});

describe('between two updates', () => {
  test('memory moved: what was borrowed has another owner', async () => {
    const counts = await same({
      between: ({ engine }, step) => {
        if (step === 6) for (let i = 0; i < 8; i++) engine.keep(engine.zeros([2, 24, 32]));
      },
    });
    expect(counts.repeated).toBeGreaterThan(4);
  });

  test('the pool was emptied', async () => {
    const counts = await same({
      between: async ({ engine }, step) => {
        if (step === 6) await engine.backend.trim!();
      },
    });
    expect(counts.refused + counts.recorded).toBeGreaterThan(1);
  });
});
