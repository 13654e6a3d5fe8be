import { AutoModelForCausalLM, createAttune, SFTTrainer, silentLogger } from '@attune/core';
// The prompts are PEFT's: this test crosses the rooms on purpose.
import { getPeftModel, PeftModel, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { causalLmObjective } from '../packages/core/src/objectives/causalLm.js';
import { upload } from '../packages/core/src/training/upload.js';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../packages/core/test/trainer/recordedRun.js';
import {
  fixture,
  fixtureJson,
  idRows,
  minuteLlama,
  temporaryFolder,
} from '../packages/core/test/trainer/support.js';

// Prompt tuning and P-tuning learn a row's first token, which the last virtual token predicts;
// prefix tuning has no output there. parity/rows_prompt_runs.py: PEFT with transformers' Trainer,
// ten updates; TRL's evaluation.

const open = () => createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });

interface Run {
  readonly base: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly rows: { readonly input_ids: number[]; readonly labels: number[] }[];
  readonly evalRows: { readonly input_ids: number[]; readonly labels: number[] }[];
  readonly before: { readonly loss: number; readonly meanTokenAccuracy: number };
  readonly evalLoss: readonly number[];
  readonly trace: Parameters<typeof expectUpdates>[1];
}

const runs = ['prompt-tuning', 'prompt-tuning-tied', 'p-tuning', 'prefix-tuning'];

async function load(name: string) {
  const run = fixtureJson(`prompt-runs/${name}/run.json`) as Run;
  const attune = await open();
  const base = await AutoModelForCausalLM.fromPretrained(fixture(run.base), {
    attune,
    dtype: 'float32',
  });
  const folder = fixture(`prompt-runs/${name}`);
  return {
    run,
    attune,
    model: await PeftModel.fromPretrained(base, folder, { isTrainable: true }),
  };
}

const labelled = ({ labels }: { readonly labels: readonly number[] }) =>
  labels.filter((label) => label !== -100).length;

describe.each(runs)('%s', (name) => {
  test("each update is that of transformers' Trainer, evaluation that of TRL", async () => {
    const { run, attune, model } = await load(name);
    await using _ = attune;
    const trainer = new SFTTrainer({
      model,
      evalDataset: run.evalRows,
      args: { outputDir: await temporaryFolder(), preflight: 'off' },
    });
    const before = await trainer.evaluate();
    expect(before.evalLoss).toBeCloseTo(run.before.loss, 5);
    expect(before.evalPerplexity).toBeCloseTo(Math.exp(run.before.loss), 2);
    expect(before.evalMeanTokenAccuracy).toBeCloseTo(run.before.meanTokenAccuracy, 6);

    const logs = await updatesOf(
      model,
      { trainDataset: run.rows },
      { ...argumentsOf(run.settings), preflight: 'off' },
    );
    expectUpdates(logs, run.trace, { loss: 2e-6, gradNorm: 1e-4 });

    // transformers divides a batch's loss by its labels but the first of each row, though it sums
    // them too.
    const { evalLoss } = await trainer.evaluate();
    const all = run.evalRows.reduce((n, row) => n + labelled(row), 0);
    const counted = run.evalRows.reduce(
      (n, { labels }) => n + labelled({ labels: labels.slice(1) }),
      0,
    );
    const share = name === 'prefix-tuning' ? 1 : all / counted;
    expect(evalLoss * share).toBeCloseTo(run.evalLoss.at(-1)!, 4);
  });
});

const prompt = { peftType: 'PROMPT_TUNING', numVirtualTokens: 3 } as const;

test('packed rows, and batches of any size, give the loss of each row alone', async () => {
  await using attune = await open();
  const model = getPeftModel(await minuteLlama(attune), prompt);
  const rows = idRows(7).map(({ input_ids }, i) => ({
    input_ids,
    labels: input_ids.map((id, t) => (t === 0 && i % 3 === 0 ? -100 : id)),
  }));
  const losses: number[] = [];
  for (const args of [
    { perDeviceEvalBatchSize: 1 },
    { perDeviceEvalBatchSize: 7 },
    { perDeviceEvalBatchSize: 2, packing: true, maxLength: 20 },
    { perDeviceEvalBatchSize: 1, packing: true, maxLength: 40 },
  ]) {
    const trainer = new SFTTrainer({
      model,
      evalDataset: rows,
      args: { outputDir: await temporaryFolder(), preflight: 'off', ...args },
    });
    losses.push((await trainer.evaluate()).evalLoss);
  }
  for (const loss of losses) expect(loss).toBeCloseTo(losses[0]!, 6);
});

test('the loss is that of the tokens behind virtual ones that have a label, the first among them', async () => {
  await using attune = await open();
  const { engine } = attune;
  const model = getPeftModel(await minuteLlama(attune), prompt);
  const objective = causalLmObjective({ maxLength: 32 });
  const examples = [{ inputIds: [5, 8, 2], labels: [5, 8, -100] }];
  const device = upload(engine, objective.collate(examples), model);
  const { loss, extraItems } = engine.noGrad(() => objective.loss(model, device));
  expect([objective.countItems(objective.collate(examples)), extraItems]).toEqual([1, 1]);
  const inputIds = engine.tensor([5, 8, 2], [1, 3], 'int32');
  const hidden = engine.noGrad(() => model.hiddenStates({ inputIds, withLastVirtual: true }));
  expect(hidden.shape).toEqual([1, 4, 8]);
  const scores = await engine.noGrad(() => model.head(hidden).logSoftmax()).data();
  expect(await loss.item()).toBeCloseTo(-(scores[5]! + scores[17 + 8]!), 5);
  // An adapter without an output before the row adds nothing, nor does none.
  const plain = await minuteLlama(attune);
  const prefix = getPeftModel(await minuteLlama(attune), {
    peftType: 'PREFIX_TUNING',
    numVirtualTokens: 2,
  });
  for (const other of [plain, prefix]) {
    const given = upload(engine, objective.collate(examples), other);
    expect(given.firstRows).toBeUndefined();
    expect(engine.noGrad(() => objective.loss(other, given)).extraItems).toBe(0);
  }
  model.withAdaptersDisabled(() =>
    expect(upload(engine, objective.collate(examples), model).firstRows).toBeUndefined(),
  );
});

test('its gradient is that of the loss, also where few positions have labels and a label is smoothed', async () => {
  await using attune = await open();
  const { engine } = attune;
  const model = getPeftModel(await minuteLlama(attune), prompt);
  const parameter = [...model.root.namedParameters()].find(([, p]) => p.trainable)![1];
  const inputIds = Array.from({ length: 9 }, (_, t) => (t * 5) % 17);
  const examples = [
    { inputIds, labels: inputIds.map((id, t) => (t === 0 || t === 8 ? id : -100)) },
    { inputIds, labels: [...inputIds], seqLengths: [4, 5] },
  ];
  for (const options of [{}, { labelSmoothing: 0.2 }, { lossType: 'dft' as const }]) {
    const objective = causalLmObjective({ maxLength: 9, ...options });
    for (const batch of [examples, examples.slice(0, 1)]) {
      const lossOf = () =>
        objective.loss(model, upload(engine, objective.collate(batch), model)).loss;
      parameter.clearGrad();
      engine.scope('step', () => engine.backward(lossOf()));
      const gradient = await parameter.tensor.grad!.data();
      if (options.lossType === 'dft') continue; // its factor takes no gradient
      const values = Float32Array.from(await parameter.tensor.data());
      for (const at of [0, 13, 23]) {
        const moved = async (by: number) => {
          parameter.write(values.with(at, values[at]! + by));
          return engine.noGrad(lossOf).item();
        };
        const slope = ((await moved(1e-2)) - (await moved(-1e-2))) / 2e-2;
        parameter.write(values);
        expect(gradient[at]! - slope).toBeCloseTo(0, 2);
      }
    }
  }
});
