/**
 * The demo behind `npm start`: LoRA on a small base model, from code to review of that code.
 *
 * Everything it needs is in `demo/`: the base model (pretrained by `pretrain.ts`), its tokenizer
 * and the data, split by document so that what is asked at the end was never seen in training.
 */
import { fileURLToPath } from 'node:url';
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  loadDataset,
  ProgressCallback,
  SFTTrainer,
} from '@attune/core';
import type { GenerativeModel } from '@attune/core/models';
import { peft } from '@attune/peft';
import { accuracy, type ReviewRow, review } from './demo/accuracy.js';
import { plot } from './demo/plot.js';
import { compare } from './demo/screen.js';

const started = performance.now();
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const outputDir = 'out/start';

await using attune = await createAttune({ plugins: [dawn(), peft()] });
console.log(
  `Attune on ${attune.backend.info.device}${attune.backend.info.software ? ' (software)' : ''}\n`,
);
const model = await AutoModelForCausalLM.fromPretrained(here('./demo/base'), {
  attune,
  dtype: 'float32',
});
const tokenizer = await AutoTokenizer.fromPretrained(here('./demo/base'));
const trainDataset = await loadDataset('json', { dataFiles: here('./demo/data/sft.train.jsonl') });
const evalDataset = await loadDataset('json', { dataFiles: here('./demo/data/sft.eval.jsonl') });
const unseen = [...evalDataset.select(100)] as unknown as ReviewRow[];
const questions = unseen.slice(0, 3);

/** What the model of now answers to the questions. */
const answer = (asked: GenerativeModel) =>
  review(
    asked,
    tokenizer,
    questions.map((row) => row.prompt),
    48,
  );

console.log(`asking the base model for reviews of ${unseen.length} functions ...`);
const before = await answer(model);
const baseScore = await accuracy(model, tokenizer, unseen);

const trainer = new SFTTrainer({
  model,
  tokenizer,
  trainDataset,
  evalDataset: evalDataset.select(32),
  peftConfig: { peftType: 'LORA', r: 16, loraAlpha: 32, targetModules: 'all-linear' },
  args: {
    outputDir,
    maxSteps: 40,
    perDeviceTrainBatchSize: 8,
    perDeviceEvalBatchSize: 16,
    learningRate: 5e-3,
    lrSchedulerType: 'linear',
    warmupRatio: 0.1,
    maxLength: 160,
    loggingSteps: 1,
    evalStrategy: 'steps',
    evalSteps: 20,
    saveSteps: 20,
    saveTotalLimit: 1,
    loadBestModelAtEnd: true,
    seed: 42,
  },
  callbacks: [new ProgressCallback()],
});
const { metrics } = await trainer.train();
await trainer.saveModel(`${outputDir}/final`);

const after = await answer(trainer.model);
const { rows, right, majority, majorityIssue } = await accuracy(trainer.model, tokenizer, unseen);

const losses = trainer.state.logHistory.flatMap((row) =>
  row.loss === undefined ? [] : [row.loss],
);
console.log(`\n${plot('training loss, nats per token', losses)}\n`);
questions.forEach((row, i) => {
  const code = row.prompt.replace(/^### Code\n|\n### Review\n$/g, '');
  console.log(`${compare(code, row.issue, before[i]!, after[i]!)}\n`);
});

const score = (what: string, share: number) =>
  `  ${what.padEnd(45)} ${`${(100 * share).toFixed(0)} %`.padStart(5)}`;
console.log(`issue named rightly, on ${rows} functions of unseen documents
${score('before: the base model', baseScore.right)}
${score('after: with the adapter', right)}
${score(`always answering "${majorityIssue}"`, majority)}

training: ${metrics.trainRuntime!.toFixed(0)} s, ${metrics.trainTokensPerSecond!.toFixed(0)} tokens/s; all: ${((performance.now() - started) / 1000).toFixed(0)} s
adapter:     ${outputDir}/final (PEFT's format)
checkpoint:  ${outputDir}/checkpoint-${trainer.state.globalStep}
`);
