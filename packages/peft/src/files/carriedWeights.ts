import { AttuneError } from '@attune/core';
import { decode } from '@attune/core/backend';
import type { SafetensorsFile } from '@attune/core/io';
import type { Module, Parameter } from '@attune/core/nn';
import { formatShape, sameShape } from '@attune/core/tensor';
import { baseModules, original } from '../slots/adapterSlot.js';

/**
 * The base's own embedding and head in an adapter's file: PEFT writes them beside an adapter that
 * targets one of them, and when the vocabulary was extended.
 *
 * @param root the model that the adapter is for
 * @param prefix what stands before the model's own names
 * @returns their names, of those given, with the parameters that they are
 */
export function carriedWeights(
  root: Module,
  names: readonly string[],
  prefix: string,
): ReadonlyMap<string, Parameter> {
  const modules = new Map(baseModules(root));
  const found = new Map<string, Parameter>();
  for (const name of names) {
    const path = /^(.*\.)?(embed_tokens|lm_head)(?=(\.base_layer)?\.weight$)/.exec(name)?.[0];
    const module = path?.startsWith(prefix) ? modules.get(path.slice(prefix.length)) : undefined;
    const weight = module && original(module).ownParameters.get('weight');
    if (weight) found.set(name, weight);
  }
  return found;
}

/** How far rounding to bfloat16 may move a value, as a share of it. */
const ROUNDING = 2 ** -8;

/**
 * Checks that what a file carries of the base is what the base has: then there is nothing to load.
 *
 * @param names by names in the file
 * @throws PEFT_BASE_CHANGED
 */
export async function checkCarriedWeights(
  file: SafetensorsFile,
  names: ReadonlyMap<string, Parameter>,
): Promise<void> {
  for (const [name, parameter] of names) {
    const { shape, dtype, data } = await file.read(name);
    const changed = (what: string) =>
      new AttuneError('PEFT_BASE_CHANGED', `${file.path}: ${name} ${what}.`, {
        remedy:
          'The base was changed too (a longer vocabulary, a trained embedding): merge in Python with merge_and_unload() and load the model that gives.',
        details: { name },
      });
    if (!sameShape(shape, parameter.shape))
      throw changed(`is ${formatShape(shape)}, the base has ${formatShape(parameter.shape)}`);
    const bytes = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const theirs = decode(bytes as ArrayBuffer, dtype, data.length);
    const ours = await parameter.tensor.data();
    const exact = dtype === 'float32' && parameter.tensor.dtype === 'float32';
    const tolerance = exact ? 0 : ROUNDING;
    const differ = ours.findIndex(
      (value, i) => Math.abs(theirs[i]! - value) > tolerance * Math.abs(value) + tolerance * 1e-6,
    );
    if (differ !== -1)
      throw changed(`has other values than the base (${theirs[differ]}, not ${ours[differ]})`);
  }
}
