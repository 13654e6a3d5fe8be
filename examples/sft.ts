/**
 * Supervised fine-tuning with LoRA. From the repository root, after `npm run setup`:
 *
 *   npx tsx examples/sft.ts
 */
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  EarlyStoppingCallback,
  loadDataset,
  SFTTrainer,
} from '@attune/core';
import { peft } from '@attune/peft';

await using attune = await createAttune({ plugins: [dawn(), peft()] });
const base = 'examples/demo/base';
const model = await AutoModelForCausalLM.fromPretrained(base, { attune, dtype: 'float32' });
const tokenizer = await AutoTokenizer.fromPretrained(base);
const data = 'examples/demo/data';
const trainDataset = await loadDataset('json', { dataFiles: `${data}/sft.train.jsonl` });
const evalDataset = await loadDataset('json', { dataFiles: `${data}/sft.eval.jsonl` });

const trainer = new SFTTrainer({
  model,
  tokenizer,
  trainDataset,
  evalDataset: evalDataset.select(64),
  peftConfig: { peftType: 'LORA', r: 8, loraAlpha: 16, targetModules: ['q_proj', 'v_proj'] },
  args: {
    outputDir: 'out/sft',
    maxSteps: 60,
    perDeviceTrainBatchSize: 8,
    gradientAccumulationSteps: 2,
    learningRate: 1e-3,
    lrSchedulerType: 'cosine',
    warmupRatio: 0.05,
    maxLength: 160,
    completionOnlyLoss: true,
    loggingSteps: 5,
    evalStrategy: 'steps',
    evalSteps: 20,
    saveSteps: 20,
    loadBestModelAtEnd: true,
    seed: 42,
  },
  callbacks: [new EarlyStoppingCallback({ earlyStoppingPatience: 3 })],
});

/** At most five significant digits. */
const short = (value: number) => Number(value.toPrecision(5));
trainer.on('log', ({ step, logs }) =>
  console.log(step, 'loss', short(logs.loss), 'lr', short(logs.learningRate)),
);
trainer.on('evaluate', ({ step, metrics }) =>
  console.log(step, 'eval loss', short(metrics.evalLoss)),
);
const { globalStep, trainingLoss, metrics } = await trainer.train();
console.log(globalStep, short(trainingLoss), short(metrics.trainTokensPerSecond!));
const { evalPerplexity } = await trainer.evaluate(); // of the best checkpoint
console.log('perplexity', short(evalPerplexity!));
await trainer.saveModel('out/sft/final'); // adapter_config.json + adapter_model.safetensors
