import type { QuantizedLayer } from '../nn/quantizedLayer.js';
import { AttuneError } from '../util/errors.js';
import { DecoderModel } from './decoderModel.js';
import type { LanguageModel } from './languageModel.js';
import { quantizedLayers } from './quantization/quantizeLayers.js';

/**
 * A second copy of a model on its device, with the weights as they are now: the reference of a run
 * that trains all of them. Its forward pass is that of the original, bit for bit, and stays so.
 * Nothing of it is trainable. It is in no checkpoint of the original; a memory plan counts it.
 *
 * Weights in full precision take as much memory again. Quantised ones do not: codes never change,
 * and both models read the same. Offloaded ones share the memory of the host.
 *
 * @returns a model in eval mode; whoever made it disposes it
 * @throws COPY_ADAPTERS where the model has adapters: its base is there without a copy, and
 *   `copyAdapter` copies an adapter; COPY_UNSUPPORTED
 */
export async function frozenCopy<M extends LanguageModel>(model: M): Promise<M & DecoderModel> {
  if (model.adapters)
    throw new AttuneError('COPY_ADAPTERS', 'frozenCopy: the model has adapters.', {
      remedy:
        'Its base is there without a copy: model.adapters.withAdaptersDisabled(fn). For an adapter as it is now: await model.adapters.copyAdapter("default", "reference"), then withAdapters("reference", fn).',
    });
  if (!(model instanceof DecoderModel))
    throw new AttuneError(
      'COPY_UNSUPPORTED',
      'frozenCopy: the model was not loaded by an AutoModel of core.',
      { remedy: 'Load its files a second time, and use that model.' },
    );
  const copy = model.rebuilt();
  try {
    await fill(copy, model);
  } catch (error) {
    copy.dispose();
    throw error;
  }
  return copy as M & DecoderModel;
}

async function fill(copy: DecoderModel, model: DecoderModel): Promise<void> {
  const weights = new Map(model.root.namedParameters());
  for (const [name, parameter] of copy.root.namedParameters()) {
    parameter.trainable = false;
    parameter.copyFrom(weights.get(name)!);
  }
  const layers = quantizedLayers(model.root);
  for (const [path, layer] of quantizedLayers(copy.root)) await share(layer, layers.get(path)!);
  copy.root.eval();
}

/** What a layer knows beside its buffers comes with its weight; then the memory is the same. */
async function share(layer: QuantizedLayer, from: QuantizedLayer): Promise<void> {
  layer.load(await from.read());
  for (const [name, buffer] of layer.ownBuffers)
    buffer.replace(layer.engine.alias(from.ownBuffers.get(name)!.tensor));
}
