import type { Row } from '../dataset/dataset.js';
import type { TemplateInput } from '../tokenizer/assistantMask.js';
import type { ChatMessage } from '../tokenizer/chatTemplate.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { parseRemembering, remembering } from '../util/readAs.js';
import { isConversation, withSystem } from './conversationColumns.js';
import { otherModality } from './otherModalities.js';
import { roleOf } from './roles.js';

/** The messages of a conversation, and what a template gets beside them. */
export type Messages = readonly ChatMessage[];

export type { TemplateInput };

/** What a row is, whatever its spelling: the cases that tokenising tells apart. */
export type SftRow =
  | { readonly kind: 'tokens'; readonly inputIds: readonly number[]; readonly labels: Labels }
  | { readonly kind: 'prompt'; readonly prompt: string; readonly completion: string }
  | {
      readonly kind: 'chatPrompt';
      readonly prompt: Messages;
      readonly completion: Messages;
      readonly template: TemplateInput;
    }
  | { readonly kind: 'messages'; readonly messages: Messages; readonly template: TemplateInput }
  | { readonly kind: 'text'; readonly text: string };

type Labels = readonly number[] | undefined;

const ACCEPTED =
  '{ prompt, completion } as strings or message lists; { messages: [{ role, content }] }; { text }; ' +
  '{ instruction, input, output } (Alpaca); { conversations: [{ from, value }] } (ShareGPT); { input_ids, labels }';

const hint = (row: Row): string =>
  'chosen' in row && 'rejected' in row
    ? ' Preference pairs train with DPOTrainer of @attune/align.'
    : '';

/**
 * Recognises the format of a row for supervised fine-tuning.
 *
 * @param origin where the row came from, for the error: "train.jsonl:12"
 * @throws ROW_FORMAT with the fields found and the formats accepted
 */
export function readSftRow(row: unknown, origin: string): SftRow {
  if (typeof row !== 'object' || row === null)
    throw rowError(origin, `a row is an object with named fields; this is ${preview(row)}.`);
  const fields = withoutNulls(row as Row);
  const other = otherModality(fields);
  if (other !== null)
    throw new AttuneError(
      'ROW_FORMAT',
      `${origin}: the row has something that is no text (${other}); training and generation are of text alone.`,
      {
        remedy: 'Leave such rows out, or take the column or the part out of them.',
        details: { origin },
      },
    );
  const ids = fields.input_ids ?? fields.inputIds;
  if (ids !== undefined) return readTokens(fields, ids, origin);
  if ('prompt' in fields && 'completion' in fields) {
    const { prompt, completion } = fields;
    if (typeof prompt === 'string' && typeof completion === 'string')
      return { kind: 'prompt', prompt, completion };
    if (Array.isArray(prompt) && Array.isArray(completion))
      return {
        kind: 'chatPrompt',
        prompt: withSystem(readMessages(prompt, 'prompt', origin), fields),
        completion: readMessages(completion, 'completion', origin),
        template: readTemplateInput(fields, origin),
      };
    throw notAPair(row as Row, origin);
  }
  const conversation = ['messages', 'conversations'].find((field) => field in fields);
  if (conversation)
    return {
      kind: 'messages',
      messages: withSystem(readMessages(fields[conversation], conversation, origin), fields),
      template: readTemplateInput(fields, origin),
    };
  if ('instruction' in fields && 'output' in fields) return readAlpaca(fields, origin);
  if ('text' in fields) return { kind: 'text', text: readString(fields, 'text', origin) };
  if ('prompt' in row && 'completion' in row) throw notAPair(row as Row, origin);
  const found = Object.keys(row);
  throw rowError(
    origin,
    `the row has ${found.length > 0 ? `the fields ${found.map((f) => `"${f}"`).join(', ')}` : 'no fields'}; that is no format for supervised fine-tuning.${hint(fields)}`,
  );
}

/** A null column is one that this row has not: files of columns have every column in every row. */
export const withoutNulls = (row: Row): Row =>
  remembering(Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)), row);

const REMEDY = `Accepted: ${ACCEPTED}. Or give a formattingFunc that returns the text.`;

const rowError = (origin: string, message: string, remedy = REMEDY): AttuneError =>
  new AttuneError('ROW_FORMAT', `${origin}: ${message}`, { remedy, details: { origin } });

const notAPair = ({ prompt, completion }: Row, origin: string): AttuneError =>
  rowError(
    origin,
    `prompt (${preview(prompt)}) and completion (${preview(completion)}) are to be two strings or two message lists.`,
  );

const preview = (value: unknown): string => {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
};

function readString(row: Row, field: string, origin: string): string {
  const value = row[field];
  if (typeof value === 'string') return value;
  throw rowError(origin, `"${field}" is to be a string; it is ${preview(value)}.`);
}

/**
 * Stanford Alpaca's two prompts (tatsu-lab/stanford_alpaca), with and without an input; the answer
 * follows the last colon at once. A row with a system prompt, earlier turns or tools is a
 * conversation: there they have a place.
 */
function readAlpaca(row: Row, origin: string): SftRow {
  const instruction = readString(row, 'instruction', origin);
  const completion = readString(row, 'output', origin);
  const input = row.input == null ? '' : readString(row, 'input', origin);
  if (isConversation(row)) {
    const asked = input ? `${instruction}\n${input}` : instruction;
    const before = [...readHistory(row.history, origin), { role: 'user', content: asked }];
    return {
      kind: 'chatPrompt',
      prompt: withSystem(before, row),
      completion: [{ role: 'assistant', content: completion }],
      template: readTemplateInput(row, origin),
    };
  }
  const prompt = input
    ? `Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Input:\n${input}\n\n### Response:`
    : `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n${instruction}\n\n### Response:`;
  return { kind: 'prompt', prompt, completion };
}

/** Earlier turns: pairs of what the user and the assistant said, or messages. */
function readHistory(history: unknown, origin: string): Messages {
  if (history == null || (Array.isArray(history) && history.length === 0)) return [];
  if (Array.isArray(history) && history.every(isPlainObject))
    return readMessages(history, 'history', origin);
  const isPair = (turn: unknown): turn is [string, string] =>
    Array.isArray(turn) && turn.length === 2 && turn.every((said) => typeof said === 'string');
  if (!Array.isArray(history) || !history.every(isPair))
    throw rowError(
      origin,
      `"history" is to be a list of [what the user said, what the assistant said]; it is ${preview(history)}.`,
    );
  return history.flatMap(([user, assistant]) => [
    { role: 'user', content: user },
    { role: 'assistant', content: assistant },
  ]);
}

/** What a message may say beside its content, or without it. */
const SAYINGS = ['tool_calls', 'function_call', 'reasoning_content', 'thinking', 'reasoning'];

/**
 * A list of { role, content }, or of ShareGPT's { from, value }. Content is a text, parts or an
 * object (a tool's answer), as the chat template takes it; keys that are null are left out, as
 * transformers does.
 *
 * @param remedy what the error says to do; default: the formats of supervised fine-tuning
 * @throws ROW_FORMAT
 */
export function readMessages(
  value: unknown,
  field: string,
  origin: string,
  remedy = REMEDY,
): Messages {
  if (!Array.isArray(value) || value.length === 0)
    throw rowError(
      origin,
      `"${field}" is to be a list of messages; it is ${preview(value)}.`,
      remedy,
    );
  return value.map((message: unknown, i) => {
    const given = isPlainObject(message) ? message : {};
    const { from, value: said, ...rest } = given;
    const role = rest.role ?? (typeof from === 'string' ? (roleOf(from) ?? from) : undefined);
    const content = rest.content ?? said ?? null;
    const isNull = rest.content === null || said === null;
    const says = content !== null || isNull || SAYINGS.some((key) => rest[key] != null);
    if (typeof role !== 'string' || !says || !isContent(content))
      throw rowError(
        origin,
        `"${field}"[${i}] is to be { role, content }, the role a string, the content a string or a list of parts; it is ${preview(message)}.`,
        remedy,
      );
    const kept = Object.entries({ ...rest, role, content }).filter(([, item]) => item !== null);
    return remembering(Object.fromEntries(kept) as ChatMessage, given);
  });
}

const isContent = (value: unknown): value is ChatMessage['content'] =>
  value === null ||
  typeof value === 'string' ||
  isPlainObject(value) ||
  (Array.isArray(value) && value.every((part) => typeof part === 'string' || isPlainObject(part)));

/**
 * What the chat template gets beside the messages of a row. `tools` is a list, or the JSON of one,
 * as data sets of one column type store it.
 *
 * @param remedy what the error says to do; default: the formats of supervised fine-tuning
 * @throws ROW_FORMAT
 */
export function readTemplateInput(row: Row, origin: string, remedy = REMEDY): TemplateInput {
  let { tools } = row;
  const variables = row.chat_template_kwargs ?? row.chatTemplateKwargs;
  try {
    if (typeof tools === 'string') tools = parseRemembering(tools);
  } catch {
    // Reported below as what it is.
  }
  if (tools != null && !Array.isArray(tools))
    throw rowError(
      origin,
      `"tools" is to be a list of functions; it is ${preview(tools)}.`,
      remedy,
    );
  if (variables != null && !isPlainObject(variables))
    throw rowError(
      origin,
      `"chat_template_kwargs" is to be an object of variables for the template; it is ${preview(variables)}.`,
      remedy,
    );
  return { ...(tools ? { tools } : {}), ...(variables ? { variables } : {}) };
}

function readTokens(row: Row, ids: unknown, origin: string): SftRow {
  const isIds = (value: unknown): value is number[] =>
    Array.isArray(value) && value.every(Number.isInteger);
  if (!isIds(ids) || ids.length === 0)
    throw rowError(origin, `"input_ids" is to be a list of token ids; it is ${preview(ids)}.`);
  const mask = row.completion_mask ?? row.completionMask;
  const labels =
    row.labels ??
    (isIds(mask) && mask.length === ids.length
      ? ids.map((id, i) => (mask[i] ? id : -100))
      : undefined);
  if (labels !== undefined && !(isIds(labels) && labels.length === ids.length))
    throw rowError(
      origin,
      `"labels" is to be a list of ${ids.length} numbers, one for each of input_ids; it is ${preview(labels)}.`,
    );
  return { kind: 'tokens', inputIds: ids, labels: labels as Labels };
}
