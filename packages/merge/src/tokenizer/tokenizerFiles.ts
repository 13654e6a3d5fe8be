import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
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
 */
export async function tokenizerFiles(folder: string): Promise<OutputFile[]> {
  return (await namesIn(folder))
    .filter((name) => TOKENIZER.test(name) || CHAT_TEMPLATES.test(name) || BESIDE.test(name))
    .map((name) => ({ name, contents: { copyOf: join(folder, name) } }));
}

/** Files of a folder and of its additional_chat_templates, in order. Links count as files. */
async function namesIn(folder: string): Promise<string[]> {
  const inside = 'additional_chat_templates';
  const names = [
    ...(await readdir(folder)),
    ...(await readdir(join(folder, inside)).catch(() => [])).map((name) => `${inside}/${name}`),
  ];
  const found: string[] = [];
  for (const name of names.sort())
    if ((await stat(join(folder, name)).catch(() => null))?.isFile()) found.push(name);
  return found;
}
