import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  align,
  CPOTrainer,
  DistillationTrainer,
  DPOTrainer,
  GRPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  PPOTrainer,
  RewardTrainer,
  RLOOTrainer,
} from '@attune/align';
import {
  AttuneError,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  silentLogger,
} from '@attune/core';
import { expect, test } from 'vitest';

// docs/hf-mapping.md says that a trainer knows TRL's names of options: it does.

const trainers = {
  DPOConfig: DPOTrainer,
  KTOConfig: KTOTrainer,
  ORPOConfig: ORPOTrainer,
  CPOConfig: CPOTrainer,
  RewardConfig: RewardTrainer,
  GRPOConfig: GRPOTrainer,
  RLOOConfig: RLOOTrainer,
  DistillationConfig: DistillationTrainer,
  PPOConfig: PPOTrainer,
} as const;

const root = join(import.meta.dirname, '..');
const page = await readFile(join(root, 'docs/hf-mapping.md'), 'utf8');
const section = page.split("## TRL's alignment trainers")[1]!.split('\n## ')[0]!;
const listed = new Map(
  [...section.matchAll(/^\| `(\w+Config)`[^|]*\| (.*) \|$/gm)].map(([, config, options]) => [
    config!,
    [...options!.matchAll(/`(\w+)`/g)].map((match) => match[1]!),
  ]),
);

test('every config of the page has a trainer, and the other way round', () => {
  expect([...listed.keys()].toSorted()).toEqual(Object.keys(trainers).toSorted());
});

test('each option of the page is one of its trainer', async () => {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [align()],
    logger: silentLogger,
  });
  const folder = join(root, 'parity/fixtures/tiny-llama');
  const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
  const scorer = await AutoModelForSequenceClassification.fromPretrained(folder, {
    attune,
    numLabels: 1,
  });
  const teacher = await AutoModelForCausalLM.fromPretrained(folder, { attune });
  const rows = [{ prompt_ids: [1, 2] }];
  const rewardFuncs = [() => [1]];
  const isKnown = (config: string, name: string): boolean => {
    const own =
      config === 'PPOConfig'
        ? { policy: model, prompts: rows, rewardFuncs }
        : {
            model: config === 'RewardConfig' ? scorer : model,
            trainDataset: rows,
            ...(/GRPO|RLOO/.test(config) && { rewardFuncs }),
            ...(config === 'DistillationConfig' && { teacher }),
          };
    try {
      const Class = trainers[config as keyof typeof trainers] as new (options: object) => unknown;
      new Class({ ...own, args: { outputDir: 'unused', [name]: { no: 'value' } } });
      return true;
    } catch (error) {
      // Anything but an unknown name is an opinion on the value.
      return !(AttuneError.isInstance(error) && error.code === 'UNKNOWN_OPTION');
    }
  };
  const missing = [...listed].flatMap(([config, names]) =>
    names.filter((name) => !isKnown(config, name)).map((name) => `${config}.${name}`),
  );
  expect(missing).toEqual([]);
  for (const config of listed.keys()) expect(isKnown(config, 'no_such_option')).toBe(false);
});
