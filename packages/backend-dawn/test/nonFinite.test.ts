import { AutoModelForCausalLM } from '@attune/core';
import { expect, test } from 'vitest';
import { fixture, onDawn } from './support.js';

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  'generate says that logits are not finite: a weight is %d',
  async (value) => {
    await using attune = await onDawn();
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    const options = { inputIds: [[1, 5, 9]], maxNewTokens: 4 };
    expect((await model.generate(options)).sequences[0]).toHaveLength(7);
    const norm = new Map(model.root.namedParameters()).get('model.norm.weight')!;
    const values = (await norm.tensor.data()).slice() as Float32Array;
    norm.write(values.map((v, i) => (i === 5 ? value : v)) as Float32Array);
    await expect(model.generate(options)).rejects.toThrow(/GENERATE_NON_FINITE/);
  },
);
