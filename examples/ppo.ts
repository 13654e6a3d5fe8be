/**
 * PPO: a model learns from a function that rates what it writes, and a critic on its trunk learns
 * what to expect. From the repository root, after `npm run setup`:
 *
 *   npx tsx examples/ppo.ts
 *
 * The base model comments on code in many voices: as a linter, a colleague, a commit. Here it is
 * rewarded for leaving a TODO. It takes about two minutes on two cores.
 */
import { PPOTrainer, type RewardInput } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, loadDataset } from '@attune/core';
import { peft } from '@attune/peft';

/** 1 for a comment that begins with TODO. */
const todo = ({ completions }: RewardInput) =>
  completions.map((text) => Number(text.startsWith('// TODO')));

if (import.meta.filename === process.argv[1]) {
  await using attune = await createAttune({ plugins: [dawn(), peft()] });
  const [base, data] = ['examples/demo/base', 'examples/demo/data/preferences.train.jsonl'];
  const ppo = new PPOTrainer({
    policy: await AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' }),
    tokenizer: await AutoTokenizer.fromPretrained(base),
    prompts: await loadDataset('json', { dataFiles: data }), // `prompt` is read
    rewardFuncs: todo,
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16 },
    args: {
      outputDir: 'out/ppo',
      totalEpisodes: 24 * 32,
      batchSize: 32, // answers of a group, each of which is learned from twice
      miniBatchSize: 16,
      ppoEpochs: 2,
      maxNewTokens: 12,
      temperature: 1,
      learningRate: 5e-3,
      lrSchedulerType: 'constant',
      saveStrategy: 'no',
    },
  });
  for await (const stats of ppo.steps())
    console.log(
      `${stats.episode} answers: score ${stats['objective/scores']}, kl ${stats['objective/kl']?.toFixed(2)}, entropy ${stats['policy/entropy_avg']?.toFixed(2)}`,
    );
  for (const { completion } of ppo.completions!.rows.slice(0, 4)) console.log(completion);
  await ppo.saveModel('out/ppo/final');
}
