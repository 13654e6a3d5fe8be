import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align, PPOTrainer, type PpoTrainerOptions, type RewardFunction } from '@attune/align';
import { type Attune, createAttune, silentLogger } from '@attune/core';
import { AutoModelForCausalLM } from '@attune/core/models';
import { peft } from '@attune/peft';
import { onTestFinished } from 'vitest';

/** A Llama of one layer over 17 tokens. */
export const config = {
  model_type: 'llama',
  vocab_size: 17,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  initializer_range: 0.3,
  eos_token_id: 2,
  tie_word_embeddings: false,
};

export async function open(): Promise<Attune> {
  const attune = await createAttune({
    plugins: [peft(), align()],
    logger: silentLogger,
    backend: 'reference',
  });
  onTestFinished(() => attune.dispose());
  return attune;
}

export const policyOf = (attune: Attune) =>
  AutoModelForCausalLM.fromConfig(config, { attune, seed: 3 });

export async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'attune-ppo-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return join(path, 'out');
}

/** The share of tokens that are 5 or more. */
export const high: RewardFunction = ({ completionIds }) =>
  completionIds.map((ids) => ids.filter((id) => id >= 5).length / ids.length);

export const prompts = [[3, 4], [5], [6, 7, 8], [9], [10, 3], [4]].map((input_ids) => ({
  input_ids,
}));

export type Changes = Partial<Omit<PpoTrainerOptions, 'args'>> & { readonly args?: object };

/** Two groups of 8 answers, four updates each. */
export async function trainer({ args, ...changes }: Changes = {}): Promise<PPOTrainer> {
  const needed = {
    ...(!('policy' in changes || 'model' in changes) && { policy: await policyOf(await open()) }),
    ...(!('trainDataset' in changes) && { prompts }),
    ...(!('reward' in changes || 'rewardModel' in changes) && { rewardFuncs: high }),
  };
  return new PPOTrainer({
    ...needed,
    peftConfig: { peftType: 'LORA', r: 4 },
    ...changes,
    args: {
      outputDir: await folder(),
      batchSize: 8,
      miniBatchSize: 4,
      ppoEpochs: 2,
      maxNewTokens: 6,
      maxSteps: 8,
      learningRate: 0.02,
      saveStrategy: 'no',
      reportTo: 'none',
      seed: 3,
      ...args,
    },
  } as PpoTrainerOptions);
}
