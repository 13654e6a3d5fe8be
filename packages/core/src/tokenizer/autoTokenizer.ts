import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJsonObject } from '../io/hfConfig.js';
import { type HubOptions, hubOptionNames, resolveFolder, TOKENIZER_FILES } from '../io/hub.js';
import { AttuneError, checkOptionNames } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import type { ChatTemplates } from './chatTemplate.js';
import { Tokenizer } from './tokenizer.js';

/** Opens the tokenizer of a model folder. */
export const AutoTokenizer = {
  /**
   * Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json and the chat template
   * (chat_template.jinja, else the one in tokenizer_config.json).
   *
   * @param nameOrPath a folder on this machine, or a Hub id ("owner/name"), which is fetched once into
   * Hugging Face's cache
   * @throws MODEL_FOLDER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, TOKENIZER_MISSING,
   * TOKENIZER_INVALID, CONFIG_INVALID
   */
  async fromPretrained(nameOrPath: string, options: HubOptions = {}): Promise<Tokenizer> {
    const known = Object.fromEntries(hubOptionNames.map((name) => [name, true as const]));
    checkOptionNames('AutoTokenizer.fromPretrained', options, known, 'OPTION_UNKNOWN');
    const folder = await resolveFolder(nameOrPath, TOKENIZER_FILES, options);
    await checkTokenizerJson(folder);
    const optional = (name: string) => readJsonObject(join(folder, name), { optional: true });
    const config = {
      ...(await optional('special_tokens_map.json')),
      ...(await optional('tokenizer_config.json')),
    };
    return new Tokenizer({
      folder,
      tokenizer: await readJsonObject(join(folder, 'tokenizer.json')),
      config,
      chatTemplate: await readChatTemplate(folder, config.chat_template),
    });
  },
};

async function checkTokenizerJson(folder: string): Promise<void> {
  const there = await stat(join(folder, 'tokenizer.json')).catch(() => null);
  if (there?.isFile()) return;
  throw new AttuneError('TOKENIZER_MISSING', `${folder} has no tokenizer.json.`, {
    remedy:
      'Save it from Python: AutoTokenizer.from_pretrained(id, use_fast=True).save_pretrained(folder).',
  });
}

async function readChatTemplate(folder: string, inConfig: unknown): Promise<ChatTemplates | null> {
  try {
    return await readFile(join(folder, 'chat_template.jinja'), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (typeof inConfig === 'string') return inConfig;
  if (!Array.isArray(inConfig)) return null;
  // Several templates: [{ name, template }].
  const named = inConfig.filter(isPlainObject).map((t) => [String(t.name), String(t.template)]);
  return new Map(named as [string, string][]);
}
