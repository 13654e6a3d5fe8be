import { AttuneError } from '@attune/core';
import type { MergeConfig } from '../config/mergeConfig.js';
import type { MergeProblems } from '../problems.js';
import { ModelOpener, type OpenedModel, type OpenOptions } from './openModel.js';
import { namedModels } from './references.js';

/**
 * Opens every model of a config. What is wrong with one does not hide what is wrong with another:
 * models that cannot be opened are missing from the result, and each is a problem.
 *
 * @returns by the key of the reference, the first is the one whose config the output has
 */
export async function openModels(
  config: MergeConfig,
  options: OpenOptions,
  problems: MergeProblems,
): Promise<ReadonlyMap<string, OpenedModel>> {
  const opener = new ModelOpener(options);
  const opened = new Map<string, OpenedModel>();
  for (const { reference, path } of namedModels(config))
    try {
      opened.set(reference.key, await opener.open(reference));
    } catch (error) {
      if (!AttuneError.isInstance(error)) throw error;
      const { description, remedy = 'Check the path.' } = error;
      const message = description.includes(reference.path)
        ? description
        : `${reference.key}: ${description}`;
      problems.add({ message, remedy, path });
    }
  return opened;
}
