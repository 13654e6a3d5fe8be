import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  Rng,
  SafetensorsFile,
} from '@attune/core';
import { Matrix } from 'ml-matrix';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keysToCamel } from '../../../core/src/util/json.js';
import { fixture, fixtureJson, largestDifference } from '../../../core/test/models/support.js';
import {
  combine,
  electAndMerge,
  pruneAtRandom,
  pruneByMagnitude,
} from '../../src/algebra/arithmetic.js';
import { toMatrix, truncate, truncateProduct } from '../../src/algebra/lowRank.js';
import { getPeftModel, PeftModel, peft, type WeightedAdapterOptions } from '../../src/index.js';
import { loraScaling } from '../../src/methods/lora.js';
import type { AdaptedLinear } from '../../src/slots/adaptedLinear.js';
import { disturb, logits } from '../support.js';

const { base, layer, weights, ranks, options } = fixtureJson('weighted-adapters/cases.json');
const cases = Object.entries(options) as [string, Record<string, unknown>][];

let attune: Attune;
let model: PeftModel;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', plugins: [peft()] });
  const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), { attune });
  model = await PeftModel.fromPretrained(plain, fixture('weighted-adapters/one'), {
    adapterName: 'one',
  });
  await model.loadAdapter(fixture('weighted-adapters/two'), { adapterName: 'two' });
});
afterAll(() => attune.dispose());

/** scale * B A of an adapter on a layer. */
async function delta(adapter: string, path = layer): Promise<Float64Array> {
  const slot = model.root.submodule<AdaptedLinear>(path);
  const config = slot.configOf(adapter) as unknown as Parameters<typeof loraScaling>[0];
  const read = async (side: string) => {
    const { tensor } = slot.parametersOf(adapter).get(`${path}.lora_${side}.weight`)!;
    const [rows, columns] = tensor.shape as [number, number];
    return toMatrix({ rows, columns, data: await tensor.data() });
  };
  const product = (await read('B')).mmul(await read('A')).mul(loraScaling(config));
  return Float64Array.from(product.to1DArray());
}

async function make(given: Partial<WeightedAdapterOptions>): Promise<string> {
  const adapterName = `made${model.adapterNames.length}`;
  await model.addWeightedAdapter({ adapters: ['one', 'two'], weights, adapterName, ...given });
  return adapterName;
}

describe('row 108: as PEFT combines', () => {
  it.each(cases)('%s', async (name, given) => {
    const separate = !/svd|cat/.test(name);
    const made = await make({ ...keysToCamel(given), peftCompat: separate });
    await using expected = await SafetensorsFile.open(
      fixture('weighted-adapters/expected.safetensors'),
    );
    const theirs = (await expected.read(name)).data as Float32Array;
    expect(largestDifference(await delta(made), theirs)).toBeLessThan(1e-5);
    expect(model.root.submodule<AdaptedLinear>(layer).configOf(made)!.r).toBe(ranks[name]);
    model.deleteAdapter(made);
  });
});

describe('weight differences', () => {
  it('"linear" is the sum of the adapters, on layers that only one has too', async () => {
    const made = await make({ combinationType: 'linear' });
    const [one, two] = [await delta('one'), await delta('two')];
    const sum = one.map((v, i) => weights[0] * v + weights[1] * two[i]!);
    expect(largestDifference(await delta(made), sum)).toBeLessThan(1e-6);
    const value = layer.replace('q_proj', 'v_proj');
    const alone = (await delta('one', value)).map((v) => weights[0] * v);
    expect(largestDifference(await delta(made, value), alone)).toBeLessThan(1e-6);
    model.deleteAdapter(made);
  });

  // Row 109: one adapter with weight 1 is itself, whatever its scaling.
  it.each(['one', 'two'])('one adapter with weight 1 is itself: %s', async (name) => {
    for (const given of [
      { combinationType: 'svd' },
      { combinationType: 'cat' },
      { combinationType: 'linear' },
      { combinationType: 'linear', peftCompat: true },
      { combinationType: 'ties', density: 1 },
      { combinationType: 'dare_linear', density: 1 },
      { combinationType: 'magnitude_prune', density: 1 },
    ] as const) {
      const made = await make({ adapters: [name], weights: [1], ...given });
      expect(largestDifference(await delta(made), await delta(name))).toBeLessThan(1e-5);
      model.deleteAdapter(made);
    }
  });

  // Row 109, with the variants of LoRA: the same function, or a refusal that says why.
  it.each<[string, Record<string, unknown>, RegExp | null]>([
    ['rsLoRA', { useRslora: true, loraAlpha: 3 }, null],
    ['patterns', { rankPattern: { q_proj: 2 }, alphaPattern: { v_proj: 24 } }, null],
    ['rsLoRA with patterns', { useRslora: true, rankPattern: { 'layers.0.*': 7 } }, null],
    ['orthogonal', { initLoraWeights: 'orthogonal' }, null],
    ['embedding and head', { targetModules: ['embed_tokens', 'lm_head'] }, null],
    ['dropout', { loraDropout: 0.3 }, null],
    ['DoRA', { useDora: true }, /magnitudes \(useDora\)/],
    ['PiSSA', { initLoraWeights: 'pissa' }, /started with a part of the base/],
    ['OLoRA', { initLoraWeights: 'olora' }, /started with a part of the base/],
    ['loraBias', { loraBias: true }, /trains biases/],
    ['modulesToSave', { modulesToSave: ['norm'] }, /trains whole modules/],
    ['(IA)3', { peftType: 'IA3', targetModules: ['k_proj', 'down_proj'] }, /is a IA3 adapter/],
    ['VeRA', { peftType: 'VERA', r: 8 }, /is a VERA adapter/],
  ])('one adapter with weight 1 is itself, or refused: %s', async (_, options, refusal) => {
    const base = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    const isLora = options.peftType === undefined;
    const config = { ...(isLora && { r: 4, loraAlpha: 8, targetModules: ['q_proj', 'v_proj'] }) };
    const own = getPeftModel(base, { peftType: 'LORA', ...config, ...options });
    await own.ready();
    disturb(own);
    for (const combinationType of ['svd', 'cat', 'linear'] as const) {
      const adapterName = `as-${combinationType}`;
      const made = own.addWeightedAdapter({
        adapters: ['default'],
        weights: [1],
        adapterName,
        combinationType,
      });
      if (refusal) {
        await expect(made).rejects.toThrow(refusal);
        continue;
      }
      await made;
      own.setAdapter('default');
      const alone = await logits(own);
      own.setAdapter(adapterName);
      expect(largestDifference(await logits(own), alone)).toBeLessThan(1e-4);
    }
    base.dispose();
  });

  it('peftCompat is another function: A and B have cross terms', async () => {
    const [sum, compat] = [
      await make({ combinationType: 'linear' }),
      await make({ combinationType: 'linear', peftCompat: true }),
    ];
    expect(largestDifference(await delta(sum), await delta(compat))).toBeGreaterThan(0.1);
    model.deleteAdapter(sum);
    model.deleteAdapter(compat);
  });

  it('dare: the same seed, the same masks', async () => {
    const given = { combinationType: 'dare_ties', density: 0.5 } as const;
    const made = [await make({ ...given, seed: 3 }), await make({ ...given, seed: 3 })];
    made.push(await make({ ...given, seed: 4 }));
    const [a, b, c] = await Promise.all(made.map((name) => delta(name)));
    expect(a).toEqual(b);
    expect(largestDifference(a!, c!)).toBeGreaterThan(0.01);
    for (const name of made) model.deleteAdapter(name);
  });

  it('a new adapter is frozen, and computes when it is chosen', async () => {
    const made = await make({});
    expect(model.activeAdapters).toEqual(['one']);
    model.setAdapter(made);
    expect(model.getNbTrainableParameters().trainable).toBe(0);
    model.setAdapter('one');
    model.deleteAdapter(made);
  });
});

describe('arithmetic', () => {
  const tensor = Float64Array.of(1, -3, 0.5, 2, -2, 0);

  it('keeps the largest, of equal ones the first', () => {
    expect([...pruneByMagnitude(tensor, 0.34)]).toEqual([0, -3, 0, 2, 0, 0]);
    expect([...pruneByMagnitude(tensor, 0)]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('TIES: [1, -2, .1, 3] and [-.5, -1, .2, -4] at density .5', () => {
    const pair = [Float64Array.of(1, -2, 0.1, 3), Float64Array.of(-0.5, -1, 0.2, -4)];
    const rng = new Rng(0);
    const merged = combine('ties', pair, [1, 1], {
      density: 0.5,
      majoritySignMethod: 'total',
      rng,
    });
    expect([...merged]).toEqual([0, -1.5, 0, -4]);
    const counted = electAndMerge(pair, [1, 1], 'frequency');
    expect([...counted]).toEqual([1, -1.5, expect.closeTo(0.15, 10), 3]);
  });

  it('DARE: the mean stays', () => {
    const many = new Float64Array(100_000).fill(1);
    const pruned = pruneAtRandom(many, 0.3, new Rng(5));
    const mean = pruned.reduce((a, b) => a + b, 0) / many.length;
    expect(Math.abs(mean - 1)).toBeLessThan(0.02); // 3 standard deviations: 3 sqrt(.7 / .3 / 1e5)
    expect(new Set(pruned)).toEqual(new Set([0, 1 / 0.3]));
  });

  const random = (rows: number, columns: number, seed: number) => {
    const rng = new Rng(seed);
    return toMatrix({
      rows,
      columns,
      data: Float64Array.from({ length: rows * columns }, () => rng.normal()),
    });
  };

  it('a product is cut without its full size, as if it had been multiplied out', () => {
    const [left, right] = [random(40, 6, 1), random(6, 30, 2)];
    const direct = truncate(left.mmul(right), 3);
    const fast = truncateProduct(left, right, 3);
    const product = ({ a, b }: typeof direct) => toMatrix(b).mmul(toMatrix(a)).to1DArray();
    expect(largestDifference(product(fast), product(direct))).toBeLessThan(1e-10);
  });

  it('large matrices of low rank come back exactly', () => {
    const whole = random(300, 5, 3).mmul(random(5, 280, 4));
    const { a, b } = truncate(whole, 5);
    const back = toMatrix(b).mmul(toMatrix(a));
    expect(Matrix.sub(back, whole).norm()).toBeLessThan(1e-8 * whole.norm());
  });
});

describe('refuses', () => {
  it('peftCompat on adapters of different ranks', async () => {
    model.addAdapter('narrow', { peftType: 'LORA', r: 2, targetModules: ['q_proj'] });
    const options = { adapters: ['one', 'narrow'], combinationType: 'linear' } as const;
    await expect(make({ ...options, peftCompat: true })).rejects.toThrow(
      /PEFT_COMBINATION: .*combines A and B by themselves, and the ranks are 4, 2/,
    );
    model.deleteAdapter(await make(options));
    model.deleteAdapter('narrow');
  });

  it.each<[string, Partial<WeightedAdapterOptions>, string, RegExp]>([
    ['no weights', { weights: [1] }, 'PEFT_COMBINATION', /2 adapters and 1 weights/],
    ['an unknown type', { combinationType: 'tie' as never }, 'PEFT_COMBINATION', /Known: svd/],
    ['ties without density', { combinationType: 'ties' }, 'PEFT_COMBINATION', /needs a density/],
    ['weights that are no numbers', { weights: [1, Number.NaN] }, 'PEFT_COMBINATION', /finite/],
    ['an adapter that is not there', { adapters: ['one', 'x'] }, 'PEFT_ADAPTER_UNKNOWN', /"x"/],
    ['a name that is taken', { adapterName: 'two' }, 'PEFT_ADAPTER_EXISTS', /"two"/],
    ['svdRank 0', { svdRank: 0 }, 'PEFT_COMBINATION', /svdRank is 0/],
  ])('%s', async (_, given, code, says) => {
    const before = [...model.adapterNames];
    await expect(make(given)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(says),
    });
    expect(model.adapterNames).toEqual(before);
  });
});
