import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  type CausalLM,
  collateTokens,
  createAttune,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { fixture, fixtureJson, temporaryFolder } from './support.js';

interface Case {
  readonly name: string;
  readonly attrs: {
    model: string;
    changes: object;
    kind: 'packed' | 'padded' | 'generated';
    rows: number[][];
    beams: number;
  };
  readonly outputs: { loss: number };
  readonly ids: number[][];
}

const all = (fixtureJson('row231-rope-lengths.json') as { cases: Case[] }).cases;
const cases = all.filter(({ attrs }) => attrs.kind !== 'generated');

const reference = () => createAttune({ backend: 'reference', logger: silentLogger });

async function load(attune: Attune, { model, changes }: Case['attrs']): Promise<CausalLM> {
  const folder = await temporaryFolder();
  await cp(fixture(model), folder, { recursive: true });
  const path = join(folder, 'config.json');
  const config = JSON.parse(await readFile(path, 'utf8'));
  await writeFile(path, JSON.stringify({ ...config, ...changes }));
  return AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
}

async function trainerOf(model: CausalLM, { kind, rows }: Case['attrs'], more: object = {}) {
  const packing = kind === 'packed';
  return new SFTTrainer({
    model,
    trainDataset: rows.map((input_ids) => ({ input_ids })),
    args: {
      outputDir: await temporaryFolder(),
      saveStrategy: 'no',
      maxSteps: 1,
      learningRate: 0,
      shuffle: false,
      perDeviceTrainBatchSize: packing ? 1 : rows.length,
      perDeviceEvalBatchSize: packing ? 1 : rows.length,
      maxLength: 64,
      packing,
      loggingSteps: 1,
      ...more,
    },
  });
}

describe('dynamic and longrope take their frequencies from the longest text of a batch', () => {
  test.each(cases)('$name: the loss is that of transformers', async ({ attrs, outputs }) => {
    await using attune = await reference();
    const model = await load(attune, attrs);
    const other = attrs.kind === 'packed' ? { gradientCheckpointing: true } : { maxLength: 128 };
    for (const more of [{}, other]) {
      const trainer = await trainerOf(model, attrs, more);
      await trainer.train();
      const [first] = trainer.state.logHistory as unknown as { loss: number }[];
      // float32 there, float64 here.
      expect(Math.abs(first!.loss - outputs.loss)).toBeLessThan(2e-5);
      const { evalLoss } = await trainer.evaluate(attrs.rows.map((input_ids) => ({ input_ids })));
      expect(Math.abs(evalLoss - outputs.loss)).toBeLessThan(2e-5);
    }
  });

  test.each(cases)('$name: a plan before the run changes nothing', async ({ attrs, outputs }) => {
    await using attune = await reference();
    const trainer = await trainerOf(await load(attune, attrs), attrs);
    await trainer.planMemory();
    await trainer.train();
    const [first] = trainer.state.logHistory as unknown as { loss: number }[];
    expect(Math.abs(first!.loss - outputs.loss)).toBeLessThan(2e-5);
  });

  test('the reach of positions is the longest text, whatever surrounds it', () => {
    const example = (seqLengths: number[]) => {
      const inputIds = new Int32Array(seqLengths.reduce((sum, n) => sum + n, 0));
      return { inputIds, labels: inputIds, seqLengths };
    };
    const reach = (...rows: number[][]) => collateTokens(rows.map(example), 256).positions.reach;
    expect(reach([20, 14, 18])).toBe(20);
    expect(reach([5], [40, 3], [41])).toBe(41);
    expect(reach([0])).toBe(1);
  });

  test('texts of different lengths before one backward pass keep their own frequencies', async () => {
    await using attune = await reference();
    const { attrs } = cases.find(({ name }) => name.startsWith('tiny-llama, padded: a long'))!;
    const model = await load(attune, attrs);
    const { engine } = model;
    const gradientOf = (lengths: readonly number[]): Promise<ArrayLike<number>> => {
      const weight = [...model.root.namedParameters()].find(
        ([name]) => name === 'model.layers.0.self_attn.q_proj.weight',
      )![1].tensor;
      weight.grad = null;
      engine.scope('step', () => {
        const losses = lengths.map((n) => {
          const inputIds = engine.tensor(
            Int32Array.from({ length: n }, (_, t) => t + 3),
            [1, n],
            'int32',
          );
          return model.forward({ inputIds }).square().sum();
        });
        engine.backward(losses.reduce((a, b) => a.add(b)));
      });
      return weight.grad!.data();
    };
    const [both, one, other] = [
      await gradientOf([40, 50]),
      await gradientOf([40]),
      await gradientOf([50]),
    ];
    for (const i of [0, 1, 77, 4000]) expect(both[i]).toBeCloseTo(one[i]! + other[i]!, 4);
  });

  test.each(all.filter(({ attrs }) => attrs.kind === 'generated'))(
    '$name: the tokens are those of transformers',
    async ({ attrs, ids }) => {
      await using attune = await reference();
      const model = await load(attune, attrs);
      const { sequences } = await model.generate({
        inputIds: attrs.rows,
        numBeams: attrs.beams,
        maxNewTokens: 20,
        eosTokenId: null,
      });
      expect(sequences).toEqual(ids);
    },
  );
});
