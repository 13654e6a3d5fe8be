import type { Row } from '@attune/core';
import { roleOf } from '@attune/core/text';
import { isPlainObject } from '@attune/core/util';
import { isBlank } from './text/lines.js';

/** Who says something in a row. */
export type Speaker = 'system' | 'user' | 'assistant' | 'tool' | 'other';

/** Something that is said in a row. */
export interface Turn {
  readonly speaker: Speaker;
  readonly text: string;
  /** Whether it says something without text: calls of tools, images. */
  readonly saysMore: boolean;
  /** Whether it stands where a worse answer is wanted: `rejected`, or a label that is false. */
  readonly isRejected: boolean;
}

/** A row as checks see it, whatever its format. */
export interface QualityRow {
  readonly row: Row;
  /** In their order. A row of `text` is one turn of the assistant. */
  readonly turns: readonly Turn[];
  /** What is asked: all turns before the last answer, joined by newlines. null: nothing. */
  readonly prompt: string | null;
  /** The last answer. null: the row has none. */
  readonly answer: string | null;
  /** All answers that are to be learned: not rejected ones. */
  readonly answers: readonly string[];
  /** All text of the row, joined by newlines. */
  readonly text: string;
  /** Whether the format has a place for an answer: rows of prompts alone have none. */
  readonly expectsAnswer: boolean;
}

/** How the caller reads rows of a format that is not known. */
export interface RowReading {
  readonly prompt?: (row: Row) => string | null;
  readonly answer?: (row: Row) => string | null;
}

/** How columns of scores begin: "quality_completeness". */
export const COLUMN_PREFIX = 'quality_';

/** What a message may say beside its content. */
const SAYINGS = [
  'tool_calls',
  'toolCalls',
  'function_call',
  'functionCall',
  'reasoning_content',
  'thinking',
  'reasoning',
];

/** Columns of what is asked, in the order in which they are read. */
const PROMPTS = ['system', 'system_prompt', 'instruction', 'question', 'query', 'prompt', 'input'];
/** Columns of the answer: the first that a row has counts. */
const ANSWERS = ['completion', 'output', 'response', 'answer', 'answers', 'solution'];

/** Reads a row for the checks. What has no known format is all of its strings, as one answer. */
export function qualityRow(row: Row, reading: RowReading = {}): QualityRow {
  return new ReadQualityRow(row, reading);
}

class ReadQualityRow implements QualityRow {
  readonly turns: readonly Turn[];
  readonly expectsAnswer: boolean;
  readonly answers: readonly string[];
  readonly answer: string | null;
  #text: string | null = null;

  constructor(
    readonly row: Row,
    reading: RowReading,
  ) {
    const read =
      reading.prompt || reading.answer ? readGiven(row, reading) : (readKnown(row) ?? readAny(row));
    this.turns = read.turns;
    this.expectsAnswer = read.expectsAnswer;
    this.answers = read.turns.flatMap(({ speaker, text, isRejected }) =>
      speaker === 'assistant' && !isRejected && !isBlank(text) ? [text] : [],
    );
    this.answer = this.answers.at(-1) ?? null;
  }

  get prompt(): string | null {
    const last = this.turns.findLastIndex(({ speaker }) => speaker === 'assistant');
    const before = this.turns.slice(0, last < 0 ? undefined : last);
    const asked = before.filter(({ isRejected, text }) => !isRejected && text !== '');
    return asked.length === 0 ? null : asked.map(({ text }) => text).join('\n');
  }

  get text(): string {
    this.#text ??= this.turns.map(({ text }) => text).join('\n');
    return this.#text;
  }
}

interface Read {
  readonly turns: readonly Turn[];
  readonly expectsAnswer: boolean;
}

const turn = (speaker: Speaker, text: string, more: Partial<Turn> = {}): Turn => ({
  speaker,
  text,
  saysMore: false,
  isRejected: false,
  ...more,
});

function readGiven(row: Row, { prompt, answer }: RowReading): Read {
  const asked = prompt?.(row) ?? null;
  const said = answer?.(row) ?? null;
  return {
    turns: [
      ...(asked === null ? [] : [turn('user', asked)]),
      ...(said === null ? [] : [turn('assistant', said)]),
    ],
    expectsAnswer: answer !== undefined,
  };
}

function readKnown(row: Row): Read | null {
  const conversation = [row.messages, row.conversations, row.conversation].find(Array.isArray);
  if (conversation)
    return {
      turns: [
        ...systemTurns(row),
        ...conversation.flatMap((message: unknown) => readTurns(message, 'other')),
      ],
      expectsAnswer: true,
    };
  if ('chosen' in row && 'rejected' in row) {
    const isRejected = true;
    return {
      turns: [
        ...promptTurns(row),
        ...readTurns(row.rejected, 'assistant', { isRejected }),
        ...readTurns(row.chosen, 'assistant'),
      ],
      expectsAnswer: true,
    };
  }
  const column = ANSWERS.find((name) => name in row);
  if (column !== undefined) {
    const isRejected = row.label === false;
    return {
      turns: [...promptTurns(row), ...readTurns(row[column], 'assistant', { isRejected })],
      expectsAnswer: true,
    };
  }
  if (typeof row.text === 'string')
    return { turns: [turn('assistant', row.text)], expectsAnswer: true };
  const turns = promptTurns(row);
  return turns.length === 0 ? null : { turns, expectsAnswer: false };
}

const systemTurns = (row: Row): Turn[] =>
  [row.system, row.system_prompt].flatMap((said) =>
    typeof said === 'string' && said !== '' ? [turn('system', said)] : [],
  );

const promptTurns = (row: Row): Turn[] =>
  PROMPTS.flatMap((column) => {
    const value = row[column];
    // An Alpaca row without an input has an empty one.
    if (value === undefined || value === null || (column === 'input' && value === '')) return [];
    return readTurns(value, column.startsWith('system') ? 'system' : 'user');
  });

/** A text, a message, or a list of them. */
function readTurns(value: unknown, speaker: Speaker, more: Partial<Turn> = {}): Turn[] {
  if (value === null || value === undefined) return [turn(speaker, '', more)];
  if (typeof value === 'string') return [turn(speaker, value, more)];
  if (Array.isArray(value)) {
    if (value.length === 0) return [turn(speaker, '', more)];
    return value.flatMap((item: unknown) => readTurns(item, speaker, more));
  }
  if (!isPlainObject(value)) return [turn(speaker, String(value), more)];
  const role = value.role ?? value.from;
  const said = value.content ?? value.value;
  if (role === undefined && said === undefined) return [turn(speaker, stringsOf(value), more)];
  return [
    turn(typeof role === 'string' ? speakerOf(role) : speaker, partsText(said), {
      ...more,
      saysMore: SAYINGS.some((key) => value[key] != null) || hasOtherParts(said),
    }),
  ];
}

const speakerOf = (role: string): Speaker => {
  const known = roleOf(role);
  return known === 'system' || known === 'user' || known === 'assistant' || known === 'tool'
    ? known
    : 'other';
};

/** Content of a message: a text, or parts of which some are text. */
function partsText(content: unknown): string {
  if (typeof content === 'string') return content;
  if (Array.isArray(content))
    return content
      .map((part: unknown) =>
        typeof part === 'string' ? part : isPlainObject(part) ? textOfPart(part) : '',
      )
      .join('');
  return isPlainObject(content) ? stringsOf(content) : '';
}

const textOfPart = ({ text, content }: Record<string, unknown>): string =>
  typeof text === 'string' ? text : typeof content === 'string' ? content : '';

const hasOtherParts = (content: unknown): boolean =>
  Array.isArray(content) &&
  content.some(
    (part: unknown) => isPlainObject(part) && part.type !== undefined && part.type !== 'text',
  );

function readAny(row: Row): Read {
  // Columns that this stage added are no text of the row.
  const own = Object.entries(row).filter(([name]) => !name.startsWith(COLUMN_PREFIX));
  const text = stringsOf(Object.fromEntries(own));
  return { turns: text === '' ? [] : [turn('assistant', text)], expectsAnswer: false };
}

/** All strings below a value, joined by newlines. */
function stringsOf(value: unknown): string {
  const found: string[] = [];
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === 'string') found.push(next);
    else if (Array.isArray(next)) open.push(...next.toReversed());
    else if (isPlainObject(next)) open.push(...Object.values(next).toReversed());
  }
  return found.join('\n');
}
