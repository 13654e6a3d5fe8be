import { Embedding } from '../nn/embedding.js';
import type { Module } from '../nn/module.js';
import type { LanguageModel } from './languageModel.js';

/**
 * Runs `fn`, which records what a model computes, as it answers: without dropout, embedding noise
 * (NEFTune) and gradients, and with nothing on the tape. For references and for what is only
 * measured, within the loss of a training step too. Each module's mode and the noise are afterwards
 * what they were before, after an error as well.
 *
 * Tensors of the result pass to the enclosing scope; others end with `fn`. Adapters stay as they
 * are: `adapters.withAdaptersDisabled(() => inference(model, fn))` is a reference without them, and
 * `adapters.withAdapters('reference', ...)` one of a frozen copy.
 *
 * @throws SCOPE_ASYNC for an async `fn`: others would record in its place while it waits
 */
export function inference<T>(model: Pick<LanguageModel, 'engine' | 'root'>, fn: () => T): T {
  const { engine, root } = model;
  const modes: [module: Module, training: boolean][] = [];
  const noises: [embedding: Embedding, noise: number][] = [];
  for (const [, module] of root.namedModules()) {
    modes.push([module, module.training]);
    if (module instanceof Embedding) noises.push([module, module.noise]);
  }
  root.eval();
  for (const [embedding] of noises) embedding.noise = 0;
  try {
    return engine.scope('inference', () => engine.noGrad(fn));
  } finally {
    // From the root down: what `train` says of a module, those below it say again.
    for (const [module, training] of modes)
      if (module.training !== training) module.train(training);
    for (const [embedding, noise] of noises) embedding.noise = noise;
  }
}
