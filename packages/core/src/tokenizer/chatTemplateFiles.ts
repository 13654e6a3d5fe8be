import { join, mkdir, readdir, readFile, rm } from '#platform';
import { writeFileAtomic } from '../io/atomic.js';
import { readJsonObject } from '../io/hfConfig.js';
import { readText } from '../io/readText.js';
import { AttuneError } from '../util/errors.js';
import { formatJson } from '../util/formatJson.js';
import { isPlainObject } from '../util/json.js';
import { type JsonValue, parseJson } from '../util/losslessJson.js';
import type { ChatTemplates } from './chatTemplate.js';

const FILE = 'chat_template.jinja';
const FOLDER = 'additional_chat_templates';

/**
 * The chat templates of a folder, as transformers finds them: chat_template.jinja (called
 * "default") and those of additional_chat_templates, called by their files; without any of these
 * what tokenizer_config.json says, a template or several under names; else a processor's
 * chat_template.json.
 *
 * @param inConfig `chat_template` of tokenizer_config.json
 * @throws CHAT_TEMPLATE, CONFIG_INVALID
 */
export async function readChatTemplates(
  folder: string,
  inConfig: unknown,
): Promise<ChatTemplates | null> {
  const found = new Map<string, string>();
  const names = await readdir(folder);
  if (names.includes(FILE)) found.set('default', await readTemplate(join(folder, FILE)));
  for (const name of await additional(folder))
    found.set(name.replace(/\.jinja$/, ''), await readTemplate(join(folder, FOLDER, name)));
  if (found.size > 0) return flattened(found);
  const config = join(folder, 'tokenizer_config.json');
  if (inConfig !== undefined && inConfig !== null) return fromJson(inConfig, config);
  const legacy = await readJsonObject(join(folder, 'chat_template.json'), { optional: true });
  return legacy?.chat_template == null
    ? null
    : fromJson(legacy.chat_template, join(folder, 'chat_template.json'));
}

async function additional(folder: string): Promise<string[]> {
  const names = await readdir(join(folder, FOLDER)).catch(() => []);
  return names.filter((name) => name.endsWith('.jinja')).sort();
}

const readTemplate = (path: string): Promise<string> =>
  readText(path, {
    code: 'CHAT_TEMPLATE',
    label: 'the chat template ',
    remedy: 'Fetch or save the model again.',
  });

const flattened = (templates: Map<string, string>): ChatTemplates =>
  templates.size === 1 && templates.has('default') ? templates.get('default')! : templates;

/** A template, `[{ name, template }]` or `{ name: template }`. */
function fromJson(value: unknown, path: string): ChatTemplates {
  if (typeof value === 'string') return value;
  const named = new Map<string, string>();
  const entries: (readonly [unknown, unknown])[] = Array.isArray(value)
    ? value.map((item: unknown) =>
        isPlainObject(item) ? [item.name, item.template] : [item, item],
      )
    : isPlainObject(value)
      ? Object.entries(value)
      : [[value, value]];
  for (const [name, template] of entries) {
    if (typeof name === 'string' && typeof template === 'string') {
      named.set(name, template);
      continue;
    }
    throw new AttuneError(
      'CONFIG_INVALID',
      `${path}: chat_template is to be a template, or a list of { name, template } with two texts; it holds ${JSON.stringify({ name, template })?.slice(0, 80)}.`,
      { remedy: 'Save the tokenizer again, or mend the file.' },
    );
  }
  return named;
}

/**
 * Writes templates where transformers does, and takes away what the folder had: the default one as
 * chat_template.jinja, others as additional_chat_templates/<name>.jinja, none in
 * tokenizer_config.json.
 *
 * @throws CHAT_TEMPLATE for a name that is no file's
 */
export async function writeChatTemplates(
  folder: string,
  templates: ChatTemplates | null,
): Promise<void> {
  const named =
    typeof templates === 'string' ? new Map([['default', templates]]) : (templates ?? new Map());
  for (const name of named.keys())
    if (!/^[\w][\w .-]*$/.test(name))
      throw new AttuneError(
        'CHAT_TEMPLATE',
        `a chat template is called ${JSON.stringify(name)}, which is no name of a file.`,
        { remedy: 'Name it with letters, digits, "_", "-" or ".".' },
      );
  for (const [name, template] of named) {
    if (name !== 'default') await mkdir(join(folder, FOLDER), { recursive: true });
    const path = name === 'default' ? join(folder, FILE) : join(folder, FOLDER, `${name}.jinja`);
    await writeFileAtomic(path, template);
  }
  if (!named.has('default')) await rm(join(folder, FILE), { force: true });
  await rm(join(folder, 'chat_template.json'), { force: true });
  for (const name of await additional(folder))
    if (!named.has(name.replace(/\.jinja$/, ''))) await rm(join(folder, FOLDER, name));
  await leaveOutOfConfig(join(folder, 'tokenizer_config.json'));
}

async function leaveOutOfConfig(path: string): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return;
  const config = parseJson(text);
  if (!(config instanceof Map) || !config.has('chat_template')) return;
  const kept = new Map<string, JsonValue>(config);
  kept.delete('chat_template');
  await writeFileAtomic(path, `${formatJson(kept, { like: kept })}\n`);
}
