import { z } from 'zod';
import { roundAll } from '../arithmetic/products.js';
import { defineMergeMethod, perInput } from '../contract/mergeMethod.js';

const parameters = {
  /** What the tensor is multiplied with. Default null: it stays as it is. */
  scale: perInput(z.number().nullable().default(null)),
};

/** The one input, scale x. It builds models out of layers of others ("frankenmerges"). */
export const passthrough = defineMergeMethod({
  name: 'passthrough',
  title: 'Passthrough',
  base: 'ignored',
  inputs: { min: 1, max: 1 },
  parameters,
  merge: (_group, { scale }, arithmetic) => {
    const factor = scale[0] ?? null;
    return ({ inputs }, out) => {
      const input = inputs[0]!;
      out.set(input);
      if (factor === null) return;
      const held = Math.fround(factor);
      for (let i = 0; i < out.length; i++) out[i] = input[i]! * held;
      roundAll(out, arithmetic);
    };
  },
});
