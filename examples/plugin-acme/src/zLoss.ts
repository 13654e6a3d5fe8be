import {
  causalLmObjective,
  countLabels,
  defineObjective,
  IGNORE_INDEX,
  type Objective,
  ops,
  type TokenExample,
} from '@attune/core';
import { z } from 'zod';

/**
 * Predicting the next token, and keeping log Z = logsumexp(logits) near 0:
 * sum over the labelled positions of -log p(label) + weight (log Z)^2.
 *
 * Rows, batches and items are those of SFT. See PaLM, arXiv:2204.02311, section 5.
 */
export const zLoss = defineObjective({
  name: 'acme-z-loss',
  options: z.strictObject({ weight: z.number().min(0).default(1e-4) }),
  create({ args }, { weight }): Objective<TokenExample> {
    const { rows, collate } = causalLmObjective({ maxLength: args.maxLength! });
    return {
      name: 'acme-z-loss',
      rows: rows!,
      fingerprint: { weight },
      collate(examples) {
        const batch = collate(examples);
        const { data, shape } = batch.labels!; // int32 [B, T]
        const isLearned = Float32Array.from(data, (label) => Number(label !== IGNORE_INDEX));
        return { ...batch, isLearned: { data: isLearned, shape, dtype: 'float32' } };
      },
      countItems: ({ labels }) => countLabels(labels!.data),
      loss(model, { inputIds, labels, positions, segments, isLearned }) {
        const hidden = model.hiddenStates({
          inputIds: inputIds!,
          positions: positions!,
          segments: segments!,
        });
        const logits = model.head(hidden.reshape(labels!.size, -1)); // [B*T, V]
        const nll = ops.crossEntropy(logits, labels!.reshape(-1)).sum(); // 0 where not learned
        const logZ = logits.sub(logits.logSoftmax()).mean(-1); // [B*T]: each of the V is log Z
        const squares = logZ.square().mul(isLearned!.reshape(-1)).sum();
        const metrics = { zLoss: { sum: squares.detach() } };
        return { loss: nll.add(squares.mul(weight)), metrics };
      },
    };
  },
});
