import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  type CausalLM,
  causalLmObjective,
  type Objective,
  ops,
  sequenceLogProbs,
  type TokenExample,
  Trainer,
  type TrainingArgumentsInput,
  type UpdateContext,
} from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { Module } from '@attune/core/nn';
import type { PlainJson } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { float32Attune, idRows, minuteLlama, temporaryFolder, weightsOf } from './support.js';

const base = causalLmObjective({ maxLength: 32, preflight: 'off' });

/** One number for each position, from its hidden state. */
class ValueHead extends Module {
  constructor({ engine }: Attune, features: number) {
    super();
    const values = Float32Array.from({ length: features }, (_, i) => 0.1 * Math.sin(i + 1));
    this.addParameter('weight', engine.tensor(values, [1, features])).trainable = true;
  }
}

interface Valued extends Objective<TokenExample> {
  readonly head: ValueHead;
}

/**
 * The language model's loss and a value head's, weighed by a coefficient that grows with each
 * group; the mean of its values so far is kept on the device and is subtracted.
 */
function valued(attune: Attune, fingerprint: Record<string, PlainJson> = { clip: 0.2 }): Valued {
  const { engine } = attune;
  const head = new ValueHead(attune, 8);
  const values = { beta: 0.1, seen: { groups: 0, notes: [] as string[] } };
  const mean = engine.keep(engine.zeros([1]));
  return {
    ...base,
    name: 'valued',
    fingerprint,
    head,
    modules: { value_head: head },
    state: { values: values as Record<string, PlainJson>, tensors: { mean } },
    async *updates(group, { use }) {
      const beta = { data: Float32Array.of(values.beta), shape: [1], dtype: 'float32' } as const;
      if (use === 'training') {
        values.beta *= 1.1; // 0.1, 0.11000000000000001, ...: no digit may be lost
        values.seen.groups++;
        values.seen.notes = [`after ${values.seen.groups}`];
      }
      yield {
        batches: group.map((batch) => ({ ...batch, beta })),
        metrics: { beta: values.beta, 'reward/mean': { sum: values.seen.groups, count: 2 } },
      };
    },
    standIn: (batch) => ({
      ...batch,
      beta: { data: new Float32Array(1), shape: [1], dtype: 'float32' },
    }),
    loss(model, batch) {
      const { loss, ...rest } = base.loss(model, batch);
      const hidden = model.hiddenStates({ inputIds: batch.inputIds! });
      const weight = head.ownParameters.get('weight')!.tensor;
      const guess = hidden.reshape(batch.labels!.size, -1).matmul(weight.transpose()); // [B*T, 1]
      const error = guess.sub(mean).sub(1).square().sum();
      engine.noGrad(() => ops.accumulate(mean, guess.mean().reshape(1), 0.1));
      return { loss: loss.add(error.mul(batch.beta!.reshape())), ...rest };
    },
  };
}

async function make({
  args = {},
  objectiveOf = (attune: Attune): Objective<TokenExample> => valued(attune),
}: {
  args?: TrainingArgumentsInput;
  objectiveOf?: (attune: Attune, model: CausalLM) => Objective<TokenExample>;
} = {}) {
  const attune = await float32Attune();
  const model = await minuteLlama(attune, 3);
  const objective = objectiveOf(attune, model);
  const trainer = new Trainer({
    model,
    objective: objective as Objective,
    trainDataset: idRows(11),
    evalDataset: idRows(3),
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      learningRate: 0.01,
      maxSteps: 6,
      saveSteps: 3,
      loggingSteps: 2,
      seed: 5,
      ...args,
    },
  });
  return { attune, model, trainer, objective };
}

const headOf = async ({ modules, state }: Objective<TokenExample>) => ({
  weight: [...(await modules!.value_head!.ownParameters.get('weight')!.tensor.data())],
  mean: [...(await state!.tensors!.mean!.data())],
  values: structuredClone(state!.values),
});

async function saved(folder: string, name: string): Promise<number[]> {
  await using file = await SafetensorsFile.open(join(folder, 'objective.safetensors'));
  return [...((await file.read(name)).data as Float32Array)];
}

describe('modules and state of an objective', () => {
  test('are trained, and go on from a checkpoint bit for bit', async () => {
    const whole = await make();
    const start = await headOf(whole.objective);
    await whole.trainer.train();
    const end = await headOf(whole.objective);
    expect(end.weight).not.toEqual(start.weight);
    expect(end.values).toMatchObject({ seen: { groups: 6, notes: ['after 6'] } });
    const { outputDir } = whole.trainer.args;
    const folder = join(outputDir, 'checkpoint-3');
    expect(await readdir(folder)).toEqual(
      expect.arrayContaining(['objective.safetensors', 'objective_state.safetensors']),
    );
    const resumed = await make();
    await resumed.trainer.train({ resumeFromCheckpoint: folder });
    expect(await headOf(resumed.objective)).toEqual(end);
    expect(await weightsOf(resumed.model)).toEqual(await weightsOf(whole.model));
    const losses = ({ state }: Trainer) => state.logHistory.map(({ loss, beta }) => [loss, beta]);
    expect(losses(resumed.trainer)).toEqual(losses(whole.trainer));
  });

  test('the best ones come back at the end; weights alone without the state', async () => {
    const { trainer, objective, model } = await make({
      args: {
        saveSteps: 2,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveOnlyModel: true,
        loadBestModelAtEnd: true,
        metricForBestModel: 'eval_beta', // it grows
        greaterIsBetter: false,
      },
    });
    await trainer.train();
    const { outputDir } = trainer.args;
    const [best, last] = [join(outputDir, 'checkpoint-2'), join(outputDir, 'checkpoint-6')];
    expect(trainer.state.bestModelCheckpoint).toBe(best);
    const { weight } = await headOf(objective);
    expect(weight).toEqual(await saved(best, 'value_head.weight'));
    expect(weight).not.toEqual(await saved(last, 'value_head.weight'));
    expect(await readdir(best)).not.toContain('objective_state.safetensors');
    await trainer.saveModel(join(outputDir, 'final'));
    expect(await readdir(join(outputDir, 'final'))).toEqual(['config.json', 'model.safetensors']);
    expect(model.root.training).toBe(false);
  });

  test('are in the memory plan, which leaves them as they are', async () => {
    const { trainer, objective } = await make();
    const before = await headOf(objective);
    const plan = await trainer.planMemory();
    const other = await make({
      objectiveOf(attune) {
        const { modules: _, ...without } = valued(attune);
        return without;
      },
    });
    const planned = await other.trainer.planMemory();
    expect(plan.trainedParameters - planned.trainedParameters).toBe(8);
    expect(plan.bytesOf('weights')).toBeGreaterThan(planned.bytesOf('weights'));
    expect(plan.bytesOf('optimizer')).toBeGreaterThan(planned.bytesOf('optimizer'));
    expect(await headOf(objective)).toEqual(before);
  });

  test('a batch size is looked for without a trace in the state', async () => {
    const groups: unknown[] = [];
    const { trainer } = await make({
      args: { autoFindBatchSize: true, maxSteps: 1 },
      objectiveOf(attune) {
        const objective = valued(attune);
        return {
          ...objective,
          async *updates(group, context) {
            groups.push(structuredClone(objective.state!.values!.seen));
            yield* objective.updates!(group, context);
          },
        };
      },
    });
    await trainer.train();
    expect(groups.length).toBeGreaterThan(1);
    for (const seen of groups) expect(seen).toEqual({ groups: 0, notes: [] });
  });

  test('a head of another shape, and a state that JSON cannot hold, are refused', async () => {
    const first = await make();
    await first.trainer.train();
    const folder = join(first.trainer.args.outputDir, 'checkpoint-3');
    const renamed = await make({
      objectiveOf(attune) {
        const { head, ...objective } = valued(attune);
        return { ...objective, modules: { critic: head } };
      },
    });
    await expect(renamed.trainer.train({ resumeFromCheckpoint: folder })).rejects.toThrow(
      /CHECKPOINT_MISMATCH: .*objective\.safetensors has no "critic\.weight"/,
    );
    const broken = await make({
      objectiveOf(attune) {
        const objective = valued(attune);
        objective.state!.values!.seen = { groups: Number.NaN, notes: [] };
        return objective;
      },
    });
    await expect(broken.trainer.train()).rejects.toThrow(
      /OBJECTIVE_STATE: objective "valued": state\.values\.seen\.groups is NaN/,
    );
  });
});

describe('the fingerprint of an objective', () => {
  test('another one is refused on resume, with what changed', async () => {
    const { trainer } = await make();
    await trainer.train();
    const folder = join(trainer.args.outputDir, 'checkpoint-3');
    const json = JSON.parse(await readFile(join(folder, 'attune_state.json'), 'utf8'));
    expect(json.objective).toMatchObject({
      name: 'valued',
      fingerprint: { clip: 0.2, maxLength: 32, packing: 'none' },
      values: { seen: { groups: 3 } },
    });
    const resume = async (objectiveOf: (attune: Attune) => Objective<TokenExample>) =>
      (await make({ objectiveOf })).trainer.train({ resumeFromCheckpoint: folder });
    await expect(resume((attune) => valued(attune, { clip: 0.3, kinds: ['a'] }))).rejects.toThrow(
      /CHECKPOINT_MISMATCH: .*checkpoint-3: clip was 0\.2 and is 0\.3, kinds was not there and is \["a"\]\./,
    );
    await expect(
      resume((attune) => ({
        ...valued(attune),
        rows: causalLmObjective({ maxLength: 8, completionOnlyLoss: true }).rows!,
      })),
    ).rejects.toThrow(/maxLength was 32 and is 8, completionOnlyLoss was null and is true/);
    await expect(resume((attune) => ({ ...valued(attune), name: 'other' }))).rejects.toThrow(
      /the objective was "valued" and is "other"/,
    );
  });

  test('the order of keys is no change; a checkpoint that has none is read', async () => {
    const objectiveOf = (fingerprint: Record<string, PlainJson>) => (attune: Attune) =>
      valued(attune, fingerprint);
    const { trainer } = await make({ objectiveOf: objectiveOf({ a: 1, b: { c: 2, d: [3] } }) });
    await trainer.train();
    const { outputDir } = trainer.args;
    const other = await make({ objectiveOf: objectiveOf({ b: { d: [3], c: 2 }, a: 1 }) });
    const { globalStep } = await other.trainer.train({
      resumeFromCheckpoint: join(outputDir, 'checkpoint-3'),
    });
    expect(globalStep).toBe(6);
    // As they were before objectives were in them.
    const path = join(outputDir, 'checkpoint-3', 'attune_state.json');
    const { objective: _, ...old } = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify(old));
    await writeFile(
      join(outputDir, 'checkpoint-3', 'attune_checkpoint.json'),
      await manifestOf(outputDir, path),
    );
    const third = await make({ objectiveOf: objectiveOf({ a: 7 }) });
    await third.trainer.train({ resumeFromCheckpoint: join(outputDir, 'checkpoint-3') });
    expect(third.trainer.state.globalStep).toBe(6);
  });
});

async function manifestOf(outputDir: string, changed: string): Promise<string> {
  const { createHash } = await import('node:crypto');
  const folder = join(outputDir, 'checkpoint-3');
  const manifest = JSON.parse(await readFile(join(folder, 'attune_checkpoint.json'), 'utf8'));
  const bytes = await readFile(changed);
  manifest.files['attune_state.json'] = {
    bytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
  return JSON.stringify(manifest);
}

describe('metrics of the host', () => {
  test('with the name of one of the device are refused', async () => {
    const objectiveOf = (): Objective<TokenExample> => ({
      ...base,
      async *updates(batches) {
        yield { batches, metrics: { meanTokenAccuracy: 1 } };
      },
    });
    const { trainer } = await make({ objectiveOf });
    const twice =
      /OBJECTIVE_METRIC: the metric "meanTokenAccuracy" comes from updates\(\) and from loss/;
    await expect(trainer.train()).rejects.toThrow(twice);
    await expect(trainer.evaluate()).rejects.toThrow(twice);
  });

  test('are logged as sums over counts of the updates since the last log, and in an evaluation', async () => {
    const { trainer } = await make({
      args: { loggingSteps: 3, evalStrategy: 'steps', evalSteps: 6, perDeviceEvalBatchSize: 1 },
    });
    await trainer.train();
    const rows = trainer.state.logHistory.filter((row) => row.gradNorm !== undefined);
    const betas = Array.from({ length: 6 }, (_, i) => 0.1 * 1.1 ** (i + 1));
    const mean = (list: readonly number[]) => list.reduce((a, b) => a + b) / list.length;
    expect(rows[0]!.beta).toBeCloseTo(mean(betas.slice(0, 3)), 12);
    expect(rows[1]!.beta).toBeCloseTo(mean(betas.slice(3)), 12);
    expect(rows.map((row) => row['reward/mean'])).toEqual([6 / 6, 15 / 6]);
    expect(rows[0]!.meanTokenAccuracy).toEqual(expect.any(Number));
    const evaluation = trainer.state.logHistory.find((row) => row.evalLoss !== undefined)!;
    expect(evaluation.evalBeta).toBeCloseTo(betas[5]!, 12);
    expect(evaluation['eval_reward/mean']).toBe(6 / 2);
    expect(evaluation.evalPerplexity).toEqual(expect.any(Number));
  });
});

describe('what updates() is told', () => {
  const precisions = [{}, { bf16: true }, { fp16: true }] as const;
  test.each(precisions)('log-probs of inference() are those of the loss: %o', async (precision) => {
    let plain: readonly number[] = [];
    let told: readonly number[] = [];
    const { trainer } = await make({
      args: {
        ...precision,
        maxSteps: 3,
        loggingSteps: 1,
        saveStrategy: 'no',
        neftuneNoiseAlpha: 0,
      },
      objectiveOf: (attune, model) => ({
        ...base,
        async *updates(group, { inference }) {
          const batches = [];
          for (const batch of group) {
            const old = await inference(batch, (b) => ({ old: sequenceLogProbs(model, b).sums }));
            told = [...old.old!.data];
            batches.push({ ...batch, ...old });
            // Without the dtype of the run they are others.
            const bare = attune.engine.noGrad(() =>
              attune.engine.scope(
                'bare',
                () =>
                  sequenceLogProbs(
                    model,
                    Object.fromEntries(
                      Object.entries(batch).map(([name, { data, shape, dtype }]) => [
                        name,
                        attune.engine.fromBytes(data, shape, dtype),
                      ]),
                    ),
                  ).sums,
              ),
            );
            plain = [...(await bare.data())];
            bare.dispose();
          }
          yield { batches };
        },
        loss(_, batch) {
          const { sums } = sequenceLogProbs(model, batch);
          const difference = sums.sub(batch.old!).abs().sum().reshape(1);
          return { loss: sums.sum().neg(), metrics: { difference: { sum: difference, count: 1 } } };
        },
      }),
    });
    await trainer.train();
    const rows = trainer.state.logHistory.filter((row) => row.difference !== undefined);
    expect(rows.map((row) => row.difference)).toEqual([0, 0, 0]);
    if ('bf16' in precision || 'fp16' in precision) expect(told).not.toEqual(plain);
    else expect(told).toEqual(plain);
  });

  test('inference() has no dropout and no noise, leaves no tensor and training mode', async () => {
    const told: number[][] = [];
    const { trainer, attune } = await make({
      args: { maxSteps: 1, saveStrategy: 'no', neftuneNoiseAlpha: 50 },
      objectiveOf: (_, model) => ({
        ...base,
        async *updates(group, { inference }) {
          const live = model.engine.liveTensors;
          for (let i = 0; i < 2; i++) {
            const { old } = await inference(group[0]!, (b) => ({
              old: sequenceLogProbs(model, b).sums,
            }));
            told.push([...old!.data]);
          }
          expect(model.engine.liveTensors).toBe(live);
          expect(model.root.training).toBe(true);
          yield { batches: group };
        },
      }),
    });
    const live = attune.engine.liveTensors;
    await trainer.train();
    expect(told[1]).toEqual(told[0]);
    expect(attune.engine.liveTensors).toBe(live);
  });

  const recorded = (contexts: UpdateContext[]): Objective<TokenExample> => ({
    ...base,
    async *updates(batches, context) {
      contexts.push(context);
      yield { batches };
    },
  });

  test('seeds are of the group, the same after a resume, and in each evaluation', async () => {
    const whole: UpdateContext[] = [];
    const args = { evalStrategy: 'steps', evalSteps: 3, perDeviceEvalBatchSize: 1 } as const;
    const first = await make({ args, objectiveOf: () => recorded(whole) });
    await first.trainer.train();
    const seeds = (list: readonly UpdateContext[], of: string) =>
      list.filter(({ use }) => use === of).map(({ seed }) => seed);
    expect(new Set(seeds(whole, 'training')).size).toBe(6);
    const evaluations = seeds(whole, 'evaluation');
    expect(new Set(evaluations).size).toBe(3);
    expect(evaluations.slice(3)).toEqual(evaluations.slice(0, 3));
    const rest: UpdateContext[] = [];
    const second = await make({ args, objectiveOf: () => recorded(rest) });
    await second.trainer.train({
      resumeFromCheckpoint: join(first.trainer.args.outputDir, 'checkpoint-3'),
    });
    expect(seeds(rest, 'training')).toEqual(seeds(whole, 'training').slice(3));
    const other: UpdateContext[] = [];
    await (
      await make({ args: { ...args, seed: 6 }, objectiveOf: () => recorded(other) })
    ).trainer.train();
    expect(seeds(other, 'training')[0]).not.toBe(seeds(whole, 'training')[0]);
  });

  test('a client with an abort error of its own ends the run as cleanly', async () => {
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const { trainer } = await make({
      args: { saveSteps: 100 },
      objectiveOf: () => ({
        ...base,
        async *updates(batches, { step, signal }) {
          signals.push(signal);
          if (step === 3) {
            controller.abort();
            throw new Error('APIUserAbortError');
          }
          yield { batches };
        },
      }),
    });
    const output = await trainer.train({ signal: controller.signal });
    expect(output).toMatchObject({ globalStep: 2, stoppedBy: 'abort' });
    expect(await readdir(trainer.args.outputDir)).toEqual(['checkpoint-2']);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, true]);
  });

  test('a group whose first update was done is finished: its signal stays silent', async () => {
    const controller = new AbortController();
    const seen: boolean[] = [];
    const { trainer } = await make({
      objectiveOf: () => ({
        ...base,
        async *updates(batches, { signal }) {
          yield { batches };
          controller.abort();
          seen.push(signal.aborted);
          yield { batches };
        },
      }),
    });
    const output = await trainer.train({ signal: controller.signal });
    expect(output).toMatchObject({ globalStep: 2, stoppedBy: 'abort' });
    expect(seen).toEqual([false]);
  });

  test('an error in the middle of a group is an error, also while the run is to end', async () => {
    const controller = new AbortController();
    const { trainer } = await make({
      objectiveOf: () => ({
        ...base,
        async *updates(batches) {
          yield { batches };
          controller.abort();
          throw new Error('no second update');
        },
      }),
    });
    await expect(trainer.train({ signal: controller.signal })).rejects.toThrow('no second update');
  });
});

test('the plan and groupByLength go by the longest text of an example that has several', async () => {
  const text = (length: number) => {
    const ids = Array.from({ length }, (_, t) => t % 17);
    return { inputIds: ids, labels: ids };
  };
  type Pair = Record<'chosen' | 'rejected', TokenExample>;
  const pair = (a: number, b: number): Pair => ({ chosen: text(a), rejected: text(b) });
  const attune = await float32Attune();
  const objective: Objective<Pair> = {
    name: 'pairs',
    collate: (pairs) => base.collate(pairs.flatMap(({ chosen, rejected }) => [chosen, rejected])),
    countItems: base.countItems,
    loss: base.loss,
  };
  const trainer = new Trainer({
    model: await minuteLlama(attune),
    objective,
    trainDataset: [pair(40, 40), pair(3, 60), pair(2, 5)],
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 1,
      maxSteps: 1,
      saveStrategy: 'no',
      groupByLength: true,
    },
  });
  expect((await trainer.planMemory()).batch.inputIds).toEqual([2, 60]);
  await trainer.train(); // every example has a length
});

describe('metrics that the device counts', () => {
  test('are sums by their own counts, and left out where there is nothing', async () => {
    const { trainer } = await make({
      args: { maxSteps: 2, loggingSteps: 1, saveStrategy: 'no' },
      objectiveOf: () => ({
        ...base,
        loss(model, batch) {
          const { loss } = base.loss(model, batch);
          const { engine } = model;
          const [values, none] = engine.noGrad(() => [
            engine.tensor(Float32Array.of(6), [1]),
            engine.zeros([1]),
          ]);
          const count = engine.tensor(Float32Array.of(4), [1]);
          return {
            loss,
            metrics: { ratio: { sum: values!, count }, absent: { sum: none!, count: none! } },
          };
        },
      }),
    });
    await trainer.train();
    for (const logs of trainer.state.logHistory.slice(0, 2)) {
      expect(logs.ratio).toBe(1.5);
      expect(logs).not.toHaveProperty('absent');
    }
    const metrics = await trainer.evaluate();
    expect(metrics.evalRatio).toBe(1.5);
    expect(metrics).not.toHaveProperty('evalAbsent');
  });
});

test('disableDropout: modules answer as in an evaluation while they learn', async () => {
  for (const disableDropout of [true, false]) {
    const seen = new Set<boolean>();
    const { trainer } = await make({
      args: { maxSteps: 1, saveStrategy: 'no' },
      objectiveOf: () => ({
        ...base,
        disableDropout,
        loss(model, batch) {
          for (const [, module] of model.root.namedModules()) seen.add(module.training);
          return base.loss(model, batch);
        },
      }),
    });
    await trainer.train();
    expect([...seen]).toEqual([!disableDropout]);
  }
});
