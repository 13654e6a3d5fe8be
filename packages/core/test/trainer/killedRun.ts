/**
 * The process that killed.test.ts starts: a run with dropout, accumulation, evaluations and a
 * checkpoint after every update. Kills itself where it is told to, or says at its end what came
 * out.
 *
 * usage: node killedRun.mjs OUTPUT_DIR [AFTER_UPDATES moment|file COUNT]
 *
 * So many updates of this process are left alone; then it dies at the COUNT-th moment of the run
 * (beginnings and ends of updates, logs, evaluations), or at the COUNT-th operation on files of a
 * save. Counted, not timed: the same place on a busy machine.
 */
import { createHash } from 'node:crypto';
import { readdirSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
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

const [outputDir, after, kind, count] = process.argv.slice(2) as [string, string, string, string];
let updates = 0;
let passed = 0;
/** One of the places at which the process may die. */
function place(of: 'moment' | 'file'): void {
  if (kind === of && updates >= Number(after) && ++passed === Number(count))
    process.kill(process.pid, 'SIGKILL');
}
for (const name of ['mkdir', 'open', 'writeFile', 'rename', 'rm'] as const) {
  const original = files[name] as (...args: unknown[]) => Promise<unknown>;
  Object.assign(files, {
    [name]: (...args: unknown[]) => {
      place('file');
      return original(...args);
    },
  });
}
syncBuiltinESMExports();

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
for (const name of ['stepBegin', 'substepEnd', 'optimizerStep', 'stepEnd', 'evaluate'] as const)
  trainer.on(name, () => {
    place('moment');
    if (name === 'stepEnd') updates++;
  });
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
