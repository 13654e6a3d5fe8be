import type { Engine, LanguageModel } from '@attune/core';
import type { HostTensorData } from '@attune/core/io';
import { plainLora } from '../combine/plainLora.js';
import { portableLora } from '../combine/portableLora.js';
import { adapterFolder, hasAdapter, readAdapterConfig } from '../files/adapterFolder.js';
import type { SaveAdapterOptions } from '../files/options.js';
import { readAdapterTensors, readEncoder } from '../files/readTensors.js';
import { type SavedTensor, writeAdapter } from '../files/writeAdapter.js';
import { planAdapter } from '../plan/planAdapter.js';
import { isEncoderIn, PROMPT_EMBEDDINGS, PromptSlot } from '../slots/promptSlot.js';
import type { AttachedAdapter, AttachedAdapters } from './attachedAdapters.js';
import { writeInto } from './inject.js';

/** What of an adapter files hold, by its names there: the parameters of an encoder too. */
const inFiles = ({ held }: AttachedAdapter) =>
  new Map(
    held.flatMap(({ fileName, parameter }) =>
      fileName === null ? [] : [[fileName, parameter] as const],
    ),
  );

/** The values of an adapter by its names in files, as they are now. */
export async function hostTensors(adapter: AttachedAdapter): Promise<Map<string, HostTensorData>> {
  const read = [...inFiles(adapter)].map(async ([name, { shape, dtype, tensor }]) => {
    const data = { shape, dtype, data: await tensor.data() } as HostTensorData;
    return [name, data] as const;
  });
  return new Map(await Promise.all(read));
}

/** What is written of an adapter: with an encoder, what it gives as well. */
function savedTensors({ root }: LanguageModel, name: string, adapter: AttachedAdapter) {
  const tensors = new Map<string, SavedTensor>(inFiles(adapter));
  if (isEncoderIn(tensors.keys())) tensors.set(PROMPT_EMBEDDINGS, PromptSlot.of(root)!.made(name));
  return tensors;
}

/** Writes adapters into a folder, or, when one of them is refused, none. */
export async function saveAdapters(
  base: LanguageModel,
  adapters: AttachedAdapters,
  names: readonly string[],
  folder: string,
  { portable, plainLora: plain, verify = true }: SaveAdapterOptions,
): Promise<void> {
  const toWrite = [];
  for (const name of names) {
    const adapter = adapters.get(name);
    const { method, config, held, source: like } = adapter;
    const tensors = savedTensors(base, name, adapter);
    const saved = portable
      ? await portableLora(held, { name, method, config, tensors })
      : plain
        ? await plainLora(held, name, config)
        : { config, tensors };
    toWrite.push({ path: adapterFolder(folder, name), method, like, ...saved });
  }
  for (const { path, method, config, tensors, like } of toWrite)
    await writeAdapter(path, method, config, tensors, { verify, like });
}

/** Reads an adapter's weights from what `saveAdapters` wrote, into its parameters as they are. */
export async function reloadAdapter(
  engine: Engine,
  base: LanguageModel,
  adapter: AttachedAdapter,
  name: string,
  folder: string,
): Promise<void> {
  const own = adapterFolder(folder, name);
  const from = (await hasAdapter(own)) ? own : folder;
  await readAdapterConfig(from);
  const plan = planAdapter(base, adapter.method, adapter.config);
  const held = inFiles(adapter);
  const tensors = await readAdapterTensors(from, plan, base);
  const encoder = isEncoderIn(held.keys()) ? await readEncoder(from, plan) : new Map();
  for (const [key, parameter] of held)
    writeInto(engine, parameter, (encoder.get(key) ?? tensors.get(key))!);
}
