import type { LanguageModel } from '../../models/languageModel.js';
import { Embedding } from '../../nn/embedding.js';
import { PADDING_SEGMENT } from '../../text/collator.js';
import type { HostBatch } from '../../training/batch.js';
import { AttuneError } from '../../util/errors.js';

/**
 * NEFTune (Jain et al. 2023, https://arxiv.org/abs/2310.05914): until it is disposed, noise uniform
 * in [-1, 1) times alpha / sqrt(L D) on the input embeddings; L: tokens of the longest row of the
 * batch, padding left out, D: features. The noise follows the run's seed, also across a resume.
 *
 * @param alpha null or 0: no noise
 * @throws NEFTUNE_UNSUPPORTED for a model without an `Embedding`
 */
export function embeddingNoise(
  model: LanguageModel,
  alpha: number | null,
  batch: HostBatch,
): Disposable | null {
  if (!alpha) return null;
  const embedding = inputEmbedding(model);
  embedding.noise = noiseMagnitude(alpha, longestRow(batch), embedding.features);
  return {
    [Symbol.dispose]() {
      embedding.noise = 0;
    },
  };
}

export const noiseMagnitude = (alpha: number, length: number, features: number): number =>
  alpha / Math.sqrt(Math.max(1, length) * features);

/** The table of the token ids: the first of the tree. */
function inputEmbedding(model: LanguageModel): Embedding {
  for (const [, module] of model.root.namedModules())
    if (module instanceof Embedding) return module;
  throw new AttuneError(
    'NEFTUNE_UNSUPPORTED',
    `neftuneNoiseAlpha: the model (${model.config.modelType}) has no Embedding to add noise to.`,
    { remedy: 'Leave neftuneNoiseAlpha out, or build the model with Embedding from @attune/core.' },
  );
}

function longestRow({ inputIds, segments }: HostBatch): number {
  const [rows = 1, width = 1] = inputIds?.shape ?? [];
  if (!segments) return width;
  let longest = 0;
  for (let row = 0; row < rows; row++) {
    let length = 0;
    for (let t = row * width; t < (row + 1) * width; t++)
      if (segments.data[t] !== PADDING_SEGMENT) length++;
    longest = Math.max(longest, length);
  }
  return longest;
}
