import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineCallback, type LanguageModel, SFTTrainer } from '@attune/core';
import type { Contender } from '../harness/measure.js';
import { threadCpuMs } from '../harness/threadCpu.js';
import { someIds } from './tinyLm.js';

export interface TrainingSteps {
  readonly model: LanguageModel;
  readonly batchSize: number;
  /** Tokens of a row. */
  readonly length: number;
  /** Rank of a LoRA adapter; 0: train everything. */
  readonly loraRank: number;
  /** Default twice the rank. */
  readonly loraAlpha?: number;
  /** The layers that it adapts, ends of their names. Default: every linear layer. */
  readonly targetModules?: readonly string[];
  /** Operands of products in float16. Default false: float32. */
  readonly fp16?: boolean;
  /** Compute each layer again in the backward pass. Default false. */
  readonly gradientCheckpointing?: boolean;
  /** Log every update. Default false: none. */
  readonly logging?: boolean;
}

export const loraConfig = (
  rank: number,
  { loraAlpha = 2 * rank, targetModules }: Pick<TrainingSteps, 'loraAlpha' | 'targetModules'> = {},
) => ({
  peftType: 'LORA' as const,
  r: rank,
  loraAlpha,
  targetModules: targetModules ?? 'all-linear',
});

/** A promise with its key. */
class Gate {
  open!: () => void;
  readonly passed = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/**
 * The public Trainer, one update at a time: a callback holds it before each update until a
 * repetition asks for one. So what is timed is what users get, up to the moment before the next
 * update: collating, forward, backward, clipping, AdamW, the log.
 */
export function trainingSteps({
  model,
  batchSize,
  length,
  loraRank,
  logging = false,
  fp16 = false,
  gradientCheckpointing = false,
  ...lora
}: TrainingSteps): Contender & { recordMs(): number; recordCpuMs(): number } {
  const { backend } = model.engine;
  let ending = false;
  let go = new Gate();
  let ready = new Gate();
  let began = 0;
  let recordMs = 0;
  let cpuBegan: number | undefined;
  let recordCpuMs = 0;
  const trainer = new SFTTrainer({
    model,
    trainDataset: Array.from({ length: batchSize }, (_, row) => {
      const ids = someIds(length, model.config.vocabSize, row);
      return { input_ids: ids, labels: ids };
    }),
    ...(loraRank > 0 && { peftConfig: loraConfig(loraRank, lora) }),
    args: {
      outputDir: join(tmpdir(), 'attune-bench'), // nothing is saved there
      perDeviceTrainBatchSize: batchSize,
      maxLength: length,
      maxSteps: 1_000_000, // dispose() ends it
      learningRate: 1e-3,
      lrSchedulerType: 'constant',
      loggingStrategy: logging ? 'steps' : 'no',
      loggingSteps: 1,
      saveStrategy: 'no',
      preflight: 'off', // random ids say nothing
      shuffle: false,
      fp16,
      gradientCheckpointing,
    },
    callbacks: [
      defineCallback({
        name: 'bench',
        onStepBegin: async () => {
          ready.open();
          await go.passed;
          go = new Gate();
          began = performance.now();
          cpuBegan = threadCpuMs();
        },
        onOptimizerStep: () => {
          const cpu = threadCpuMs();
          recordMs = performance.now() - began;
          recordCpuMs = cpu === undefined || cpuBegan === undefined ? recordMs : cpu - cpuBegan;
        },
        onStepEnd: ({ control }) => {
          if (ending) control.shouldTrainingStop = true;
        },
      }),
    ],
  });
  let training: Promise<unknown> | null = null;
  return {
    /** Milliseconds in which this thread recorded the last update, without any wait. */
    recordMs: () => recordMs,
    /** The CPU time that it had in them; the same where the system does not tell. */
    recordCpuMs: () => recordCpuMs,
    async run() {
      training ??= trainer.train();
      await Promise.race([ready.passed, training]); // an error of the run ends the wait
      ready = new Gate();
      go.open();
      await Promise.race([ready.passed, training]);
      await backend.sync();
    },
    async dispose() {
      ending = true;
      go.open(); // it stops after one more update
      await training;
    },
  };
}
