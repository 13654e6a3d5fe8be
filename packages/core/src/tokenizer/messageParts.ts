import { writtenAs } from '../jinja/index.js';
import type { ChatMessage } from './chatTemplate.js';

/**
 * A message whose content is parts of text alone, with their text; every other message as it is.
 */
export function joinText(message: ChatMessage): ChatMessage {
  const { content } = message;
  if (!Array.isArray(content) || content.length === 0) return message;
  const texts = content.map(textOf);
  return texts.includes(null) ? message : { ...message, content: texts.join('') };
}

function textOf(part: unknown): string | null {
  if (typeof part !== 'object' || part === null) return null;
  const { type, text } = part as { readonly type?: unknown; readonly text?: unknown };
  return (type === 'text' || type === undefined) && typeof text === 'string' ? text : null;
}

/** Whether a text holds a list of parts as Python writes lists: the template took it for a text. */
export const showsParts = (text: string, messages: readonly ChatMessage[]): boolean =>
  messages.some(({ content }) => Array.isArray(content) && text.includes(writtenAs(content)));
