import type { MergeConfig, ModelReference } from '../config/mergeConfig.js';
import type { ConfigPath } from '../problems.js';

/** A model that a config names, and the first place where it does. */
export interface NamedModel {
  readonly reference: ModelReference;
  readonly path: ConfigPath;
}

/**
 * Every model that a config names, each once, in the order of the file. The base is the first: its
 * config and tokenizer are those of the output.
 */
export function namedModels(config: MergeConfig): NamedModel[] {
  const found = new Map<string, NamedModel>();
  const add = (reference: ModelReference | null, ...path: ConfigPath) => {
    if (reference && !found.has(reference.key)) found.set(reference.key, { reference, path });
  };
  add(config.baseModel, 'base_model');
  for (const [name, content] of config.modules) {
    const inside = modulePath(config, name);
    if ('models' in content)
      for (const [i, { model }] of content.models.entries())
        add(model, ...inside, 'models', i, 'model');
    else
      for (const [i, { baseModel, sources }] of content.slices.entries()) {
        add(baseModel, ...inside, 'slices', i, 'base_model');
        for (const [j, { model }] of sources.entries())
          add(model, ...inside, 'slices', i, 'sources', j, 'model');
      }
  }
  return [...found.values()];
}

/** Where the content of a module stands: `models:` and `slices:` stand at the top. */
export const modulePath = ({ form }: Pick<MergeConfig, 'form'>, name: string): ConfigPath =>
  form === 'modules' ? ['modules', name] : [];
