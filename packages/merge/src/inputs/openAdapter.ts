import { AttuneError } from '@attune/core';
import { resolveFolder } from '@attune/core/io';
import { type AdapterDeltas, adaptersOf } from '@attune/core/models';
import type { ModelReference } from '../config/mergeConfig.js';
import type { StoredTensor } from '../contract/tensorTask.js';
import type { OpenOptions } from './openModel.js';

/** An adapter that is added to a model. */
export interface OpenedAdapter {
  /** Its folder. */
  readonly folder: string;
  /** The adapter's name of what it adds, by the name of the tensor in the model's files. */
  readonly names: ReadonlyMap<string, string>;
}

const ADAPTER_FILES = /^adapter_(config\.json|model\.safetensors)$/;

/**
 * Opens the adapter of `base+adapter`, and sees whether it is one of that base: every weight that
 * it changes is there, of its shape. Nothing of its weights is read.
 *
 * @throws MERGE_ADAPTER where no plugin brings adapters, or for one of another base; PEFT_...,
 *   HUB_...
 */
export async function openAdapter(
  reference: ModelReference,
  tensors: ReadonlyMap<string, StoredTensor>,
  { attune, hub }: OpenOptions,
): Promise<OpenedAdapter> {
  const { path, revision } = reference.adapter!;
  if (!attune)
    throw new AttuneError('MERGE_ADAPTER', `${path} is an adapter, and nobody here reads them.`, {
      remedy:
        'npm install @attune/peft, and give the merge `attune: await createAttune({ plugins: [peft()] })`.',
    });
  const service = adaptersOf(attune, `the merge names the adapter ${path}`);
  const options = { ...hub, ...(revision !== null && { revision }) };
  const folder = await resolveFolder(path, ADAPTER_FILES, options);
  await using deltas = await service.openDeltas(folder);
  if (deltas.names.length === 0)
    throw new AttuneError('MERGE_ADAPTER', `${path} is an adapter that changes nothing.`, {
      remedy: 'Fetch adapter_model.safetensors again, or name the base alone.',
    });
  const names = new Map<string, string>();
  const wrong: string[] = [];
  for (const name of deltas.names) {
    const stored = storedName(name, tensors);
    if (stored === null) wrong.push(`it changes "${name}", which the model does not have`);
    else {
      const [theirs, ours] = [deltas.shapeOf(name), tensors.get(stored)!.shape];
      if (`${theirs}` === `${ours}`) names.set(stored, name);
      else wrong.push(`it changes "${name}" as [${theirs}], which is [${ours}] in the model`);
    }
  }
  if (wrong.length > 0)
    throw new AttuneError(
      'MERGE_ADAPTER',
      `${path} is an adapter of another base than ${reference.path}${named(deltas)}: ${wrong[0]}${wrong.length > 1 ? `; so are ${wrong.length - 1} more of ${deltas.names.length}` : ''}.`,
      { remedy: 'Write the model that it was trained on before it: "base+adapter".' },
    );
  return { folder, names };
}

const named = ({ baseModelNameOrPath: base }: AdapterDeltas): string =>
  base === null ? '' : ` (it names "${base}")`;

/** Names within `model` or `transformer` may stand in a file without it, or the other way round. */
function storedName(name: string, tensors: ReadonlyMap<string, StoredTensor>): string | null {
  const bare = name.replace(/^(model|transformer)\./, '');
  const spellings = [name, bare, `model.${name}`, `transformer.${name}`];
  return spellings.find((spelling) => tensors.has(spelling)) ?? null;
}
