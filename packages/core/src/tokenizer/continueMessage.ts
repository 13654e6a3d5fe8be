import { JinjaError } from '../jinja/index.js';
import { type ChatMessage, reasoningFields } from './chatTemplate.js';

/** Stands at the end of the final message while it is rendered; what follows it is cut off. */
const MARK = 'CONTINUE_FINAL_MESSAGE_TAG ';

const fail = (message: string): never => {
  throw new JinjaError('ValueError', `continueFinalMessage: ${message}`);
};

export interface OpenMessage {
  readonly messages: readonly ChatMessage[];
  /** What the final message says, to be looked for in the rendered text. */
  readonly text: string;
}

/**
 * The conversation with a mark where its final message ends, as transformers'
 * `continue_final_message`.
 *
 * @param field true: "content"
 * @throws JinjaError ValueError where there is nothing to go on with
 */
export function markFinalMessage(
  messages: readonly ChatMessage[],
  field: string | true,
  template: string,
): OpenMessage {
  const name = field === true ? 'content' : field;
  const last = messages.at(-1)!;
  const said = last[name];
  if (said === undefined || said === null)
    return fail(`the final message has no "${name}" to continue`);
  // Reasoning stands under several names: whichever the template reads.
  const isReasoning = (reasoningFields as readonly string[]).includes(name);
  const fields = isReasoning ? reasoningFields.filter((other) => last[other] === said) : [name];
  if (!fields.some((other) => template.includes(other)))
    return fail(`the chat template does not read "${name}"`);
  const before = messages.slice(0, -1);
  if (!Array.isArray(said)) {
    if (typeof said !== 'string') return fail(`"${name}" of the final message is no text`);
    const marked = Object.fromEntries(fields.map((other) => [other, said + MARK]));
    return { messages: [...before, { ...last, ...marked }], text: said };
  }
  const parts = [...(said as { readonly text?: unknown }[])];
  const at = parts.findLastIndex((part) => typeof part?.text === 'string');
  if (at < 0) return fail('the final message has no text to continue');
  const { text } = parts[at]! as { readonly text: string };
  parts[at] = { ...parts[at], text: text + MARK };
  return { messages: [...before, { ...last, [name]: parts }], text };
}

/**
 * The rendered text up to the end of the final message.
 *
 * @throws JinjaError ValueError where it is not in it
 */
export function continued(rendered: string, text: string): string {
  const at = rendered.lastIndexOf(MARK.trim());
  if (at < 0 || !rendered.includes(text.trim()))
    return fail('the final message does not appear in the rendered text');
  const kept = rendered.slice(0, at);
  return rendered.startsWith(MARK, at) ? kept : kept.trimEnd();
}
