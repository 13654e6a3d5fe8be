/**
 * Three adapters of the shipped model, each trained on some of the faults, and what becomes of them
 * when they are merged: into weights, by several methods, and into one adapter. From the repository
 * root, after `npm run setup`; a minute or two:
 *
 *   npx tsx examples/merge.ts
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import * as core from '@attune/core';
import { type MergeConfigInput, mergeModels } from '@attune/merge';
import { combineSavedAdapters, PeftModel, peft } from '@attune/peft';

const base = join(import.meta.dirname, 'demo/base');
const data = (name: string) =>
  core.loadDataset('json', {
    dataFiles: join(import.meta.dirname, `demo/data/sft.${name}.jsonl`),
  });

/** Which faults an adapter learns to see. */
const parts = {
  async: ['missing-await', 'swallowed-error', 'unclosed-resource'],
  logic: ['loose-equality', 'assignment-in-condition', 'off-by-one'],
  data: ['sql-injection', 'division-by-zero', 'unused-variable'],
} as const;
type Part = keyof typeof parts;
const names = Object.keys(parts) as Part[];

/** All three learn the form of a review: their sum would learn it three times over. */
const share = 0.4;

/** How they are merged into weights. */
const recipes: readonly Pick<MergeConfigInput, 'mergeMethod' | 'parameters'>[] = [
  { mergeMethod: 'linear' },
  { mergeMethod: 'task_arithmetic', parameters: { lambda: share } },
  { mergeMethod: 'ties', parameters: { density: 0.5 } },
  { mergeMethod: 'dare_ties', parameters: { density: 0.7, lambda: share } },
  { mergeMethod: 'breadcrumbs', parameters: { density: 0.9, lambda: share } },
];

/** Updates of each adapter, rows that each part is scored on, and where results go. */
const full = { steps: 20, evalRows: 32, outputDir: 'out/merge' };

/** Loss on unseen rows, by the part that they belong to. */
export type Scores = Readonly<Record<Part, number>>;

/** Trains the adapters, merges them, and scores each of them and each merge. */
export async function mergeReviews(
  attune: core.Attune,
  { steps, evalRows, outputDir }: typeof full = full,
): Promise<ReadonlyMap<string, Scores>> {
  const tokenizer = await core.AutoTokenizer.fromPretrained(base);
  const [train, unseen] = [await data('train'), await data('eval')];
  const of = (part: Part) => (row: { readonly issue?: unknown }) =>
    (parts[part] as readonly unknown[]).includes(row.issue);
  const args = {
    outputDir: join(outputDir, 'training'),
    perDeviceTrainBatchSize: 16,
    perDeviceEvalBatchSize: 16,
    maxLength: 192,
    completionOnlyLoss: true,
    saveStrategy: 'no',
    seed: 42,
  } as const;
  const scores = new Map<string, Scores>();
  const score = async (name: string, model: core.LanguageModel) => {
    const losses = {} as Record<Part, number>;
    for (const part of names) {
      const evalDataset = unseen.filter(of(part)).select(evalRows);
      const trainer = new core.SFTTrainer({
        model,
        tokenizer,
        trainDataset: train.select(1),
        evalDataset,
        args,
      });
      losses[part] = (await trainer.evaluate()).evalLoss;
    }
    scores.set(name, losses);
  };
  const load = (folder: string) =>
    core.AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });

  await score('base', await load(base));
  for (const part of names) {
    const trainer = new core.SFTTrainer({
      model: await load(base),
      tokenizer,
      trainDataset: train.filter(of(part)),
      peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16, targetModules: 'all-linear' },
      args: { ...args, maxSteps: steps, learningRate: 4e-3 },
    });
    await trainer.train();
    await trainer.saveModel(join(outputDir, part));
    await score(`adapter ${part}`, trainer.model);
  }

  // Into weights: base+adapter is merged as it is read, and no merged copy is written.
  const folders = names.map((part) => join(outputDir, part));
  for (const recipe of recipes) {
    const merged = join(outputDir, recipe.mergeMethod);
    await mergeModels(
      {
        ...recipe,
        ...(recipe.mergeMethod !== 'linear' && { baseModel: base }),
        models: folders.map((folder) => ({
          model: `${base}+${folder}`,
          parameters: { weight: 1 },
        })),
      },
      { outputDir: merged, attune, overwrite: true },
    );
    await score(recipe.mergeMethod, await load(merged));
  }

  // Into one adapter, without the base.
  const adapters = folders.map((adapter) => ({ adapter, weight: share }));
  const both = { adapters, overwrite: true } as const;
  const cat = join(outputDir, 'cat');
  const svd = join(outputDir, 'svd');
  await combineSavedAdapters({ ...both, combinationType: 'cat', outputDir: cat });
  await combineSavedAdapters({ ...both, combinationType: 'svd', svdRank: 8, outputDir: svd });
  for (const [name, folder] of [
    ['one adapter, cat, rank 24', cat],
    ['one adapter, svd, rank 8', svd],
  ] as const) {
    await score(name, await PeftModel.fromPretrained(await load(base), folder));
  }
  return scores;
}

/** A line for each model, within 80 columns. */
export function tableOf(scores: ReadonlyMap<string, Scores>): string {
  const line = (name: string, cells: readonly string[]) =>
    name.padEnd(28) + cells.map((cell) => cell.padStart(12)).join('');
  const mean = (own: Scores) => names.reduce((sum, part) => sum + own[part], 0) / names.length;
  const rows = [...scores].map(([name, own]) =>
    line(
      name,
      [...names.map((part) => own[part]), mean(own)].map((loss) => loss.toFixed(3)),
    ),
  );
  return [line('loss on unseen rows', [...names, 'mean']), ...rows].join('\n');
}

if (import.meta.filename === process.argv[1]) {
  await using attune = await core.createAttune({
    plugins: [dawn(), peft()],
    logger: core.silentLogger, // twelve trainers would each show their rows
  });
  await rm(full.outputDir, { recursive: true, force: true });
  console.log(tableOf(await mergeReviews(attune)));
}
