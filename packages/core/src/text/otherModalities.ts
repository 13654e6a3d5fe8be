import type { Row } from '../dataset/dataset.js';
import { isPlainObject } from '../util/json.js';

/** Columns of vision and audio data sets, as TRL and processors name them. */
const columns = ['image', 'images', 'pixel_values', 'video', 'videos', 'audio', 'audios'];

/**
 * Types of parts: image, image_url, input_audio, ... What is thought or called is text to a
 * template.
 */
const kinds = /image|video|audio/i;

/** Fields of a row that hold messages. */
const conversations = [
  ...['messages', 'conversations', 'prompt', 'completion'],
  ...['chosen', 'rejected'],
];

const isThere = (value: unknown): boolean =>
  value != null && value !== '' && !(Array.isArray(value) && value.length === 0);

/**
 * What of a row is no text: an image column, or a part of a message's content. Training it as text
 * would leave it out in silence.
 *
 * @returns where it is, for messages; null: all of it is text
 */
export function otherModality(row: Row): string | null {
  const column = columns.find((name) => isThere(row[name]));
  if (column !== undefined) return `the column "${column}"`;
  for (const field of conversations) {
    const messages = row[field];
    if (!Array.isArray(messages)) continue;
    for (const [i, message] of messages.entries()) {
      const content: unknown = isPlainObject(message) ? (message.content ?? message.value) : null;
      if (!Array.isArray(content)) continue;
      const part = content.findIndex(
        (one) => isPlainObject(one) && typeof one.type === 'string' && kinds.test(one.type),
      );
      if (part >= 0)
        return `"${field}"[${i}].content[${part}], of type "${(content[part] as { type: string }).type}"`;
    }
  }
  return null;
}
