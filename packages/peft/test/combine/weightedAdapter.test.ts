import { type Attune, AutoModelForCausalLM, createAttune } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { algebra } from '@attune/core/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keysToCamel } from '../../../core/src/util/json.js';
import { fixture, fixtureJson, largestDifference } from '../../../core/test/models/support.js';
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
    const { tensor } = slot.heldBy(adapter).find(({ name }) => name === side)!.parameter;
    const [rows, columns] = tensor.shape as [number, number];
    return { rows, columns, data: await tensor.data() };
  };
  const product = algebra.product(await read('B'), await read('A'));
  return product.data.map((value) => value * loraScaling(config));
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
