import type { Row } from '@attune/core';
import { roleOf } from '@attune/core/text';
import { answerOf, promptOf, turnsOf } from '../schemas/rowText.js';

/** What a row asks and answers. */
export interface Instruction {
  readonly instruction: string;
  /** What the instruction is about, where the row has it apart; else ''. */
  readonly input: string;
  readonly answer: string;
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/**
 * An Alpaca row has instruction and input apart. In any other format the instruction is all that
 * is before the last answer (`promptOf`), and the answer that one alone (`answerOf`).
 */
export function instructionOf(row: Row): Instruction {
  const { instruction, input, output, system, history } = row;
  const isPlain = !text(system) && !(Array.isArray(history) && history.length > 0);
  if (typeof instruction === 'string' && typeof output === 'string' && isPlain)
    return { instruction, input: text(input), answer: output };
  return { instruction: promptOf(row) ?? '', input: '', answer: answerOf(row) ?? '' };
}

/**
 * Each question of a conversation by itself, with the answer behind it ('': none); a row of another
 * format is one.
 */
export function exchangesOf(row: Row): Instruction[] {
  const turns = turnsOf(row);
  if (!turns) return [instructionOf(row)];
  const roles = turns.map(({ role }) => roleOf(role) ?? role);
  const exchanges = turns.flatMap(({ text }, i): Instruction[] => {
    if (roles[i] !== 'user') return [];
    const next = roles.findIndex((role, at) => at > i && role !== 'tool');
    const answer = roles[next] === 'assistant' ? turns[next]!.text : null;
    return [{ instruction: text ?? '', input: '', answer: answer ?? '' }];
  });
  return exchanges.length > 0 ? exchanges : [instructionOf(row)];
}
