import { createHash } from 'node:crypto';
import type { Row } from '@attune/core';
import { roleOf } from '@attune/core/text';
import { isPlainObject, type PlainJson, Rng } from '@attune/core/util';

/** What a row of one request asks, and how another one of its format is written. */
export interface Ask {
  /** The words of the user. */
  readonly instruction: string;
  /** A row like it, with all its other columns. @param answer null: the request alone */
  write(instruction: string, answer: string | null): Row;
}

/**
 * What a row asks, for rows with one request: messages or conversations with one turn of a user,
 * Alpaca's instruction (and input), prompt. null: it asks nothing, or more than once.
 */
export function askOf(row: Row): Ask | null {
  if (Array.isArray(row.messages)) return askOfTurns(row, 'messages', 'role', 'content');
  if (Array.isArray(row.conversations)) return askOfTurns(row, 'conversations', 'from', 'value');
  if (typeof row.instruction === 'string' && row.instruction.trim() !== '') {
    const input = typeof row.input === 'string' && row.input.trim() !== '' ? row.input : null;
    return {
      instruction: input === null ? row.instruction : `${row.instruction}\n\n${input}`,
      write: (instruction, answer) => ({
        ...row,
        instruction,
        ...('input' in row && { input: '' }),
        output: answer ?? '',
      }),
    };
  }
  if (typeof row.prompt === 'string' && row.prompt.trim() !== '')
    return {
      instruction: row.prompt,
      write: (prompt, answer) => ({ ...row, prompt, ...completionOf(answer) }),
    };
  if (!Array.isArray(row.prompt)) return null;
  const ask = askOfTurns({ turns: row.prompt }, 'turns', 'role', 'content');
  return (
    ask && {
      instruction: ask.instruction,
      write: (instruction, answer) => ({
        ...row,
        prompt: ask.write(instruction, null).turns,
        ...completionOf(answer === null ? null : [{ role: 'assistant', content: answer }]),
      }),
    }
  );
}

const completionOf = (completion: unknown) => (completion === null ? {} : { completion });

function askOfTurns(row: Row, column: string, who: string, what: string): Ask | null {
  const turns = row[column] as readonly unknown[];
  const roles = turns.map((turn) => {
    const name = isPlainObject(turn) ? turn[who] : null;
    return typeof name === 'string' ? (roleOf(name) ?? name) : null;
  });
  const at = roles.indexOf('user');
  const user = turns[at];
  const isOne =
    roles.filter((role) => role === 'user').length === 1 &&
    roles.every((role, i) => (i < at ? role === 'system' : i === at || role === 'assistant'));
  if (!isOne || !isPlainObject(user) || typeof user[what] !== 'string') return null;
  if (user[what].trim() === '') return null;
  const answerTurn = turns.slice(at + 1).find(isPlainObject);
  const answers = answerTurn?.[who] ?? (who === 'from' ? 'gpt' : 'assistant');
  return {
    instruction: user[what],
    write: (instruction, answer) => ({
      ...row,
      [column]: [
        ...turns.slice(0, at),
        { ...user, [what]: instruction },
        ...(answer === null ? [] : [{ [who]: answers, [what]: answer }]),
      ],
    }),
  };
}

/** The column that says how a row was made. */
export const MADE_COLUMN = 'augmentation';

/** A row with the column that says how it was made. */
export const madeRow = (row: Row, how: { readonly [key: string]: PlainJson }): Row => ({
  ...row,
  [MADE_COLUMN]: how,
});

/** Draws that depend on a seed and on texts, not on where a row stands. */
export const rngOf = (seed: number, ...texts: readonly string[]): Rng =>
  new Rng(seed, createHash('sha256').update(texts.join('\0')).digest().readUInt32LE(0));
