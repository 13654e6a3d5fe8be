import type { Row } from '../dataset/dataset.js';
import { isPlainObject } from '../util/json.js';
import type { Messages, SftRow } from './formats.js';

/** Columns that hold the system prompt of a row, by the names that data sets give them. */
const SYSTEM = ['system', 'system_prompt', 'systemPrompt'];

/** Columns that the chat template gets. */
const TEMPLATE = ['tools', 'chat_template_kwargs', 'chatTemplateKwargs'];

/** Columns of ids that say nothing that the ids do not. */
const OF_IDS = [
  'attention_mask',
  'token_type_ids',
  'special_tokens_mask',
  'position_ids',
  'length',
];

/**
 * Columns that change what a row means: without them it would be trained otherwise than it was
 * meant.
 */
const MEANT: ReadonlySet<string> = new Set([
  ...SYSTEM,
  ...TEMPLATE,
  'history',
  'input',
  'functions',
  'documents',
  'weight',
  'weights',
]);

export const isMeant = (column: string): boolean => MEANT.has(column) || column.includes('[].');

const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  value === '' ||
  (Array.isArray(value) && value.length === 0) ||
  (isPlainObject(value) && Object.keys(value).length === 0);

/** The system prompt of a row in a column of its own; null without one. */
export function systemOf(row: Row): string | null {
  const found = SYSTEM.map((column) => row[column]).find((value) => !isEmpty(value));
  return typeof found === 'string' ? found : null;
}

/** Messages behind the system prompt of their row, unless they have one of their own. */
export function withSystem(messages: Messages, row: Row): Messages {
  const content = systemOf(row);
  if (content === null || hasSystem(messages)) return messages;
  return [{ role: 'system', content }, ...messages];
}

const hasSystem = (messages: Messages): boolean =>
  messages.some(({ role }) => role === 'system' || role === 'developer');

/** Whether a row of { instruction, output } has what only a conversation has a place for. */
export const isConversation = (row: Row): boolean =>
  [...SYSTEM, 'history', 'tools'].some((column) => !isEmpty(row[column]));

/**
 * Columns with something in them that the row as it was read does not have, by name; of messages,
 * "messages[].weight" where it stands beside words that are never learned.
 */
export function unusedColumns(row: unknown, read: SftRow): string[] {
  if (!isPlainObject(row)) return [];
  const used = new Set(usedColumns(row, read));
  const unused = Object.keys(row).filter((column) => !isEmpty(row[column]) && !used.has(column));
  const messages = read.kind === 'messages' ? read.messages : [];
  const isStray = messages.some((m) => m.role !== 'assistant' && Number(m.weight ?? 0) !== 0);
  return isStray ? [...unused, 'messages[].weight (not of the assistant)'] : unused;
}

function usedColumns(row: Row, read: SftRow): string[] {
  switch (read.kind) {
    case 'tokens':
      return ['input_ids', 'inputIds', 'labels', 'completion_mask', 'completionMask', ...OF_IDS];
    case 'text':
      return ['text'];
    case 'prompt':
      return 'completion' in row ? ['prompt', 'completion'] : ['instruction', 'input', 'output'];
    case 'chatPrompt': {
      const own =
        'completion' in row
          ? ['prompt', 'completion']
          : ['instruction', 'input', 'output', 'history'];
      return [...own, ...TEMPLATE, ...systemColumns(row, read.prompt)];
    }
    case 'messages':
      return [
        'messages' in row && !isEmpty(row.messages) ? 'messages' : 'conversations',
        ...TEMPLATE,
        ...systemColumns(row, read.messages),
      ];
  }
}

/** Those whose text the messages begin with. */
const systemColumns = (row: Row, messages: Messages): string[] =>
  SYSTEM.filter((column) => messages[0]?.role === 'system' && messages[0].content === row[column]);
