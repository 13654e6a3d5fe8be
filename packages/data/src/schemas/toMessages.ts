import type { Row } from '@attune/core';
import { roleOf, systemOf } from '@attune/core/text';
import { isPlainObject } from '@attune/core/util';
import { cannot, withColumns } from './convertParts.js';
import type { SchemaName } from './rowSchemas.js';

/** One turn, with what else it has. */
export interface Turn extends Readonly<Record<string, unknown>> {
  readonly role: string;
}

/** Columns of ids and of a system prompt, which a conversation begins with. */
const SYSTEM = ['system', 'system_prompt', 'systemPrompt'];

/** A row of one conversation as `{ messages }`. @throws ROW_FORMAT */
export function toMessages(row: Row, from: SchemaName): Row {
  switch (from) {
    case 'messages':
    case 'sharegpt': {
      const column = row.messages == null ? 'conversations' : 'messages';
      const turns = turnsOf(row[column], column);
      const isSame = column === 'messages' && turns === row.messages;
      return isSame
        ? row
        : withColumns(row, [column, ...SYSTEM], { messages: withSystem(turns, row) });
    }
    case 'alpaca': {
      const { instruction, input, output, history } = row;
      if ([instruction, input ?? '', output].some((text) => typeof text !== 'string'))
        throw cannot('alpaca', 'messages', 'instruction, input and output are not all text');
      const asked = input == null || input === '' ? instruction : `${instruction}\n${input}`;
      const messages = withSystem(
        [
          ...earlier(history),
          { role: 'user', content: asked },
          { role: 'assistant', content: output },
        ],
        row,
      );
      return withColumns(row, ['instruction', 'input', 'output', 'history', ...SYSTEM], {
        messages,
      });
    }
    case 'prompt-completion': {
      const messages = withSystem([...asked(row.prompt), ...answered(row.completion)], row);
      return withColumns(row, ['prompt', 'completion', ...SYSTEM], { messages });
    }
    default:
      throw cannot(from, 'messages', reasons[from]);
  }
}

const reasons: Partial<Record<SchemaName, string>> = {
  preference: 'the rejected answer has no place in a conversation',
  unpaired: 'the label has no place in a conversation',
  prompt: 'nobody answers',
  text: 'who says what is not in it',
  tokens: 'the text is not in it',
};

/** What a text or messages ask. */
export const asked = (prompt: unknown): readonly Turn[] =>
  typeof prompt === 'string' ? [{ role: 'user', content: prompt }] : turnsOf(prompt, 'prompt');

/** What a text or messages answer. */
export const answered = (answer: unknown, column = 'completion'): readonly Turn[] =>
  typeof answer === 'string' ? [{ role: 'assistant', content: answer }] : turnsOf(answer, column);

function withSystem(turns: readonly Turn[], row: Row): readonly Turn[] {
  const content = systemOf(row);
  const has = turns.some(({ role }) => role === 'system' || role === 'developer');
  return content === null || has ? turns : [{ role: 'system', content }, ...turns];
}

/** Earlier turns of an Alpaca row: pairs of what was said, or messages. */
function earlier(history: unknown): readonly Turn[] {
  if (history == null) return [];
  if (Array.isArray(history) && history.every(isPlainObject)) return turnsOf(history, 'history');
  if (!Array.isArray(history) || !history.every(Array.isArray))
    throw cannot('history', 'messages', 'it is no list of [user, assistant]');
  return (history as readonly (readonly unknown[])[]).flatMap(([user, assistant]) => [
    { role: 'user', content: user },
    { role: 'assistant', content: assistant },
  ]);
}

/**
 * Messages of either spelling as `{ role, content }`, with the roles that chat templates know. The
 * same list where nothing is another.
 *
 * @throws ROW_FORMAT
 */
export function turnsOf(value: unknown, column: string): readonly Turn[] {
  const messages = typeof value === 'string' ? parsed(value, column) : value;
  if (!Array.isArray(messages)) throw cannot(column, 'messages', 'it is no list');
  let isSame = messages === value;
  const turns = messages.map((message: unknown) => {
    if (!isPlainObject(message)) throw cannot(column, 'messages', 'one of them is no object');
    const turn = turnOf(message);
    isSame &&= turn === message;
    return turn;
  });
  return isSame ? (messages as readonly Turn[]) : turns;
}

function parsed(text: string, column: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw cannot(column, 'messages', 'it is text that is no JSON');
  }
}

/** Roles of older templates, which are left as they are under `role`. */
const KEPT = ['function', 'ipython'];

function turnOf(message: Readonly<Record<string, unknown>>): Turn {
  const speaker = message.role ?? message.from;
  const isShareGpt = message.role == null;
  if (typeof speaker !== 'string') throw cannot('a message', 'messages', 'it has no role');
  const role = !isShareGpt && KEPT.includes(speaker) ? speaker : (roleOf(speaker) ?? speaker);
  if (!isShareGpt && role === speaker && !('value' in message)) return message as Turn;
  const { from: _from, value, role: _role, content = value, ...rest } = message;
  const calls = /^(function|tool)[-_]call$/i.test(speaker) ? callsIn(content) : null;
  if (calls) return { role, content: '', ...rest, tool_calls: calls };
  return { role, content, ...rest };
}

/** Calls that ShareGPT writes as JSON into the value of a turn; null: it is something else. */
function callsIn(content: unknown): readonly object[] | null {
  if (typeof content !== 'string') return null;
  try {
    const calls: unknown[] = [JSON.parse(content)].flat();
    const isCall = (call: unknown) => isPlainObject(call) && typeof call.name === 'string';
    if (calls.length === 0 || !calls.every(isCall)) return null;
    return (calls as Record<string, unknown>[]).map((call) => ({
      type: 'function',
      function: { name: call.name, arguments: call.arguments ?? call.parameters ?? {} },
    }));
  } catch {
    return null;
  }
}
