import { realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Attune, AttuneError, type HubOptions } from '@attune/core';
import {
  type RawConfig,
  readJsonFile,
  resolveFolder,
  TOKENIZER_FILES,
  WeightFolder,
} from '@attune/core/io';
import type { JsonValue } from '@attune/core/util';
import type { ModelReference } from '../config/mergeConfig.js';
import type { StoredTensor } from '../contract/tensorTask.js';
import { type OpenedAdapter, openAdapter } from './openAdapter.js';
import { whyNotMergeable } from './refusals.js';

/** What a folder says of its model; of its weights only where they lie. */
export interface ModelFiles {
  /** The folder itself, links followed. */
  readonly folder: string;
  /** config.json. */
  readonly config: RawConfig;
  /** How it is spelt, for when it is written again. */
  readonly configSource: JsonValue;
  /** By name, in the order of the files. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** A model that a merge reads. */
export interface OpenedModel {
  readonly reference: ModelReference;
  /** The same object for every reference to one folder. */
  readonly files: ModelFiles;
  /** What is added to its weights; null: nothing. */
  readonly adapter: OpenedAdapter | null;
}

/** How models are found. */
export interface OpenOptions {
  /** Brings adapters. */
  readonly attune?: Attune | undefined;
  readonly hub?: HubOptions | undefined;
}

/** What a merge reads of a repository on the Hub. */
const MERGE_FILES = new RegExp(
  `${TOKENIZER_FILES.source}|^generation_config\\.json$|^vocab\\.(json|txt)$|^merges\\.txt$|^(tokenizer|spiece)\\.model$|^(pre|video_pre|)processor_config\\.json$|^model(-\\d{5}-of-\\d{5})?\\.safetensors(\\.index\\.json)?$`,
);

/**
 * Opens models: their config.json and the headers of their weights. Folders are opened once,
 * whatever they are called.
 */
export class ModelOpener {
  readonly #byFolder = new Map<string, Promise<ModelFiles>>();

  constructor(private readonly options: OpenOptions) {}

  /**
   * @throws MERGE_MODEL for what cannot be merged; MODEL_FOLDER_MISSING, CONFIG_..., WEIGHTS_...,
   *   SAFETENSORS_..., HUB_..., PEFT_...
   */
  async open(reference: ModelReference): Promise<OpenedModel> {
    const files = await this.#files(reference);
    const adapter =
      reference.adapter && (await openAdapter(reference, files.tensors, this.options));
    return { reference, files, adapter };
  }

  async #files({ path, revision }: ModelReference): Promise<ModelFiles> {
    const options = { ...this.options.hub, ...(revision !== null && { revision }) };
    const folder = await realpath(await resolveFolder(path, MERGE_FILES, options));
    let files = this.#byFolder.get(folder);
    if (!files) {
      files = readFiles(folder);
      this.#byFolder.set(folder, files);
    }
    return files;
  }
}

async function readFiles(folder: string): Promise<ModelFiles> {
  const isThere = (name: string) =>
    stat(join(folder, name)).then(
      () => true,
      () => false,
    );
  if (!(await isThere('config.json')) && (await isThere('adapter_config.json')))
    throw new AttuneError('MERGE_MODEL', `${folder} is an adapter, not a model.`, {
      remedy: 'Write the model that it was trained on before it: "base+adapter".',
    });
  const { value: config, source } = await readJsonFile(join(folder, 'config.json'));
  await using weights = await WeightFolder.open(folder);
  const tensors = new Map(weights.names.map((name) => [name, weights.location(name)]));
  const why = whyNotMergeable(config, tensors);
  if (why !== null)
    throw new AttuneError('MERGE_MODEL', `${folder} ${why.found}.`, { remedy: why.remedy });
  return { folder, config, configSource: source, tensors };
}
