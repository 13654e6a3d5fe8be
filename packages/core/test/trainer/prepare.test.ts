import {
  AttuneError,
  type Communicator,
  causalLmObjective,
  createAttune,
  type Objective,
  type PrepareContext,
  silentLogger,
  Trainer,
  type TrainingArgumentsInput,
} from '@attune/core';
import { inProcessWorld } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';
import { idRows, minuteLlama, temporaryFolder, weightsOf } from './support.js';

const base = causalLmObjective({ maxLength: 16, preflight: 'off' });

/** An objective that writes down when it is prepared, and when its loss is asked for. */
function noted(prepare: (context: PrepareContext) => Promise<void> = async () => {}) {
  const seen: ('prepare' | 'loss')[] = [];
  const objective: Objective = {
    ...(base as Objective),
    name: 'noted',
    async prepare(context) {
      seen.push('prepare');
      await prepare(context);
    },
    loss(...given) {
      seen.push('loss');
      return base.loss(...given);
    },
  };
  return { seen, objective };
}

async function make(
  objective: Objective,
  args: object = {},
  { communicator, seed = 0 }: { communicator?: Communicator; seed?: number } = {},
) {
  const attune = await createAttune({
    backend: 'reference',
    logger: silentLogger,
    ...(communicator && { communicator }),
  });
  const model = await minuteLlama(attune, seed);
  const trainer = new Trainer({
    model,
    objective,
    trainDataset: idRows(4),
    evalDataset: idRows(3),
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      learningRate: 0.05,
      maxSteps: 2,
      saveStrategy: 'no' as const,
      ...args,
    } as TrainingArgumentsInput,
  });
  return { model, trainer };
}

describe('prepare of an objective', () => {
  const firsts: [string, (trainer: Trainer) => Promise<unknown>, object?][] = [
    ['train', (trainer) => trainer.train()],
    ['train, which evaluates at its start', (trainer) => trainer.train(), { evalOnStart: true }],
    [
      'train, which looks for a batch size',
      (trainer) => trainer.train(),
      { autoFindBatchSize: true },
    ],
    ['train within a budget', (trainer) => trainer.train(), { maxMemory: 2 ** 30 }],
    ['evaluate', (trainer) => trainer.evaluate()],
    ['predict', (trainer) => trainer.predict(idRows(2))],
    ['planMemory', (trainer) => trainer.planMemory()],
    // The reference backend cannot time its work: it says so in the profile, after an update.
    ['profile', (trainer) => trainer.profile({ warmupSteps: 1 }).catch((error) => error)],
    ['tune', (trainer) => trainer.tune().catch((error) => error)],
  ];
  test.each(firsts)('%s has it done once, before its loss', async (_, first, args) => {
    const { seen, objective } = noted();
    const { trainer } = await make(objective, args);
    expect(seen).toEqual([]);
    await first(trainer);
    expect(seen[0]).toBe('prepare');
    await trainer.train();
    await trainer.evaluate();
    await trainer.planMemory();
    expect(seen.filter((what) => what === 'prepare')).toHaveLength(1);
  });

  test('two that come at the same time wait for the same', async () => {
    const { seen, objective } = noted(() => new Promise((resolve) => setTimeout(resolve, 5)));
    const { trainer } = await make(objective);
    await Promise.all([trainer.evaluate(), trainer.planMemory(), trainer.predict(idRows(2))]);
    expect(seen.filter((what) => what === 'prepare')).toHaveLength(1);
    expect(seen[0]).toBe('prepare');
  });

  test('of a resumed run is of the weights before the checkpoint', async () => {
    const prepared: object[] = [];
    const args = { outputDir: await temporaryFolder(), saveStrategy: 'steps', saveSteps: 2 };
    for (const more of [{}, { maxSteps: 4, resumeFromCheckpoint: true }]) {
      const { objective } = noted(async ({ model }) => {
        prepared.push(await weightsOf(model as never));
      });
      const { trainer, model } = await make(objective, { ...args, ...more });
      const began = await weightsOf(model);
      await trainer.train();
      expect(prepared.at(-1)).toEqual(began);
      expect(await weightsOf(model)).not.toEqual(began);
    }
    expect(prepared).toHaveLength(2);
  });

  test('on several ranks is of the weights of rank 0', async () => {
    const prepared: object[] = [];
    await Promise.all(
      inProcessWorld(2).map(async (communicator) => {
        const { objective } = noted(async ({ model }) => {
          prepared[communicator.rank] = await weightsOf(model as never);
        });
        const seed = communicator.rank;
        const { trainer } = await make(objective, {}, { communicator, seed });
        await trainer.train();
      }),
    );
    expect(prepared[1]).toEqual(prepared[0]);
  });

  test('that fails is named, ends the run before its first update, and is tried again', async () => {
    let tries = 0;
    const full = new AttuneError('OUT_OF_MEMORY', 'no room for 5 bytes.', { remedy: 'Take less.' });
    const errors = [new Error('no such file'), full];
    const { seen, objective } = noted(async () => {
      const error = errors[tries++];
      if (error) throw error;
    });
    const { trainer } = await make(objective);
    await expect(trainer.train()).rejects.toMatchObject({
      code: 'OBJECTIVE_PREPARE',
      description: 'objective "noted" could not be prepared: no such file',
      cause: errors[0],
    });
    await expect(trainer.evaluate()).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      description: 'objective "noted" could not be prepared: no room for 5 bytes.',
      remedy: 'Take less.',
    });
    expect(seen).toEqual(['prepare', 'prepare']);
    expect((await trainer.train()).globalStep).toBe(2);
    expect(tries).toBe(3);
  });
});
