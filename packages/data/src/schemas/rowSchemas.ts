import { briefly, isPlainObject } from '@attune/core/util';
import { z } from 'zod';
import { messagesSchema } from './messageSchema.js';

/** What is expected of a value, as the end of a sentence. */
const checked = (isRight: (value: unknown) => boolean, expected: string) =>
  z.custom<unknown>().superRefine((value: unknown, context) => {
    if (isRight(value)) return;
    const found = value === undefined ? 'not given' : briefly(value, 60);
    context.addIssue({ code: 'custom', message: `is ${found}; expected ${expected}` });
  });

const isText = (value: unknown): value is string => typeof value === 'string';
const text = checked(isText, 'text');
/** A column that is null is one that its row does not have. */
const optional = (isRight: (value: unknown) => boolean, expected: string) =>
  checked((value) => value == null || isRight(value), expected).optional();
const optionalText = optional(isText, 'text');

const tools = optional(
  (value) => Array.isArray(value) || isJsonList(value),
  'a list of functions, or the JSON of one',
);

function isJsonList(value: unknown): boolean {
  if (!isText(value)) return false;
  try {
    return Array.isArray(JSON.parse(value));
  } catch {
    return false;
  }
}

/** What a chat template gets beside messages. */
const template = {
  tools,
  chat_template_kwargs: optional(isPlainObject, 'an object of variables for the template'),
};

/** Adds what is wrong with messages. */
function addIssues(value: unknown, context: z.RefinementCtx): void {
  for (const issue of messagesSchema.safeParse(value).error?.issues ?? [])
    context.addIssue({ ...issue } as never);
}

/** Text, or messages. */
const textOrMessages = z.custom<unknown>().superRefine((value: unknown, context) => {
  if (isText(value)) return;
  if (!Array.isArray(value)) {
    const found = value === undefined ? 'not given' : briefly(value, 60);
    const message = `is ${found}; expected text or a list of messages`;
    return context.addIssue({ code: 'custom', message });
  }
  addIssues(value, context);
});

/** Columns that are texts all, or lists of messages all. */
const alike =
  (...names: readonly string[]) =>
  (row: Readonly<Record<string, unknown>>, context: z.RefinementCtx) => {
    const given = names.filter((name) => row[name] != null);
    const odd = given.find((name) => isText(row[name]) !== isText(row[given[0]!]));
    if (odd === undefined) return;
    const kind = (name: string) => (isText(row[name]) ? 'text' : 'a list of messages');
    context.addIssue({
      code: 'custom',
      path: [odd],
      message: `is ${kind(odd)}, and ${given[0]} is ${kind(given[0]!)}; expected both of one kind`,
    });
  };

const isIds = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every(Number.isInteger);

/** Ids, and a label for each. */
const tokens = z.looseObject({}).superRefine((row, context) => {
  const column = row.input_ids == null && row.inputIds != null ? 'inputIds' : 'input_ids';
  const { [column]: ids, labels } = row;
  const add = (path: string, value: unknown, expected: string) => {
    const found = value === undefined ? 'not given' : briefly(value, 60);
    context.addIssue({
      code: 'custom',
      path: [path],
      message: `is ${found}; expected ${expected}`,
    });
  };
  if (!isIds(ids) || ids.length === 0) return add(column, ids, 'a list of token ids');
  if (labels != null && !(isIds(labels) && labels.length === ids.length))
    add('labels', labels, `a list of ${ids.length} numbers, one for each id`);
});

/** Earlier turns: pairs of what was said, or messages. */
const history = z
  .unknown()
  .superRefine((value: unknown, context) => {
    if (value == null) return;
    const isPair = (turn: unknown) =>
      Array.isArray(turn) && turn.length === 2 && turn.every(isText);
    if (Array.isArray(value) && value.every(isPair)) return;
    if (Array.isArray(value) && value.every(isPlainObject)) return addIssues(value, context);
    const message = `is ${briefly(value, 60)}; expected a list of [what the user said, what the assistant said]`;
    context.addIssue({ code: 'custom', message });
  })
  .optional();

/**
 * Formats of rows, by name. Columns beside theirs are free.
 *
 * - `messages`: `{ messages: [{ role, content }], tools?, chat_template_kwargs? }`
 * - `sharegpt`: `{ conversations: [{ from, value }], system?, tools? }`
 * - `alpaca`: `{ instruction, input?, output, system?, history? }`
 * - `prompt-completion`: `{ prompt, completion }`, both texts or both lists of messages
 * - `preference`: `{ prompt?, chosen, rejected }`; without a prompt both answers begin with it
 * - `unpaired`: `{ prompt, completion, label }`, the label true or false
 * - `prompt`: `{ prompt }`, for models that answer while they are trained
 * - `text`: `{ text }`
 * - `tokens`: `{ input_ids, labels? }`
 */
export const rowSchemas = {
  messages: z.looseObject({ messages: messagesSchema, ...template }),
  sharegpt: z.looseObject({ conversations: messagesSchema, system: optionalText, ...template }),
  alpaca: z.looseObject({
    instruction: text,
    input: optionalText,
    output: text,
    system: optionalText,
    history,
    ...template,
  }),
  'prompt-completion': z
    .looseObject({ prompt: textOrMessages, completion: textOrMessages, ...template })
    .superRefine(alike('prompt', 'completion')),
  preference: z
    .looseObject({
      prompt: textOrMessages.nullish(),
      chosen: textOrMessages,
      rejected: textOrMessages,
      ...template,
    })
    .superRefine(alike('prompt', 'chosen', 'rejected')),
  unpaired: z
    .looseObject({
      prompt: textOrMessages,
      completion: textOrMessages,
      label: checked(
        (value) => typeof value === 'boolean' || value === 0 || value === 1,
        'true or false',
      ),
      ...template,
    })
    .superRefine(alike('prompt', 'completion')),
  prompt: z.looseObject({ prompt: textOrMessages, ...template }),
  text: z.looseObject({ text }),
  tokens,
} as const satisfies Readonly<Record<string, z.ZodType>>;

/** Name of a format of rows. */
export type SchemaName = keyof typeof rowSchemas;

/** Every name of a format. */
export const SCHEMA_NAMES = Object.keys(rowSchemas) as readonly SchemaName[];
