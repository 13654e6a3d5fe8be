import { isPlainObject } from '@attune/core/util';
import { describeBody, excerpt, type Hide, messageOf, parsedJson } from '../http/describeBody.js';
import type { LLMFinishReason, LLMUsage } from '../llmProvider.js';

/** One of the answers of a response. */
export interface Choice {
  readonly text: string;
  readonly finishReason: LLMFinishReason;
}

/** What a response of /chat/completions says. */
export type ReadCompletion =
  | {
      readonly choices: readonly Choice[];
      readonly usage: LLMUsage | null;
      readonly model: string | null;
    }
  | {
      /** What is wrong with it: goes on "the endpoint answered ...". */
      readonly problem: string;
      /** The status that an error within a 200 names. */
      readonly status: number | null;
      /** Whether the body is an error of the endpoint: not one that nobody can read. */
      readonly isError: boolean;
    };

/** Reads the body of a response with status 200. Whatever stands there, it does not throw. */
export function readCompletion(text: string, dropThinking: boolean, hide: Hide): ReadCompletion {
  const body = parsedJson(text);
  if (!isPlainObject(body)) return unreadable(describeBody(text, hide));
  if (body.error !== undefined && body.error !== null)
    return {
      problem: `with an error: ${hide(messageOf(body) ?? '?').slice(0, 500)}`,
      status: statusOf(body.error),
      isError: true,
    };
  if (!Array.isArray(body.choices))
    return unreadable(`with an object without choices: ${excerpt(body, hide)}`);
  const failed = body.choices.find(hasFailed);
  if (failed !== undefined)
    return unreadable(`with a choice that failed: ${excerpt(failed, hide)}`);
  const choices = inOrder(body.choices).map((choice) => readChoice(choice, dropThinking));
  const wrong = choices.indexOf(null);
  if (wrong >= 0)
    return unreadable(
      `with a choice without a message: ${excerpt(inOrder(body.choices)[wrong], hide)}`,
    );
  return {
    choices: choices as Choice[],
    usage: readUsage(body.usage),
    model: typeof body.model === 'string' ? body.model : null,
  };
}

const unreadable = (problem: string) => ({ problem, status: null, isError: false });

/** The model broke off: what there is of its answer is no answer. */
const hasFailed = (choice: unknown): boolean =>
  isPlainObject(choice) &&
  ((choice.error !== undefined && choice.error !== null) ||
    choice.finish_reason === 'error' ||
    choice.finish_reason === 'abort');

/** By their `index`, where each has one of its own. */
function inOrder(choices: readonly unknown[]): readonly unknown[] {
  const indexOf = (choice: unknown) => (isPlainObject(choice) ? choice.index : undefined);
  const indexes = new Set(choices.map(indexOf).filter(Number.isInteger));
  return indexes.size < choices.length
    ? choices
    : choices.toSorted((a, b) => Number(indexOf(a)) - Number(indexOf(b)));
}

function readChoice(choice: unknown, dropThinking: boolean): Choice | null {
  if (!isPlainObject(choice)) return null;
  const { message } = choice;
  // Servers that continue texts have `text` in the place of a message.
  if (!isPlainObject(message) && typeof choice.text !== 'string') return null;
  const content = isPlainObject(message) ? contentOf(message) : String(choice.text);
  return {
    text: dropThinking ? withoutThinking(content) : content,
    finishReason: finishReasonOf(choice.finish_reason),
  };
}

/** Text, or parts of it; a refusal stands in a field of its own. */
function contentOf({ content, refusal }: Readonly<Record<string, unknown>>): string {
  if (typeof content === 'string' && content !== '') return content;
  if (Array.isArray(content)) {
    const parts = content.map((part: unknown) =>
      typeof part === 'string'
        ? part
        : isPlainObject(part) && typeof part.text === 'string' && part.type !== 'reasoning'
          ? part.text
          : '',
    );
    if (parts.some((part) => part !== '')) return parts.join('');
  }
  return typeof refusal === 'string' ? refusal : '';
}

/** An open `<think>` at the end of the room has no answer behind it. */
const withoutThinking = (text: string): string =>
  text.replace(/^\s*<think>[\s\S]*?(?:<\/think>\s*|$)/, '');

function finishReasonOf(reason: unknown): LLMFinishReason {
  switch (typeof reason === 'string' ? reason.toLowerCase() : null) {
    case 'stop':
    case 'eos':
    case 'eos_token':
    case 'stop_sequence':
    case 'end_turn':
      return 'stop';
    case 'length':
    case 'max_tokens':
      return 'length';
    case 'content_filter':
    case 'safety':
    case 'recitation':
    case 'prohibited_content':
    case 'blocklist':
      return 'content_filter';
    default:
      return 'other';
  }
}

function readUsage(usage: unknown): LLMUsage | null {
  if (!isPlainObject(usage)) return null;
  const { prompt_tokens: promptTokens, completion_tokens: completionTokens = 0 } = usage;
  return isCount(promptTokens) && isCount(completionTokens)
    ? { promptTokens, completionTokens }
    : null;
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** A number like a status of HTTP in `code`, `status` or `status_code`. */
function statusOf(error: unknown): number | null {
  if (!isPlainObject(error)) return null;
  const found = [error.code, error.status, error.status_code]
    .map(Number)
    .find((value) => Number.isInteger(value) && value >= 400 && value < 600);
  return found ?? null;
}
