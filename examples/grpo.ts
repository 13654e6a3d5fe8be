/**
 * GRPO: a model learns from a function that rates what it writes. From the repository root, after
 * `npm run setup`:
 *
 *   npx tsx examples/grpo.ts
 *
 * The base model comments on code in many voices: as a linter, a colleague, a commit. Here it is
 * rewarded for speaking as the linter does, on one line. It takes about two minutes on two cores.
 */
import { GRPOTrainer, type RewardInput } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, loadDataset } from '@attune/core';
import { peft } from '@attune/peft';

/** 1 for what begins as the linter's lines do. */
const linter = ({ completions }: RewardInput) =>
  completions.map((text) => Number(/^lint: \S/.test(text)));

/** 1 for one line; no opinion on what was cut off before it could end. */
const oneLine = ({ completions, completionIds }: RewardInput) =>
  completions.map((text, i) =>
    completionIds[i]!.length === 16 ? null : Number(!text.trim().includes('\n')),
  );

if (import.meta.filename === process.argv[1]) {
  await using attune = await createAttune({ plugins: [dawn(), peft()] });
  const [base, data] = ['examples/demo/base', 'examples/demo/data/preferences.train.jsonl'];
  const trainer = new GRPOTrainer({
    model: await AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' }),
    tokenizer: await AutoTokenizer.fromPretrained(base),
    trainDataset: await loadDataset('json', { dataFiles: data }), // `prompt` is read
    rewardFuncs: [linter, oneLine],
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    args: {
      outputDir: 'out/grpo',
      perDeviceTrainBatchSize: 32, // completions: 4 prompts with 8 each
      numGenerations: 8,
      maxCompletionLength: 16,
      rewardWeights: [1, 0.2],
      beta: 0.04,
      learningRate: 6e-3,
      lrSchedulerType: 'constant',
      maxSteps: 45,
      loggingSteps: 2,
      saveStrategy: 'no',
    },
  });
  trainer.on('log', ({ step, logs }) => {
    if (logs.reward !== undefined)
      console.log(step, logs['rewards/linter/mean'], `entropy ${logs.entropy}`, `kl ${logs.kl}`);
  });
  await trainer.train();
  for (const { completion, advantage } of trainer.completions!.rows.slice(0, 4))
    console.log(advantage.toFixed(2), completion);
  await trainer.saveModel('out/grpo/final');
}
