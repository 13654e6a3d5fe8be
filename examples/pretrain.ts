/**
 * Pretrains the base model of the demo from random weights: `npx tsx examples/pretrain.ts`.
 *
 * Three million tokens of the corpus that `demo/generate.ts` writes, full training of all 0.87 M
 * parameters. About 20 minutes on two cores with lavapipe. `--steps N` and `--out FOLDER` for
 * trials.
 */
import { cpSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  ProgressCallback,
  SFTTrainer,
} from '@attune/core';
import { corpus } from './demo/corpus.js';
import { CORPUS_SEED } from './demo/generate.js';

const base = fileURLToPath(new URL('./demo/base', import.meta.url));
const { values } = parseArgs({
  options: {
    steps: { type: 'string', default: '1470' },
    out: { type: 'string', default: base },
    resume: { type: 'boolean', default: false },
  },
});
const steps = Number(values.steps);
const batchSize = 8;
const length = 256;

const tokenizer = await AutoTokenizer.fromPretrained(base);
const config = JSON.parse(readFileSync(`${base}/config.json`, 'utf8'));

/**
 * The corpus as one stream of tokens, cut into rows of equal length: no padding, nothing wasted.
 */
function* rows() {
  const documents = corpus(CORPUS_SEED);
  let pending: number[] = [];
  for (let made = 0; made < steps * batchSize; ) {
    pending.push(...tokenizer.encode(documents.next().value as string), config.eos_token_id);
    while (pending.length >= length && made < steps * batchSize) {
      const ids = pending.slice(0, length);
      pending = pending.slice(length);
      made++;
      yield { input_ids: ids, labels: ids };
    }
  }
}

await using attune = await createAttune({ plugins: [dawn()] });
console.log(`pretraining on ${attune.backend.info.device}`);
const model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 1 });
const trainer = new SFTTrainer({
  model,
  trainDataset: [...rows()],
  args: {
    outputDir: 'out/pretrain',
    maxSteps: steps,
    perDeviceTrainBatchSize: batchSize,
    maxLength: length,
    learningRate: 4e-3,
    lrSchedulerType: 'linear',
    warmupRatio: 0.05,
    weightDecay: 0.1,
    adamBeta2: 0.95,
    shuffle: false,
    loggingSteps: 20,
    saveSteps: 200,
    saveTotalLimit: 1,
    seed: 1,
  },
  callbacks: [new ProgressCallback()],
});
await trainer.train({ resumeFromCheckpoint: values.resume });
await model.savePretrained(values.out);
if (values.out !== base)
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(`${base}/${file}`, `${values.out}/${file}`);
console.log(`saved to ${values.out}`);
