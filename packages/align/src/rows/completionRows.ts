import type { Row, TokenExample } from '@attune/core';
import { causalLmRows, IGNORE_INDEX } from '@attune/core';
import type { preflightSetting } from '@attune/core/text';
import { withoutNulls } from '@attune/core/text';
import type { RowRules } from '@attune/core/training';
import type { z } from 'zod';
import { fieldsOf, type RowFormat, rowError } from './rowErrors.js';

const format: RowFormat = {
  what: 'a prompt with its completion',
  accepted:
    '{ prompt, completion } as texts or as lists of messages; { messages }, of which the last is the completion; { input_ids } with labels or completion_mask',
  columns: ['prompt', 'completion', 'messages', 'input_ids', 'labels', 'completion_mask'],
};

/** What {@link completionRows} take. */
export interface CompletionRowOptions {
  /** Tokens of a prompt with its completion; what is beyond is cut off. */
  readonly maxLength: number;
  /** Tokens of a prompt above which its row is left out. Default Infinity. */
  readonly maxPromptLength?: number;
  readonly preflight: z.output<typeof preflightSetting>;
}

/**
 * Rules for rows of a prompt and its completion, as SFT tokenises them; labels are on the
 * completion. The last of `{ messages }`, which the assistant says, is the completion, as in TRL's
 * GKDTrainer.
 *
 * @throws ROW_FORMAT for a row without a completion
 */
export function completionRows({
  maxLength,
  maxPromptLength = Number.POSITIVE_INFINITY,
  preflight,
}: CompletionRowOptions): RowRules<TokenExample> {
  const rules = causalLmRows({ maxLength, preflight });
  return {
    ...rules,
    encode(row, context) {
      const fields = withoutNulls(fieldsOf(row, context.origin, format));
      const found = rules.encode!(splitRow(fields, context.origin), context);
      const { example } = found;
      if (!example) return found;
      const promptLength = promptLengthOf(example);
      if (promptLength === 0)
        throw rowError(
          context.origin,
          'every token of the row is to be learned: there is no prompt.',
          format,
        );
      if (promptLength <= maxPromptLength) return found;
      const note = `the prompt is longer than ${maxPromptLength} tokens, which leaves no room for a completion`;
      return { example: null, notes: [...(found.notes ?? []), note] };
    },
  };
}

/** Tokens before the first that has a label. */
export function promptLengthOf({ labels }: TokenExample): number {
  let length = 0;
  while (length < labels.length && labels[length] === IGNORE_INDEX) length++;
  return length;
}

/** The row as one of prompt and completion. @throws ROW_FORMAT */
function splitRow(fields: Row, origin: string): Row {
  const has = (...names: readonly string[]) => names.some((name) => name in fields);
  if (has('input_ids', 'inputIds')) {
    if (has('labels', 'completion_mask', 'completionMask')) return fields;
    throw rowError(origin, 'nothing says which of its tokens are the completion.', format);
  }
  if (has('prompt') && has('completion')) {
    const { completion } = fields;
    if ((typeof completion === 'string' || Array.isArray(completion)) && completion.length === 0)
      throw rowError(origin, 'the completion is empty.', format);
    return fields;
  }
  const { messages, ...others } = fields;
  if (Array.isArray(messages)) {
    const last = messages.at(-1);
    if (messages.length > 1 && last?.role === 'assistant')
      return { ...others, prompt: messages.slice(0, -1), completion: [last] };
    throw rowError(
      origin,
      messages.length > 1
        ? `the last message is of "${String(last?.role)}": the assistant says no completion.`
        : 'there is no message that the last one answers.',
      format,
    );
  }
  const columns = Object.keys(fields).map((name) => `"${name}"`);
  throw rowError(
    origin,
    `the row has no completion to learn from (${columns.length > 0 ? `columns ${columns.join(', ')}` : 'no columns'}). With lmbda: 1 the student writes completions of { prompt } itself.`,
    format,
  );
}
