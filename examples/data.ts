/**
 * From a messy file to a trained adapter: the file is made, cleaned, its hardest rows are chosen,
 * and the shipped model is trained on them. From the repository root, after `npm run setup`; a
 * minute or two:
 *
 *   npx tsx examples/data.ts
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import * as core from '@attune/core';
import { type DataReport, fromJsonl, pipeline } from '@attune/data';
import { peft } from '@attune/peft';

const demo = join(import.meta.dirname, 'demo');

/** Rows of the file, updates of the adapter, and where all is written. */
const full = { rows: 600, steps: 40, outputDir: 'out/data' };

/** A row of the demo's reviews. */
interface Review {
  readonly prompt: string;
  readonly completion: string;
  readonly document_id: string;
}

/** Reviews as they may come from the wild: one in three lines has something wrong with it. */
async function messyFile(path: string, count: number): Promise<void> {
  const text = await readFile(join(demo, 'data/sft.train.jsonl'), 'utf8');
  const reviews = text.split('\n', count).map((line) => JSON.parse(line) as Review);
  const lines = reviews.flatMap((review, i) => {
    const { prompt, completion } = review;
    const other = reviews[(i * 7 + 3) % count]!;
    const line = JSON.stringify(review);
    switch (i % 20) {
      case 1: // twice, with other spaces
        return [line, JSON.stringify({ ...review, prompt: `  ${prompt.toUpperCase()}\n` })];
      case 4: // nearly twice
        return [line, JSON.stringify({ ...review, prompt: `${prompt}Review it.\n` })];
      case 7: // cut off in the middle
        return [line.slice(0, line.length / 2)];
      case 10: // not answered
        return [JSON.stringify({ ...review, completion: '' })];
      case 13: // the answer to another question
        return [JSON.stringify({ ...review, completion: other.completion })];
      case 16: // somebody's address
        return [
          JSON.stringify({ ...review, completion: `${completion} Ask jo.doe@birkenau.net.` }),
        ];
      default:
        return [line];
    }
  });
  await writeFile(path, `${lines.join('\n')}\n`);
}

/** Makes the file, cleans it, and trains on it; loss on held-out rows before and after. */
export async function trainOnMessyData(
  attune: core.Attune,
  { rows, steps, outputDir }: typeof full = full,
) {
  await mkdir(outputDir, { recursive: true });
  const file = join(outputDir, 'raw.jsonl');
  await messyFile(file, rows);

  const base = join(demo, 'base');
  const model = await core.AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' });
  const tokenizer = await core.AutoTokenizer.fromPretrained(base);
  const clean = join(outputDir, 'clean');
  const report = await pipeline(fromJsonl(file), { seed: 42 })
    .validate({ schema: 'prompt-completion' })
    .dedupe({ near: { threshold: 0.9, shingle: { unit: 'character' } } })
    .quality({ checks: ['completeness', 'harmlessness'] })
    // The prompts end where the review begins: nothing is put around them.
    .scoreIfd({ model, tokenizer, prompt: '{instruction}', directPrompt: '### Review\n' })
    .keepTop({ by: 'ifd', ratio: 0.7, max: 1 })
    .split({ groupBy: 'document_id', testSize: 0.15 })
    .writeTo(clean, { overwrite: true });

  const part = (name: string) =>
    core.loadDataset('json', { dataFiles: join(clean, `${name}.jsonl`) });
  const trainer = new core.SFTTrainer({
    model,
    tokenizer,
    trainDataset: await part('train'),
    evalDataset: await part('test'),
    peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16, targetModules: 'all-linear' },
    args: {
      outputDir,
      maxSteps: steps,
      perDeviceTrainBatchSize: 16,
      perDeviceEvalBatchSize: 16,
      learningRate: 4e-3,
      maxLength: 192,
      completionOnlyLoss: true,
      saveStrategy: 'no',
      seed: 42,
    },
  });
  const before = (await trainer.evaluate()).evalLoss;
  await trainer.train();
  const after = (await trainer.evaluate()).evalLoss;
  await trainer.saveModel(join(outputDir, 'adapter'));
  return { report, before, after };
}

/** A line for each stage, and for each reason why rows are gone. */
export function tableOf({ stages }: DataReport): string {
  return stages
    .flatMap(({ name, rowsIn, rowsOut, dropped, quarantined }) => [
      `${name.padEnd(10)} ${String(rowsIn).padStart(5)} -> ${rowsOut}`,
      ...Object.entries({ ...dropped, ...quarantined }).map(
        ([reason, count]) => `${' '.repeat(12)}${String(count).padStart(4)} ${reason}`,
      ),
    ])
    .join('\n');
}

if (import.meta.filename === process.argv[1]) {
  await using attune = await core.createAttune({ plugins: [dawn(), peft()] });
  const { report, before, after } = await trainOnMessyData(attune);
  console.log(tableOf(report));
  console.log(`loss on unseen rows: ${before.toFixed(3)} -> ${after.toFixed(3)}`);
}
