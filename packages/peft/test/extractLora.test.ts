import { type Attune, AutoModelForCausalLM, type CausalLM, createAttune } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fixture, fixtureJson, largestDifference } from '../../core/test/models/support.js';
import { extractLora, peft } from '../src/index.js';
import type { AdaptedLinear } from '../src/slots/adaptedLinear.js';

let attune: Attune;
beforeEach(async () => {
  attune = await createAttune({ backend: 'reference', plugins: [peft()] });
});
afterEach(() => attune.dispose());

const load = () => AutoModelForCausalLM.fromPretrained(fixture('tiny-qwen2'), { attune });

/**
 * A model after training: noise on the weights of its linear layers, the same as in the fixture.
 */
async function tuned(extra: readonly string[] = []): Promise<CausalLM> {
  const model = await load();
  await using noise = await SafetensorsFile.open(fixture('row107-extract/noise.safetensors'));
  for (const [name, parameter] of model.root.namedParameters()) {
    if (!noise.has(name) && !extra.includes(name)) continue;
    const values = await parameter.tensor.data();
    const added = noise.has(name) ? ((await noise.read(name)).data as Float32Array) : null;
    const next = Float32Array.from(values, (v, i) => v + (added ? added[i]! : 0.5));
    attune.backend.write(parameter.tensor.storage.buffer, parameter.tensor.byteOffset, next);
  }
  return model;
}

async function logits(model: { forward: CausalLM['forward'] }) {
  const out = attune.engine.noGrad(() =>
    model.forward({ inputIds: attune.engine.tensor([3, 17, 60, 9], [1, 4], 'int32') }),
  );
  return out.data();
}

describe('extractLora', () => {
  // Row 107: the nearest matrices of that rank, by numpy.
  it.each([2, 8])(
    'rank %i: B A are the leading singular values of the difference',
    async (rank) => {
      const { model, energy } = await extractLora(await load(), await tuned(), { rank });
      const { layers, energies } = fixtureJson('row107-extract/cases.json');
      await using expected = await SafetensorsFile.open(
        fixture('row107-extract/expected.safetensors'),
      );
      for (const path of layers as string[]) {
        const held = model.root.submodule<AdaptedLinear>(path).heldBy('default');
        const factor = (side: string) => held.find((p) => p.name === side)!.parameter.tensor;
        const product = attune.engine.noGrad(() => factor('B').matmul(factor('A')));
        const theirs = (await expected.read(`${path}.r${rank}`)).data as Float32Array;
        expect(largestDifference(await product.data(), theirs)).toBeLessThan(1e-5);
        expect(energy.get(path)!).toBeCloseTo(energies[`${path}.r${rank}`], 4);
      }
    },
  );

  it('with full rank the adapter computes what the tuned model does', async () => {
    const theirs = await logits(await tuned());
    const { model, energy, leftOut } = await extractLora(await load(), await tuned(), { rank: 64 });
    expect(largestDifference(await logits(model), theirs)).toBeLessThan(1e-4);
    for (const share of energy.values()) expect(share).toBeCloseTo(1, 8);
    expect(leftOut).toEqual([]);
    expect(model.getNbTrainableParameters().trainable).toBe(0);
  });

  it('names what it leaves out', async () => {
    const norm = 'model.norm.weight';
    const { leftOut } = await extractLora(await load(), await tuned([norm]), { rank: 4 });
    expect(leftOut).toEqual([norm]);
  });

  it('refuses models that do not belong together, and ranks that are none', async () => {
    const other = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    await expect(extractLora(await load(), other, { rank: 4 })).rejects.toMatchObject({
      code: 'PEFT_OTHER_BASE',
      message: expect.stringMatching(/q_proj.*\[32,32\].*\[64,64\]/),
    });
    await expect(extractLora(await load(), other, { rank: 0 })).rejects.toMatchObject({
      code: 'PEFT_CONFIG_INVALID',
    });
  });
});
