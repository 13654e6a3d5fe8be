import type { Row } from '@attune/core';
import { roleOf, systemOf } from '@attune/core/text';
import { isPlainObject, sameValue } from '@attune/core/util';

// Stages look at rows before and after they are validated, so nothing here throws: what has an odd
// shape has the text that is found in it.

/**
 * All text of a row in any known format, prompts and answers joined by line breaks: what stages
 * compare by default. A row in no known format has all of its strings, column by column.
 */
export const rowText = (row: Row): string => join(partsOf(row));

function partsOf(row: Row): (string | null)[] {
  const turns = turnsOf(row);
  if (turns) return [systemText(row, turns), ...turns.map(({ text }) => text)];
  if (isPair(row)) {
    const prompt = promptOf(row);
    const answers = answersOf(row);
    return [systemText(row), prompt, answers.chosen, answers.rejected];
  }
  if ('completion' in row)
    return [systemText(row), contentText(row.prompt), contentText(row.completion)];
  if (isAlpaca(row)) return [promptOf(row), contentText(row.output)];
  if (typeof row.text === 'string') return [row.text];
  return allStrings(row);
}

/**
 * The text that a row asks with: what comes before the last answer. A preference pair without
 * a prompt has what both answers begin with.
 *
 * @returns null for a row that asks nothing: plain text, an unknown format
 */
export function promptOf(row: Row): string | null {
  const turns = turnsOf(row);
  if (turns) {
    const last = turns.findLastIndex(isAnswer);
    const asked = turns.slice(0, last < 0 ? turns.length : last);
    return orNull(join([systemText(row, turns), ...asked.map(({ text }) => text)]));
  }
  if (isPair(row) || 'prompt' in row) {
    const prompt = row.prompt == null && isPair(row) ? sharedPrompt(row) : contentText(row.prompt);
    return orNull(join([systemText(row), prompt]));
  }
  if (!isAlpaca(row)) return null;
  const history = Array.isArray(row.history) ? stringsIn(row.history) : [];
  const asked = [contentText(row.instruction), contentText(row.input)];
  return orNull(join([systemText(row), ...history, ...asked]));
}

/**
 * The text that a row answers with: the last turn of the assistant; of a preference pair the chosen
 * one.
 *
 * @returns null for a row that answers nothing: plain text, prompts alone, an unknown format
 */
export function answerOf(row: Row): string | null {
  const turns = turnsOf(row);
  if (turns) return turns.findLast(isAnswer)?.text ?? null;
  if (isPair(row)) return answersOf(row).chosen;
  if ('completion' in row) return contentText(row.completion);
  return isAlpaca(row) ? contentText(row.output) : null;
}

/** One message of a conversation. */
export interface Turn {
  readonly role: string;
  readonly text: string | null;
}

const isAnswer = ({ role }: Turn): boolean => (roleOf(role) ?? role) === 'assistant';

/** The turns of a conversation; null for another row. */
export function turnsOf(row: Row): Turn[] | null {
  const messages = row.messages ?? row.conversations;
  return Array.isArray(messages) ? messages.map(turnOf) : null;
}

function turnOf(message: unknown): Turn {
  if (!isPlainObject(message)) return { role: '', text: contentText(message) };
  const role = message.role ?? message.from;
  return { role: typeof role === 'string' ? role : '', text: messageText(message) };
}

/** What a message says and calls. */
function messageText(message: Readonly<Record<string, unknown>>): string | null {
  const said = contentText(message.content ?? message.value);
  const calls = message.tool_calls ?? message.function_call;
  return orNull(join([said, ...(calls == null ? [] : stringsIn(calls))]));
}

/** Text, parts, messages, or the answer of a tool as an object. */
function contentText(content: unknown): string | null {
  if (typeof content === 'string') return content;
  if (!Array.isArray(content)) return isPlainObject(content) ? JSON.stringify(content) : null;
  const parts = content.map((part: unknown) =>
    typeof part === 'string'
      ? part
      : isPlainObject(part)
        ? 'role' in part || 'from' in part
          ? messageText(part)
          : typeof part.text === 'string'
            ? part.text
            : null
        : null,
  );
  return orNull(join(parts));
}

/** The system prompt in a column of its own, where the messages have none. */
const systemText = (row: Row, turns: readonly Turn[] = []): string | null =>
  turns[0] && roleOf(turns[0].role) === 'system' ? null : systemOf(row);

const isPair = (row: Row): boolean => 'chosen' in row && 'rejected' in row;

const isAlpaca = (row: Row): boolean => 'instruction' in row && 'output' in row;

/** Messages that both answers begin with, or text. */
function sharedPrompt({ chosen, rejected }: Row): string | null {
  if (typeof chosen === 'string' && typeof rejected === 'string')
    return chosen.slice(0, sharedLength(chosen, rejected));
  if (!Array.isArray(chosen) || !Array.isArray(rejected)) return null;
  return contentText(chosen.slice(0, sharedLength(chosen, rejected)));
}

function answersOf(row: Row): { chosen: string | null; rejected: string | null } {
  const { prompt, chosen, rejected } = row;
  const cut = (answer: unknown, length: number) =>
    contentText(
      typeof answer === 'string' || Array.isArray(answer) ? answer.slice(length) : answer,
    );
  const isShared =
    prompt == null &&
    ((typeof chosen === 'string' && typeof rejected === 'string') ||
      (Array.isArray(chosen) && Array.isArray(rejected)));
  const length = isShared ? sharedLength(chosen as string, rejected as string) : 0;
  return { chosen: cut(chosen, length), rejected: cut(rejected, length) };
}

/** Characters, or messages, that two answers begin with; a last message is an answer always. */
function sharedLength(
  one: string | readonly unknown[],
  other: string | readonly unknown[],
): number {
  const isText = typeof one === 'string';
  const most = Math.min(one.length, other.length) - (isText ? 0 : 1);
  let length = 0;
  while (
    length < most &&
    (isText ? one[length] === other[length] : sameValue(one[length], other[length]))
  )
    length++;
  if (!isText || length === 0) return Math.max(0, length);
  const last = one.charCodeAt(length - 1);
  // Half of a character outside of the basic plane is no character; a space goes with the answer.
  if (last >= 0xd800 && last <= 0xdbff) length--;
  return one[length - 1] === ' ' ? length - 1 : length;
}

/** All strings within a value, from the first to the last. */
function stringsIn(value: unknown): string[] {
  const found: string[] = [];
  const left: unknown[] = [value];
  while (left.length > 0) {
    const item = left.pop();
    if (typeof item === 'string') found.push(item);
    else if (Array.isArray(item)) for (let i = item.length - 1; i >= 0; i--) left.push(item[i]);
    else if (isPlainObject(item)) left.push(...Object.values(item).reverse());
  }
  return found;
}

const allStrings = (row: Row): string[] => stringsIn(Object.values(row));

const orNull = (text: string): string | null => (text === '' ? null : text);

function join(parts: readonly (string | null)[]): string {
  return parts.filter((part) => part !== null && part !== '').join('\n');
}
