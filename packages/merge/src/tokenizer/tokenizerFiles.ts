import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import type { OutputFile } from '../plan/mergePlan.js';

/** What makes up a tokenizer, in the names that transformers and others give its files. */
const TOKENIZER =
  /^(tokenizer\.(json|model|model\.v\d+|tiktoken)|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt|bpe)|merges\.txt|spiece\.model|sentencepiece\.bpe\.model|tekken\.json)$/;

/** Where a folder has chat templates. */
export const CHAT_TEMPLATES =
  /^(chat_template\.(jinja|json)|additional_chat_templates\/[^/]+\.jinja)$/;

/** What else goes with a model whatever its tokenizer is: how it generates, how it sees. */
export const BESIDE = /^(generation_config|(video_)?(pre)?processor_config)\.json$/;

/**
 * Files that a model takes from another as they are: its tokenizer, its chat templates,
 * generation_config.json, settings of processors.
 *
 * @param folder the base of the merge, or its first model
 * @throws MERGE_MODEL for one that is no file: the output would silently lack it
 */
export async function tokenizerFiles(folder: string): Promise<OutputFile[]> {
  const wanted = (await namesIn(folder)).filter(
    (name) => TOKENIZER.test(name) || CHAT_TEMPLATES.test(name) || BESIDE.test(name),
  );
  for (const name of wanted) await refuseOthers(join(folder, name));
  return wanted.map((name) => ({ name, contents: { copyOf: join(folder, name) } }));
}

async function refuseOthers(path: string): Promise<void> {
  const found = await stat(path).catch(() => null);
  if (found?.isFile()) return;
  const what = found?.isDirectory()
    ? 'a folder'
    : found
      ? 'a pipe or a device'
      : 'a link to something that does not exist';
  throw new AttuneError('MERGE_MODEL', `${path} is ${what}, expected a file.`, {
    remedy: 'Fetch the model again, or remove it: the merged model goes without it then.',
  });
}

/** Names in a folder and in its additional_chat_templates, in order. */
async function namesIn(folder: string): Promise<string[]> {
  const inside = 'additional_chat_templates';
  const names = [
    ...(await readdir(folder)),
    ...(await readdir(join(folder, inside)).catch(() => [])).map((name) => `${inside}/${name}`),
  ];
  return names.sort();
}
