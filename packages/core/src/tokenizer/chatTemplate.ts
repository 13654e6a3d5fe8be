import { Template } from '@huggingface/jinja';
import { AttuneError } from '../util/errors.js';

/** One turn of a conversation. Further keys (`tool_calls`, `name`) reach the template as they are. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** Several templates under names, or the only one. */
export type ChatTemplates = string | ReadonlyMap<string, string>;

export interface RenderOptions {
  /** End with the words that open the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Functions that the model may call, as JSON schemas. */
  readonly tools?: readonly unknown[];
  /** Further variables for the template. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/**
 * Renders a conversation with a Jinja chat template, as transformers' `apply_chat_template`.
 *
 * @param tokens bos_token, eos_token, ... as the template's variables
 * @throws CHAT_TEMPLATE when the template refuses the messages or is not valid
 */
export function renderChat(
  template: string,
  messages: readonly ChatMessage[],
  tokens: Readonly<Record<string, string>>,
  options: RenderOptions = {},
): string {
  try {
    return new Template(template).render({
      ...tokens,
      ...options.variables,
      messages,
      add_generation_prompt: options.addGenerationPrompt ?? false,
      ...(options.tools ? { tools: options.tools } : {}),
    });
  } catch (cause) {
    throw new AttuneError(
      'CHAT_TEMPLATE',
      `the chat template did not render ${messages.length} messages with roles ${messages.map((m) => m.role).join(', ')}: ${(cause as Error).message}.`,
      {
        remedy:
          'Give the roles in the order that the template expects (often user, assistant, ...).',
        cause,
      },
    );
  }
}

/** The template to use: the one called "tool_use" when there are tools, else "default". */
export function chooseTemplate(templates: ChatTemplates, hasTools: boolean): string {
  if (typeof templates === 'string') return templates;
  const chosen = (hasTools ? templates.get('tool_use') : undefined) ?? templates.get('default');
  if (chosen !== undefined) return chosen;
  throw new AttuneError(
    'CHAT_TEMPLATE',
    `the tokenizer has several chat templates (${[...templates.keys()].join(', ')}), none called "default".`,
    { remedy: 'Set tokenizer.chatTemplate to one of them.' },
  );
}
