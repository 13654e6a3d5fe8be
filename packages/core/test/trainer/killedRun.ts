/**
 * The process that killed.test.ts starts and kills: a run with dropout, accumulation, evaluations and a
 * checkpoint after every update. Says each update on standard output, and at its end what came out.
 *
 * usage: node killedRun.mjs OUTPUT_DIR
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { causalLmObjective, type Objective, ops, Trainer } from '@attune/core';
import { float32Attune, idRows, ListLogger, minuteLlama, weightsOf } from './support.js';

const dropping: Objective = {
  ...causalLmObjective({ maxLength: 32 }),
  loss(model, { inputIds, labels }) {
    const hidden = model.hiddenStates({ inputIds: inputIds! });
    const dropped = model.root.training ? ops.dropout(hidden, 0.3) : hidden;
    const logits = model.head(dropped).reshape(labels!.size, -1);
    return { loss: ops.crossEntropy(logits, labels!.reshape(labels!.size)).sum() };
  },
};

const outputDir = process.argv[2]!;
const logger = new ListLogger();
const attune = await float32Attune(logger);
const model = await minuteLlama(attune, 3);
const trainer = new Trainer({
  model,
  objective: dropping,
  trainDataset: idRows(11),
  evalDataset: idRows(3),
  args: {
    outputDir,
    perDeviceTrainBatchSize: 2,
    gradientAccumulationSteps: 2,
    learningRate: 0.01,
    lrSchedulerType: 'cosine',
    maxSteps: 50,
    loggingSteps: 2,
    evalStrategy: 'steps',
    evalSteps: 5,
    saveSteps: 1,
    saveTotalLimit: 2,
    metricForBestModel: 'loss',
  },
});
trainer.on('stepBegin', ({ step }) => process.stdout.write(`step ${step}\n`));
const resumeFromCheckpoint = readdirSync(outputDir).some((name) => /^checkpoint-/.test(name));
await trainer.train({ resumeFromCheckpoint });
const history = trainer.state.logHistory.map((row) =>
  Object.fromEntries(
    Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
  ),
);
const weights = createHash('sha256')
  .update(JSON.stringify(await weightsOf(model)))
  .digest('hex');
process.stdout.write(`done ${JSON.stringify({ history, weights, warnings: logger.lines })}\n`);
