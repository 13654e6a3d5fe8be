import { readFile } from 'node:fs/promises';
import { formatJson, type JsonValue, parseJson } from '@attune/core/util';
import type { OutputFile } from '../plan/mergePlan.js';
import { CHAT_TEMPLATES } from './tokenizerFiles.js';

/**
 * The same files with this chat template, where transformers 5 reads it: in chat_template.jinja,
 * and not in tokenizer_config.json nor under other names, with which it could disagree.
 */
export async function withChatTemplate(
  files: readonly OutputFile[],
  template: string | null,
  warnings: string[],
): Promise<readonly OutputFile[]> {
  if (template === null) return files;
  const named = files.filter(({ name }) => name.startsWith('additional_chat_templates/'));
  if (named.length > 0)
    warnings.push(
      `chat_template replaces all templates: ${named.map(({ name }) => name).join(', ')} ${named.length === 1 ? 'is' : 'are'} left out.`,
    );
  const kept: OutputFile[] = [];
  for (const file of files) {
    if (CHAT_TEMPLATES.test(file.name)) continue;
    kept.push(file.name === 'tokenizer_config.json' ? await withoutTemplate(file) : file);
  }
  return [...kept, { name: 'chat_template.jinja', contents: template }];
}

async function withoutTemplate(file: OutputFile): Promise<OutputFile> {
  const json = parseJson(await textOf(file), { nonFinite: true });
  if (!(json instanceof Map) || !json.has('chat_template')) return file;
  const kept = new Map<string, JsonValue>(json);
  kept.delete('chat_template');
  return { name: file.name, contents: `${formatJson(kept)}\n` };
}

/** The text of a file of the output. */
const textOf = async ({ contents }: OutputFile): Promise<string> =>
  typeof contents === 'string' ? contents : readFile(contents.copyOf, 'utf8');
