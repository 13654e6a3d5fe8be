/**
 * Alignment on the shipped model: it learns to write reviews (SFT), then to tell good ones from bad
 * ones (DPO). From the repository root, after `npm run setup`:
 *
 *   npx tsx examples/dpo.ts
 */
import { join } from 'node:path';
import { align, DPOTrainer } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import * as core from '@attune/core';
import { peft } from '@attune/peft';

const demo = join(import.meta.dirname, 'demo');
const rows = (name: string) =>
  core.loadDataset('json', { dataFiles: join(demo, `data/${name}.jsonl`) });

/** What the two trainers of this file share. */
const common = {
  perDeviceEvalBatchSize: 16,
  maxLength: 192,
  saveStrategy: 'no',
  seed: 42,
} as const;

/** Updates of each step, rows of each evaluation, and where logs and results go. */
const full = { sftSteps: 80, dpoSteps: 40, evalRows: 100, outputDir: 'out/dpo' };

/** SFT, then DPO: the two trainers, and the loss of SFT on unseen rows before and after DPO. */
export async function alignReviews(attune: core.Attune, sizes: typeof full = full) {
  const { sftSteps, dpoSteps, evalRows, outputDir } = sizes;
  const base = join(demo, 'base');
  const tokenizer = await core.AutoTokenizer.fromPretrained(base);
  const sft = new core.SFTTrainer({
    model: await core.AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' }),
    tokenizer,
    trainDataset: await rows('sft.train'),
    evalDataset: (await rows('sft.eval')).select(evalRows),
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16, targetModules: 'all-linear' },
    args: {
      ...common,
      outputDir: join(outputDir, 'sft'),
      maxSteps: sftSteps,
      perDeviceTrainBatchSize: 16,
      learningRate: 4e-3,
      completionOnlyLoss: true,
    },
  });
  await sft.train();
  const before = (await sft.evaluate()).evalLoss;

  // The model comes with a trained adapter: a frozen copy of that is the reference.
  const dpo = new DPOTrainer({
    model: sft.model,
    tokenizer,
    trainDataset: await rows('preferences.train'),
    evalDataset: (await rows('preferences.eval')).select(evalRows), // of functions never seen
    callbacks: ['explanations', 'collapse', 'saturation'],
    args: {
      ...common,
      outputDir,
      maxSteps: dpoSteps,
      learningRate: 2e-4,
      beta: 0.3,
      lossType: ['sigmoid', 'sft'], // the good reviews stay likely
      lossWeights: [1, 2],
      loggingSteps: 5,
    },
  });
  dpo.on('log', ({ step, logs }) =>
    console.log(step, logs.loss, 'right pairs', logs['rewards/accuracies']),
  );
  await dpo.train();
  const accuracy = (await dpo.evaluate())['eval_rewards/accuracies']!;
  return { dpo, before, after: (await sft.evaluate()).evalLoss, accuracy };
}

if (import.meta.filename === process.argv[1]) {
  await using attune = await core.createAttune({ plugins: [dawn(), peft(), align()] });
  const { dpo, before, after, accuracy } = await alignReviews(attune);
  console.log(`unseen pairs in the right order: ${accuracy}; loss of SFT: ${before} -> ${after}`);
  await dpo.saveModel('out/dpo/final');
}
