import { join, stat } from '#platform';
import { readJsonObject } from '../io/hfConfig.js';
import {
  type HubOptions,
  hubOptions,
  requireName,
  resolveFolder,
  TOKENIZER_FILES,
} from '../io/hub.js';
import { readText } from '../io/readText.js';
import { briefly } from '../util/briefly.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { parseOptions } from '../util/options.js';
import type { OptionNotes } from '../util/unknownOptions.js';
import { readChatTemplates } from './chatTemplateFiles.js';
import { Tokenizer } from './tokenizer.js';

const notes: OptionNotes = {
  attune: 'a tokenizer needs none: it works on the host',
  usefast: 'tokenizers are of that kind always',
  trustremotecode: "nothing from a model's folder is executed",
  paddingside: 'the trainer pads, and generate takes prompts of any lengths',
  addeostoken: "the tokenizer's own files say it",
  addbostoken: "the tokenizer's own files say it",
  modelmaxlength: 'maxLength is an argument of training',
  chattemplate: 'assign tokenizer.chatTemplate',
};

/** Opens the tokenizer of a model folder. */
export const AutoTokenizer = {
  /**
   * Reads tokenizer.json, tokenizer_config.json, special_tokens_map.json, added_tokens.json,
   * config.json (for its model_type) and the chat templates (chat_template.jinja and
   * additional_chat_templates, else tokenizer_config.json's, else chat_template.json's).
   *
   * @param nameOrPath a folder on this machine, or a Hub id ("owner/name"), which is fetched once
   *   into Hugging Face's cache
   * @throws UNKNOWN_OPTION, HUB_OPTION, MODEL_NAME, MODEL_FOLDER_MISSING, HUB_NOT_FOUND,
   *   HUB_ACCESS, HUB_UNREACHABLE, TOKENIZER_MISSING, TOKENIZER_INVALID, CONFIG_INVALID
   */
  async fromPretrained(nameOrPath: string, options: HubOptions = {}): Promise<Tokenizer> {
    requireName(nameOrPath, 'AutoTokenizer.fromPretrained');
    const where = 'AutoTokenizer.fromPretrained';
    const hub = parseOptions(hubOptions, options, { where, code: 'HUB_OPTION', notes });
    const folder = await resolveFolder(nameOrPath, TOKENIZER_FILES, hub);
    await checkTokenizerJson(folder);
    const optional = (name: string) => readJsonObject(join(folder, name), { optional: true });
    const config = (await optional('tokenizer_config.json')) ?? {};
    return new Tokenizer({
      folder,
      tokenizer: await readTokenizerJson(join(folder, 'tokenizer.json')),
      config,
      specialTokensMap: await optional('special_tokens_map.json'),
      addedTokens: await optional('added_tokens.json'),
      modelConfig: await optional('config.json'),
      chatTemplate: await readChatTemplates(folder, config.chat_template),
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

/** The largest published ones have some 40 MB. */
const maxTokenizerBytes = 2 ** 28;

async function readTokenizerJson(path: string): Promise<Record<string, unknown>> {
  const invalid = (what: string, cause?: unknown) =>
    new AttuneError('CONFIG_INVALID', `${path} ${what}.`, {
      remedy: 'Fetch or save the tokenizer again.',
      ...(cause !== undefined && { cause }),
    });
  const text = await readText(path, {
    code: 'CONFIG_INVALID',
    remedy: 'Fetch or save the tokenizer again.',
    maxBytes: maxTokenizerBytes,
  });
  let json: unknown;
  try {
    // Its keys are tokens, `__proto__` as well as any; of equal ones the last counts, as for Rust.
    json = JSON.parse(text);
  } catch (cause) {
    throw invalid(`is not JSON: ${(cause as Error).message}`, cause);
  }
  if (isPlainObject(json)) return json;
  throw invalid(`holds ${briefly(json)}, expected a JSON object, { ... }`);
}
