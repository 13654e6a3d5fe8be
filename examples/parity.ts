/**
 * How far this machine's device is from transformers and PEFT, as numbers. From the repository
 * root, after `npm run setup`:
 *
 *   npx tsx examples/parity.ts
 *
 * The other side was computed by torch on a CPU in float32 and lies in parity/fixtures. The tests
 * (integration/device/parity.test.ts) hold bounds on the same numbers.
 */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, createAttune, SFTTrainer, type TrainLogs } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { PeftModel, peft } from '@attune/peft';

const fixture = (name: string) => join('parity/fixtures', name);
await using attune = await createAttune({ plugins: [dawn(), peft()] });
const { engine } = attune;
const load = (name: string) =>
  AutoModelForCausalLM.fromPretrained(fixture(name), { attune, dtype: 'float32' });
console.log(`device: ${attune.backend.info.device}\n`);

console.log('logits of a forward pass: largest |ours - theirs|');
for (const name of ['tiny-llama', 'tiny-llama-tied', 'tiny-qwen2']) {
  const model = await load(name);
  await using expected = await SafetensorsFile.open(fixture(`${name}/forward.safetensors`));
  const ids = await expected.read('input_ids');
  const theirs = await expected.read('logits');
  const logits = engine.noGrad(() =>
    engine.scope('logits', () =>
      model.forward({ inputIds: engine.tensor(ids.data, ids.shape, 'int32') }),
    ),
  );
  const ours = await logits.data();
  let worst = 0;
  for (const [i, v] of ours.entries()) worst = Math.max(worst, Math.abs(v - theirs.data[i]!));
  console.log(`  ${name.padEnd(16)} ${worst.toExponential(1)}  (${ours.length} numbers)`);
  logits.dispose();
  model.dispose();
}

console.log('\n30 updates of LoRA: largest relative difference of an update');
for (const name of ['lora-run-tiny', 'lora-run-tiny-2']) {
  const { base, rows, settings, trace } = JSON.parse(
    readFileSync(fixture(`${name}/run.json`), 'utf8'),
  );
  const plain = await load(base);
  const model = await PeftModel.fromPretrained(plain, fixture(`${name}/initial`), {
    isTrainable: true,
  });
  const outputDir = mkdtempSync(join(tmpdir(), 'attune-parity-'));
  const { maxSteps, perDeviceTrainBatchSize, gradientAccumulationSteps } = settings;
  const { learningRate, lrSchedulerType, warmupSteps, weightDecay, maxGradNorm } = settings;
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    args: {
      outputDir,
      saveStrategy: 'no',
      shuffle: false,
      loggingSteps: 1,
      maxLength: 128,
      ...{ maxSteps, perDeviceTrainBatchSize, gradientAccumulationSteps },
      ...{ learningRate, lrSchedulerType, warmupSteps, weightDecay, maxGradNorm },
    },
  });
  const logs: TrainLogs[] = [];
  trainer.on('log', (event) => logs.push(event.logs));
  await trainer.train();
  const worst = (key: 'loss' | 'gradNorm') =>
    Math.max(...logs.map((ours, i) => Math.abs(ours[key] / trace[i][key] - 1))).toExponential(1);
  console.log(`  ${name.padEnd(16)} loss ${worst('loss')}, gradient norm ${worst('gradNorm')}`);
  plain.dispose();
}
