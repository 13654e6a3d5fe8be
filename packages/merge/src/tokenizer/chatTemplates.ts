import { join } from 'node:path';
import { AttuneError } from '@attune/core';
import { readJsonObject } from '@attune/core/io';
import { ChatTemplate, readChatTemplates } from '@attune/core/text';
import { explainUnknown } from '@attune/core/util';
import type { MergeProblems } from '../problems.js';

const chatml = String.raw`{% for message in messages %}
{{- '<|im_start|>' ~ message.role ~ '\n' ~ message.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}`;

const llama3 = String.raw`{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}
{{- message.content | trim ~ '<|eot_id|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}`;

const alpaca = String.raw`{%- set titles = {'user': 'Instruction', 'user_context': 'Input', 'assistant': 'Response'} %}
{%- set systems = messages | selectattr('role', 'equalto', 'system') | list %}
{{- (systems[-1].content | trim if systems else '') ~ '\n\n' }}
{%- for message in messages %}
{%- if message.role in titles %}
{{- '### ' ~ titles[message.role] ~ ':\n' ~ message.content | trim }}
{{- '' if loop.last else '\n\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt and messages[-1].role != 'assistant' %}
{{- '### Response:\n' }}
{%- endif %}`;

const mistral = String.raw`{%- set has_system = messages[0].role == 'system' %}
{{- bos_token }}
{%- for message in (messages[1:] if has_system else messages) %}
{%- if message.role != ('user' if loop.index0 is even else 'assistant') %}
{{- raise_exception('turns alternate between user and assistant, behind a system message if there is one') }}
{%- elif message.role == 'assistant' %}
{{- ' ' ~ message.content ~ eos_token }}
{%- else %}
{{- ' [INST] ' ~ (messages[0].content ~ '\n\n' if has_system and loop.first else '') }}
{{- message.content ~ ' [/INST]' }}
{%- endif %}
{%- endfor %}`;

/**
 * Templates that a config can name. Each renders what mergekit's template of that name renders;
 * for llama3 that is a line break behind each turn, which Meta's own does not write.
 */
export const namedChatTemplates: Readonly<Record<string, string>> = {
  chatml,
  llama3,
  alpaca,
  mistral,
};

/**
 * The template that `chat_template` of a config means: "auto" the most frequent one of the models
 * (of equally many the first), a name of {@link namedChatTemplates}, or the text of a template.
 *
 * @param folders of the models, in their order
 * @returns null: that of the tokenizer stays
 */
export async function chooseChatTemplate(
  setting: string | null,
  folders: readonly string[],
  problems: MergeProblems,
): Promise<string | null> {
  if (setting === null) return null;
  if (setting === 'auto') return mostFrequent(folders);
  if (Object.hasOwn(namedChatTemplates, setting)) return namedChatTemplates[setting]!;
  const path = ['chat_template'];
  if (!/\{[{%]/.test(setting)) {
    const known = ['auto', ...Object.keys(namedChatTemplates)];
    const what = `chat_template is ${JSON.stringify(setting.slice(0, 60))}, which is no name of one, and no Jinja`;
    problems.add({
      message: explainUnknown(setting, { known }, what),
      remedy: `Give ${known.join(', ')}, or the text of a template.`,
      path,
    });
    return null;
  }
  try {
    // Reads it.
    void new ChatTemplate(setting).hasGeneration;
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    problems.add({ message: `chat_template: ${error.description}`, remedy: MEND, path });
    return null;
  }
  return setting;
}

const MEND = 'Mend the template.';

async function mostFrequent(folders: readonly string[]): Promise<string | null> {
  const counts = new Map<string, number>();
  for (const folder of folders) {
    const template = await templateOf(folder);
    if (template !== null) counts.set(template, (counts.get(template) ?? 0) + 1);
  }
  let best: string | null = null;
  for (const [template, count] of counts)
    if (best === null || count > counts.get(best)!) best = template;
  return best;
}

/** The template of a folder, the one called "default" of several; null: it has none. */
async function templateOf(folder: string): Promise<string | null> {
  const config = await readJsonObject(join(folder, 'tokenizer_config.json'), { optional: true });
  const templates = await readChatTemplates(folder, config?.chat_template);
  const template = typeof templates === 'string' ? templates : templates?.get('default');
  return template?.trim() || null;
}
