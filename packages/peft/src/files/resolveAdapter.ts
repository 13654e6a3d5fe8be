import { AttuneError, type HubOptions } from '@attune/core';
import { resolveFolder } from '@attune/core/io';
import { currentFolder, stat } from '@attune/core/platform';
import { hasAdapter } from './adapterFolder.js';

/** What an adapter is read from. */
const ADAPTER_FILES = /^(adapter_config\.json|(adapter_model|prompt_encoder)\.safetensors)$/;

/**
 * The folder of an adapter: the path itself where it is a folder, else the Hub's repository of that
 * name, fetched as models are. A name without an owner is a path: adapters have no such ids.
 *
 * @throws PEFT_ADAPTER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, HUB_NOT_CACHED,
 *   HUB_CORRUPT, HUB_TOKEN
 */
export async function resolveAdapter(nameOrPath: string, options: HubOptions): Promise<string> {
  const found = await stat(nameOrPath).catch(() => null);
  if (found?.isDirectory()) return nameOrPath;
  if (found || !/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(nameOrPath))
    throw new AttuneError(
      'PEFT_ADAPTER_MISSING',
      found ? `${nameOrPath} is a file.` : `there is no folder "${nameOrPath}".`,
      {
        remedy: `Give the folder that holds adapter_config.json, from ${currentFolder()} or from the root, or a Hub id, "owner/name".`,
      },
    );
  const folder = await resolveFolder(nameOrPath, ADAPTER_FILES, options);
  if (await hasAdapter(folder)) return folder;
  throw new AttuneError(
    'PEFT_ADAPTER_MISSING',
    `the repository "${nameOrPath}" of the Hub has no adapter_config.json.`,
    {
      remedy:
        'It is a model, or its adapters lie in folders of it: download it and give the folder.',
    },
  );
}
