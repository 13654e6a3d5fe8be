import type { Row } from '@attune/core';
import {
  commonPrefix,
  type Messages,
  otherModality,
  readMessages,
  readTemplateInput,
  type TemplateInput,
  withoutNulls,
  withSystem,
} from '@attune/core/text';
import { briefly, isPlainObject, sameValue } from '@attune/core/util';
import { sharedMessages, sharedText } from './implicitPrompt.js';
import { fieldsOf, missingColumn, type RowFormat, rowError } from './rowErrors.js';

/** A prompt and answers to it, whatever their spelling: the cases that tokenising tells apart. */
export type PromptWithAnswers =
  | { readonly kind: 'text'; readonly prompt: string; readonly answers: readonly string[] }
  | {
      readonly kind: 'chat';
      readonly prompt: Messages;
      readonly answers: readonly Messages[];
      readonly template: TemplateInput;
    }
  | {
      readonly kind: 'tokens';
      readonly promptIds: readonly number[];
      readonly answers: readonly (readonly number[])[];
    };

/** A row as it was read. */
export interface ReadAnswers {
  readonly read: PromptWithAnswers;
  /** Remarks about the row. */
  readonly notes: readonly string[];
}

const SYSTEM = ['system', 'system_prompt', 'systemPrompt'];
const PROMPT_IDS = ['prompt_ids', 'promptIds', 'prompt_input_ids', 'promptInputIds'];
const CONVERSATIONS = ['messages', 'conversations'];

/** Columns that a row with an answer of this name may have. */
export const columnsOf = (answers: readonly string[]): readonly string[] => [
  ...['prompt', ...answers, ...CONVERSATIONS, ...SYSTEM],
  ...['tools', 'chat_template_kwargs', 'chatTemplateKwargs'],
  ...PROMPT_IDS,
  ...answers.flatMap((name) => [...idColumns(name), `${name}_attention_mask`, `${name}_labels`]),
  ...['prompt_attention_mask'],
];

const idColumns = (name: string): readonly string[] => [
  ...[`${name}_ids`, `${name}Ids`],
  ...[`${name}_input_ids`, `${name}InputIds`],
];

/**
 * Reads a row of a prompt and of answers in the columns `names`: as texts, as lists of messages
 * (`{ role, content }` or ShareGPT's `{ from, value }`), or as token ids. Without a prompt, it is
 * the beginning that the answers share.
 *
 * @param needsPrompt false: conversations that share no message are taken as they are
 * @throws ROW_FORMAT
 */
export function readAnswers(
  row: unknown,
  origin: string,
  names: readonly string[],
  format: RowFormat,
  needsPrompt = true,
): ReadAnswers {
  const given = fieldsOf(row, origin, format);
  const fields = withoutNulls(given);
  const other = otherModality(fields);
  if (other !== null)
    throw rowError(origin, `the row has something that is no text (${other}).`, format);
  const isTokens = names.some((name) => idColumns(name).some((column) => column in fields));
  if (isTokens && !names.some((name) => name in fields))
    return readTokens(fields, origin, names, format);
  const answers = names.map((name) => {
    if (!(name in fields)) throw missingColumn(name, given, origin, format);
    return fields[name];
  });
  const prompt = fields.prompt ?? CONVERSATIONS.map((name) => fields[name]).find((v) => v != null);
  if (answers.every((answer) => typeof answer === 'string')) {
    if (prompt === undefined && names.length === 1)
      throw missingColumn('prompt', given, origin, format);
    if (prompt !== undefined && typeof prompt !== 'string')
      throw mixed(prompt, answers, names, origin, format);
    return readTexts(prompt, answers);
  }
  if (!answers.every((answer) => Array.isArray(answer) || isPlainObject(answer)))
    throw mixed(prompt, answers, names, origin, format);
  return readConversations(fields, prompt, answers, names, origin, format, needsPrompt);
}

function readTexts(prompt: string | undefined, answers: readonly string[]): ReadAnswers {
  if (prompt !== undefined) {
    const repeats = prompt.trim() !== '' && answers.every((text) => text.startsWith(prompt));
    const notes = repeats
      ? [
          'the answers begin with the whole prompt, which is there twice then: take it out of them, or leave the column "prompt" out',
        ]
      : [];
    return { read: { kind: 'text', prompt, answers }, notes };
  }
  const shared = sharedText(answers);
  const notes =
    shared.prompt === '' ? ['the answers share no beginning, so that the prompt is empty'] : [];
  return { read: { kind: 'text', ...shared }, notes };
}

function readConversations(
  fields: Row,
  given: unknown,
  answers: readonly unknown[],
  names: readonly string[],
  origin: string,
  format: RowFormat,
  needsPrompt: boolean,
): ReadAnswers {
  const remedy = `Accepted: ${format.accepted}.`;
  const template = readTemplateInput(fields, origin, remedy);
  const read = answers.map((answer, i) =>
    readMessages(isPlainObject(answer) ? [answer] : answer, names[i]!, origin, remedy),
  );
  const { prompt, answers: said, notes } = cut(given, read, names, origin, format, needsPrompt);
  said.forEach((messages, i) => {
    if (messages.some(({ role }) => role === 'assistant')) return;
    const roles = messages.map(({ role }) => role).join(', ');
    throw rowError(
      origin,
      `"${names[i]}" has no message of the assistant to score (roles: ${roles || 'none'}).`,
      format,
    );
  });
  const isOther = said.some(([first]) => first!.role !== 'assistant');
  return {
    read: { kind: 'chat', prompt: withSystem(prompt, fields), answers: said, template },
    notes: isOther
      ? [
          ...notes,
          'an answer begins with a message that is not of the assistant, whose words are scored',
        ]
      : notes,
  };
}

/** Where the prompt ends and answers begin. */
function cut(
  given: unknown,
  read: readonly Messages[],
  names: readonly string[],
  origin: string,
  format: RowFormat,
  needsPrompt: boolean,
): { readonly prompt: Messages; readonly answers: readonly Messages[]; readonly notes: string[] } {
  const remedy = `Accepted: ${format.accepted}.`;
  if (Array.isArray(given)) {
    const prompt = readMessages(given, 'prompt', origin, remedy);
    const repeats = read.every(
      (messages) =>
        messages.length > prompt.length && prompt.every((m, i) => sameValue(m, messages[i])),
    );
    if (!repeats) return { prompt, answers: read, notes: [] };
    return {
      prompt,
      answers: read.map((messages) => messages.slice(prompt.length)),
      notes: ['the answers are whole conversations that begin with the prompt: it is taken once'],
    };
  }
  if (given !== undefined && typeof given !== 'string')
    throw rowError(
      origin,
      `"prompt" is to be a text or a list of messages; it is ${briefly(given, 60)}.`,
      format,
    );
  const isAnswerAlone = read.every(([first]) => first!.role === 'assistant');
  if (isAnswerAlone && given !== undefined)
    return { prompt: [{ role: 'user', content: given }], answers: read, notes: [] };
  const shared = read.length > 1 ? sharedMessages(read) : lastTurn(read[0]!);
  if (shared.prompt.length > 0 || !needsPrompt) return { ...shared, notes: [] };
  throw rowError(
    origin,
    `there is no "prompt", and ${names.map((n) => `"${n}"`).join(' and ')} ${read.length > 1 ? 'share no message that could be it' : 'has no message before its answer'} (roles: ${read.map((m) => m.map(({ role }) => role).join(', ')).join('; ')}).`,
    format,
  );
}

/** A conversation before its last answer, and that answer. */
function lastTurn(messages: Messages) {
  const end = messages.map(({ role }) => role).lastIndexOf('assistant');
  return {
    prompt: messages.slice(0, Math.max(end, 0)),
    answers: [messages.slice(Math.max(end, 0))],
  };
}

/**
 * Ids as TRL spells them. `chosen_ids` beside `prompt_ids` are an answer's own; a sequence that
 * begins with the prompt's ids under `chosen_input_ids` is the whole text, as TRL's CPO writes it.
 */
function readTokens(
  fields: Row,
  origin: string,
  names: readonly string[],
  format: RowFormat,
): ReadAnswers {
  const ids = (column: string): readonly number[] => {
    const value = fields[column];
    if (Array.isArray(value) && value.every(Number.isInteger)) return value as number[];
    throw rowError(
      origin,
      `"${column}" is to be a list of token ids; it is ${briefly(value, 60)}.`,
      format,
    );
  };
  const columns = names.map((name) => {
    const found = idColumns(name).find((column) => column in fields);
    if (found === undefined) throw missingColumn(`${name}_ids`, fields, origin, format);
    return found;
  });
  const sequences = columns.map(ids);
  const promptColumn = PROMPT_IDS.find((column) => column in fields);
  if (promptColumn !== undefined) {
    const promptIds = ids(promptColumn);
    const isWhole =
      promptIds.length > 0 &&
      columns.every((column) => /input_?ids$/i.test(column)) &&
      sequences.every((sequence) => commonPrefix(promptIds, sequence) === promptIds.length);
    const answers = isWhole ? sequences.map((s) => s.slice(promptIds.length)) : sequences;
    return { read: { kind: 'tokens', promptIds, answers }, notes: [] };
  }
  if (sequences.length === 1) throw missingColumn('prompt_ids', fields, origin, format);
  const [first = [], ...others] = sequences;
  const end = Math.min(first.length, ...others.map((other) => commonPrefix(first, other)));
  return {
    read: {
      kind: 'tokens',
      promptIds: first.slice(0, end),
      answers: sequences.map((s) => s.slice(end)),
    },
    notes: [],
  };
}

function mixed(
  prompt: unknown,
  answers: readonly unknown[],
  names: readonly string[],
  origin: string,
  format: RowFormat,
) {
  const all = [
    ...(prompt === undefined ? [] : [['prompt', prompt] as const]),
    ...answers.map((answer, i) => [names[i]!, answer] as const),
  ];
  const list = all.map(([name, value]) => `"${name}" is ${briefly(value, 50)}`).join(', ');
  return rowError(origin, `all are to be texts, or all lists of messages: ${list}.`, format);
}
