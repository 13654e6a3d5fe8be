import { WeightFolder } from '../../io/weights.js';
import { nameInNested } from '../../models/families/nestedFamily.js';
import { hasOtherHead } from '../../models/heads/tiedHead.js';
import type { LanguageModel } from '../../models/languageModel.js';
import type { Parameter } from '../../nn/module.js';
import { assign } from '../../tensor/ops/update.js';
import { formatShape, sameShape } from '../../tensor/shape.js';
import { AttuneError } from '../../util/errors.js';

/**
 * Reads the weights that a checkpoint of this model holds back into it, in place: the adapter's, or
 * all of the model's where it has no adapter.
 *
 * @throws CHECKPOINT_MISMATCH when the folder lacks a parameter, has it in another shape, or has a
 *   head that the model has not
 */
export async function loadModelWeights(model: LanguageModel, folder: string): Promise<void> {
  if (model.adapters) return model.adapters.loadWeights(folder);
  const { engine, root } = model;
  await using opened = await WeightFolder.open(folder);
  const { nested } = model.config;
  const weights = nested ? opened.renamed((name) => nameInNested(name, nested)) : opened;
  if (await hasOtherHead(model, weights))
    throw mismatch(
      `${folder} has an lm_head.weight of its own; the output layer of the model is its embedding (tie_word_embeddings).`,
    );
  // All of it is looked at before anything is written: a model is not left half of another.
  const sources = new Map<Parameter, string>();
  const missing = new Map<Parameter, string>();
  for (const [name, parameter] of root.namedParameters()) {
    if (sources.has(parameter)) continue;
    if (!weights.has(name)) {
      missing.set(parameter, name); // a tied one may come under its other name
      continue;
    }
    sources.set(parameter, name);
    missing.delete(parameter);
    const { shape } = weights.info(name);
    if (!sameShape(shape, parameter.shape))
      throw mismatch(
        `${folder}: "${name}" is ${formatShape(shape)}, and ${formatShape(parameter.shape)} in the model.`,
      );
  }
  const [first] = missing.values();
  if (first !== undefined)
    throw mismatch(
      `${folder} lacks ${missing.size} parameters of the model, among them "${first}".`,
    );
  for (const [parameter, name] of sources) {
    const { data, dtype, shape } = await weights.get(name, parameter.shape);
    if (parameter.isOffloaded && dtype === parameter.dtype) {
      parameter.write(data);
    } else {
      const tensor = engine.fromBytes(data, shape, dtype);
      assign(parameter.tensor, tensor);
      tensor.dispose();
    }
  }
}

const mismatch = (found: string): AttuneError =>
  new AttuneError('CHECKPOINT_MISMATCH', found, {
    remedy: 'Use the model that the checkpoint was written from.',
  });
