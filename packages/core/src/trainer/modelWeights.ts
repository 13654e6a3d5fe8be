import { WeightFolder } from '../io/weights.js';
import type { LanguageModel } from '../models/languageModel.js';
import { hasOtherHead } from '../models/tiedHead.js';
import { assign } from '../tensor/ops/update.js';
import { AttuneError } from '../util/errors.js';

/**
 * Reads the weights that a checkpoint of this model holds back into it, in place: the adapter's, or
 * all of the model's where it has no adapter.
 *
 * @throws CHECKPOINT_MISMATCH when the folder lacks a parameter, or has a head that the model has not; WEIGHTS_SHAPE
 */
export async function loadModelWeights(model: LanguageModel, folder: string): Promise<void> {
  if (model.adapters) return model.adapters.loadWeights(folder);
  const { engine, root } = model;
  await using weights = await WeightFolder.open(folder);
  if (await hasOtherHead(model, weights))
    throw new AttuneError(
      'CHECKPOINT_MISMATCH',
      `${folder} has an lm_head.weight of its own; the output layer of the model is its embedding (tie_word_embeddings).`,
      { remedy: 'Use the model that the checkpoint was written from.' },
    );
  const missing = new Map<unknown, string>();
  const loaded = new Set<unknown>();
  for (const [name, parameter] of root.namedParameters()) {
    if (loaded.has(parameter)) continue;
    if (!weights.has(name)) {
      missing.set(parameter, name); // a tied one may come under its other name
      continue;
    }
    const { data, dtype, shape } = await weights.get(name, parameter.shape);
    if (parameter.isOffloaded && dtype === parameter.dtype) {
      parameter.write(data);
    } else {
      const tensor = engine.fromBytes(data, shape, dtype);
      assign(parameter.tensor, tensor);
      tensor.dispose();
    }
    loaded.add(parameter);
    missing.delete(parameter);
  }
  const [first] = missing.values();
  if (first !== undefined)
    throw new AttuneError(
      'CHECKPOINT_MISMATCH',
      `${folder} lacks ${missing.size} parameters of the model, among them "${first}".`,
      { remedy: 'Use the model that the checkpoint was written from.' },
    );
}
