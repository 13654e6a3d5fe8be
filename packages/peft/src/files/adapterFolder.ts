import { AttuneError } from '@attune/core';
import { finishSave, readJsonFile, SafetensorsFile } from '@attune/core/io';
import { join, lstat } from '@attune/core/platform';
import type { JsonValue } from '@attune/core/util';
import { CONFIG_FILE, WEIGHTS_FILE } from './names.js';

/**
 * Where the adapter of a name lies below a folder: the default one in it, others in one of their
 * own.
 */
export const adapterFolder = (folder: string, adapter: string): string =>
  adapter === 'default' ? folder : join(folder, adapter);

/** Whether a folder holds an adapter. */
export async function hasAdapter(folder: string): Promise<boolean> {
  await finishSave(folder);
  return exists(join(folder, CONFIG_FILE));
}

export interface AdapterConfigFile {
  readonly path: string;
  readonly fields: Record<string, unknown>;
  /** How they are spelt. */
  readonly source: JsonValue;
}

/**
 * Reads adapter_config.json, unchecked.
 *
 * @throws PEFT_ADAPTER_MISSING, CONFIG_INVALID
 */
export async function readAdapterConfig(folder: string): Promise<AdapterConfigFile> {
  await finishSave(folder);
  const path = join(folder, CONFIG_FILE);
  const file = await readJsonFile(path, { optional: true });
  if (file) return { path, fields: file.value, source: file.source };
  const unfinished = await exists(join(folder, WEIGHTS_FILE));
  throw new AttuneError('PEFT_ADAPTER_MISSING', `${folder} has no ${CONFIG_FILE}.`, {
    remedy: unfinished
      ? `There is an ${WEIGHTS_FILE}: the folder was not written to its end, or not copied whole.`
      : 'Give the folder that savePretrained (or PEFT) wrote.',
  });
}

/**
 * The shapes of an adapter's tensors by their names in the file, from its header alone.
 *
 * @throws PEFT_ADAPTER_INCOMPLETE, SAFETENSORS_...
 */
export async function readAdapterShapes(
  folder: string,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const file = await openWeights(folder);
  await file.close();
  return new Map(file.names.map((name) => [name, file.info(name).shape]));
}

/** @throws PEFT_ADAPTER_INCOMPLETE, SAFETENSORS_... */
export async function openWeights(folder: string): Promise<SafetensorsFile> {
  const path = join(folder, WEIGHTS_FILE);
  if (!(await exists(path))) throw await noWeights(folder);
  return SafetensorsFile.open(path);
}

async function noWeights(folder: string): Promise<AttuneError> {
  const pickled = await exists(join(folder, 'adapter_model.bin'));
  return new AttuneError(
    'PEFT_ADAPTER_INCOMPLETE',
    `${folder} has ${CONFIG_FILE} but no ${WEIGHTS_FILE}.`,
    {
      remedy: pickled
        ? 'adapter_model.bin is a pickle, which can run code, so it is not read: save it with safe_serialization=True in Python.'
        : 'Copy or download the whole folder.',
    },
  );
}

/** Anything of this name: what is no file is then refused as what it is. */
export const exists = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );
