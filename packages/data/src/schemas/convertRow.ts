import { AttuneError, type Row } from '@attune/core';
import { sameValue } from '@attune/core/util';
import { cannot, withColumns } from './convertParts.js';
import { schemaOf } from './detectSchema.js';
import { SCHEMA_NAMES, type SchemaName } from './rowSchemas.js';
import { answered, asked, type Turn, toMessages, turnsOf } from './toMessages.js';

/**
 * A row in another format; the same one where it has it already. Columns that no format knows stay.
 *
 * - Roles become those of chat templates: "human" is "user", "gpt" is "assistant".
 * - A system prompt in a column of its own becomes the first message.
 * - Calls that ShareGPT writes as JSON become `tool_calls`.
 * - `prompt-completion` of a conversation is two lists of messages; the last turn is the
 *   completion.
 * - `preference` without a prompt gets the one that both answers begin with, as TRL's
 *   `extract_prompt`; where one answer is the beginning of the other the prompt is all that they
 *   share, which is one character more than there.
 * - `unpaired` of a preference pair is two rows: {@link unpairRow}.
 *
 * @throws ROW_FORMAT where something would be lost, or the row has no known format
 */
export function convertRow(row: Row, to: SchemaName): Row {
  const from = schemaOf(row);
  if (from === null)
    throw new AttuneError(
      'ROW_FORMAT',
      `the row has the columns ${
        Object.keys(row)
          .map((name) => `"${name}"`)
          .join(', ') || 'none'
      }; that is no known format.`,
      { remedy: `Formats: ${SCHEMA_NAMES.join(', ')}.` },
    );
  switch (to) {
    case 'messages':
      return toMessages(row, from);
    case 'sharegpt':
      return from === 'sharegpt' ? row : toShareGpt(toMessages(row, from));
    case 'alpaca':
      return from === 'alpaca' ? row : toAlpaca(toMessages(row, from));
    case 'prompt-completion':
      return toPromptCompletion(row, from);
    case 'preference':
      if (from === 'preference') return withPrompt(row);
      throw cannot(from, to, 'there is no second answer');
    case 'unpaired':
      return toUnpaired(row, from);
    case 'text':
      return toText(row, from);
    case 'prompt':
      return toPrompt(row, from);
    case 'tokens':
      if (from === 'tokens') return row;
      throw cannot(from, to, 'a tokenizer is needed, which the Trainer has');
  }
}

/** A pair as two rows, the wanted answer first. @throws ROW_FORMAT for other rows */
export function unpairRow(row: Row): readonly [Row, Row] {
  if (schemaOf(row) !== 'preference')
    throw cannot('the row', 'unpaired', 'it is no preference pair');
  const { prompt, chosen, rejected, ...rest } = withPrompt(row);
  return [
    { prompt, completion: chosen, label: true, ...rest },
    { prompt, completion: rejected, label: false, ...rest },
  ];
}

function toShareGpt(row: Row): Row {
  const names: Readonly<Record<string, string>> = {
    user: 'human',
    assistant: 'gpt',
    tool: 'observation',
  };
  const conversations = (row.messages as readonly Turn[]).flatMap((turn) => {
    const { role, content, tool_calls: calls, ...rest } = turn;
    if (content != null && typeof content !== 'string')
      throw cannot('a message of parts', 'sharegpt', 'its value is text');
    const said = content ? [{ from: names[role] ?? role, value: content, ...rest }] : [];
    if (!Array.isArray(calls))
      return content == null ? [] : [{ from: names[role] ?? role, value: content, ...rest }];
    const called = calls.map((call) => (call as { function?: unknown }).function ?? call);
    const value = JSON.stringify(called.length === 1 ? called[0] : called);
    return [...said, { from: 'function_call', value }];
  });
  return withColumns(row, ['messages'], { conversations });
}

function toAlpaca(row: Row): Row {
  const turns = row.messages as readonly Turn[];
  const system = turns[0]?.role === 'system' ? turns[0] : null;
  const said = system ? turns.slice(1) : turns;
  const isPlain = said.every(
    ({ role, content, tool_calls: calls }, i) =>
      role === (i % 2 === 0 ? 'user' : 'assistant') && typeof content === 'string' && calls == null,
  );
  if (!isPlain || said.length < 2 || said.length % 2 !== 0)
    throw cannot('messages', 'alpaca', 'it is no text of user and assistant in turn');
  const texts = said.map(({ content }) => content as string);
  const [instruction, output] = texts.slice(-2);
  const history = texts.slice(0, -2);
  return withColumns(row, ['messages'], {
    ...(system && { system: system.content }),
    ...(history.length > 0 && {
      history: Array.from({ length: history.length / 2 }, (_, i) =>
        history.slice(2 * i, 2 * i + 2),
      ),
    }),
    instruction,
    input: '',
    output,
  });
}

function toPromptCompletion(row: Row, from: SchemaName): Row {
  if (from === 'prompt-completion') {
    if (typeof row.prompt === 'string') return row;
    const prompt = turnsOf(row.prompt, 'prompt');
    const completion = turnsOf(row.completion, 'completion');
    const isSame = prompt === row.prompt && completion === row.completion;
    return isSame ? row : { ...row, prompt, completion };
  }
  const converted = toMessages(row, from);
  const turns = converted.messages as readonly Turn[];
  if (turns.at(-1)?.role !== 'assistant' || turns.length < 2)
    throw cannot(from, 'prompt-completion', 'the last message is not an answer of the assistant');
  return withColumns(converted, ['messages'], {
    prompt: turns.slice(0, -1),
    completion: turns.slice(-1),
  });
}

/** A pair whose prompt is said. */
function withPrompt(row: Row): Row {
  const { prompt, chosen, rejected } = row;
  if (typeof chosen === 'string' && typeof rejected === 'string') {
    if (prompt != null) return row;
    const end = sharedCharacters(chosen, rejected);
    return {
      ...row,
      prompt: chosen.slice(0, end),
      chosen: chosen.slice(end),
      rejected: rejected.slice(end),
    };
  }
  const one = answered(chosen, 'chosen');
  const other = answered(rejected, 'rejected');
  if (prompt != null) {
    if (typeof prompt === 'string' && Array.isArray(chosen))
      return { ...row, ...afterPrompt(asked(prompt), one, other) };
    const given = asked(prompt);
    const isSame = given === prompt && one === chosen && other === rejected;
    return isSame ? row : { ...row, prompt: given, chosen: one, rejected: other };
  }
  const most = Math.min(one.length, other.length) - 1;
  let end = 0;
  while (end < most && sameValue(one[end], other[end])) end++;
  return {
    ...row,
    prompt: one.slice(0, end),
    chosen: one.slice(end),
    rejected: other.slice(end),
  };
}

/** A prompt as text beside answers that are whole conversations: it stands in them again. */
function afterPrompt(prompt: readonly Turn[], chosen: readonly Turn[], rejected: readonly Turn[]) {
  const rest = (turns: readonly Turn[]) =>
    prompt.every((turn, i) => sameValue(turns[i], turn)) ? turns.slice(prompt.length) : turns;
  return { prompt, chosen: rest(chosen), rejected: rest(rejected) };
}

function sharedCharacters(one: string, other: string): number {
  const most = Math.min(one.length, other.length);
  let end = 0;
  while (end < most && one[end] === other[end]) end++;
  const last = one.charCodeAt(end - 1);
  // Half of a character outside of the basic plane is no character.
  if (last >= 0xd800 && last <= 0xdbff) end--;
  return one[end - 1] === ' ' ? end - 1 : end;
}

const labels: ReadonlyMap<unknown, boolean> = new Map<unknown, boolean>([
  ...[true, 1, 'true', 'True', 'TRUE'].map((value) => [value, true] as const),
  ...[false, 0, -1, 'false', 'False', 'FALSE'].map((value) => [value, false] as const),
]);

function toUnpaired(row: Row, from: SchemaName): Row {
  if (from === 'preference')
    throw cannot(from, 'unpaired', 'it is two rows, which unpairRow gives');
  const label = from === 'unpaired' ? labels.get(row.label) : undefined;
  if (label === undefined) throw cannot(from, 'unpaired', 'there is no label of true or false');
  return label === row.label ? row : { ...row, label };
}

function toText(row: Row, from: SchemaName): Row {
  if (from === 'text') return row;
  const { prompt, completion } = row;
  if (from === 'prompt-completion' && typeof prompt === 'string' && typeof completion === 'string')
    return withColumns(row, ['prompt', 'completion'], { text: prompt + completion });
  throw cannot(from, 'text', 'a chat template is needed, which the Trainer applies');
}

function toPrompt(row: Row, from: SchemaName): Row {
  if (from === 'prompt') return row;
  if (from === 'preference') return withColumns(withPrompt(row), ['chosen', 'rejected'], {});
  if (from === 'unpaired') return withColumns(row, ['completion', 'label'], {});
  const { completion: _completion, ...rest } = toPromptCompletion(row, from);
  return rest;
}
