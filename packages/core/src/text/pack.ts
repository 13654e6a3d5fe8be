import { AttuneError } from '../util/errors.js';
import type { TokenExample } from './collator.js';

/**
 * - `bfd`: best-fit decreasing; what is longer than a row is cut off;
 * - `bfd_split`: the same, but what is longer than a row is split into several;
 * - `wrapped`: all tokens end to end, cut into rows wherever they are full.
 */
export const PACKING_STRATEGIES = ['bfd', 'bfd_split', 'wrapped'] as const;
/** How rows are put together: see {@link packExamples}. */
export type PackingStrategy = (typeof PACKING_STRATEGIES)[number];

/**
 * Examples that are packed together: packs do not reach from one thousand into the next, so a
 * stream is packed as a data set is, within a bounded buffer. The batch of Hugging Face's `map`.
 */
export const PACKING_WINDOW = 1000;

/**
 * Fills rows of `maxLength` tokens with several examples each, as TRL's `pack_dataset`.
 *
 * The examples of a window are taken from the longest to the shortest (equal ones in their order),
 * and each goes into the row with the least room that still takes it; of several such rows into the
 * one that has had this room the longest. Rows come out in the order in which they were begun, with
 * the lengths of what they hold as `seqLengths`. `wrapped` ignores where examples begin and end: a
 * row is one text, for attention too, and has no `seqLengths`.
 *
 * @see "Fewer Truncations Improve Language Modeling", https://arxiv.org/abs/2404.10830
 * @param maxLength tokens of a row
 * @param strategy default 'bfd'
 * @throws MAX_LENGTH when `maxLength` is not a whole number of at least 1
 */
export function packExamples(
  examples: readonly TokenExample[],
  maxLength: number,
  strategy: PackingStrategy = 'bfd',
): TokenExample[] {
  if (!Number.isInteger(maxLength) || maxLength < 1)
    throw new AttuneError('MAX_LENGTH', `packing into rows of ${maxLength} tokens.`, {
      remedy: 'Give the whole number of tokens that a row has.',
    });
  const packed: TokenExample[] = [];
  for (let start = 0; start < examples.length; start += PACKING_WINDOW) {
    const window = examples.slice(start, start + PACKING_WINDOW);
    for (const row of packWindow(window, maxLength, strategy)) packed.push(row);
  }
  return packed;
}

function packWindow(
  window: readonly TokenExample[],
  maxLength: number,
  strategy: PackingStrategy,
): TokenExample[] {
  if (strategy === 'wrapped') return pieces(join(window), maxLength);
  const whole =
    strategy === 'bfd'
      ? window.map((example) => cut(example, 0, maxLength))
      : window.flatMap((example) => pieces(example, maxLength));
  return bestFit(whole, maxLength);
}

function bestFit(examples: readonly TokenExample[], maxLength: number): TokenExample[] {
  const sorted = examples
    .filter(({ inputIds }) => inputIds.length > 0)
    .sort((a, b) => b.inputIds.length - a.inputIds.length);
  const rows: TokenExample[][] = [];
  /** By room: the rows that have it, the one that has had it longest first. */
  const byRoom: TokenExample[][][] = Array.from({ length: maxLength + 1 }, () => []);
  for (const example of sorted) {
    const { length } = example.inputIds;
    let room = length;
    while (room < maxLength && byRoom[room]!.length === 0) room++;
    let row = room < maxLength ? byRoom[room]!.shift() : undefined;
    if (!row) {
      row = [];
      rows.push(row);
    }
    row.push(example);
    byRoom[room - length]!.push(row);
  }
  return rows.map((row) => ({ ...join(row), seqLengths: row.map((e) => e.inputIds.length) }));
}

const cut = ({ inputIds, labels }: TokenExample, start: number, end: number): TokenExample => ({
  inputIds: Array.prototype.slice.call(inputIds, start, end) as number[],
  labels: Array.prototype.slice.call(labels, start, end) as number[],
});

function pieces(example: TokenExample, maxLength: number): TokenExample[] {
  const count = Math.ceil(example.inputIds.length / maxLength);
  return Array.from({ length: count }, (_, i) => cut(example, i * maxLength, (i + 1) * maxLength));
}

/** One after another in one row. */
function join(examples: readonly TokenExample[]): TokenExample {
  const total = examples.reduce((n, { inputIds }) => n + inputIds.length, 0);
  const inputIds = new Int32Array(total);
  const labels = new Int32Array(total);
  let at = 0;
  for (const example of examples) {
    inputIds.set(example.inputIds, at);
    labels.set(example.labels, at);
    at += example.inputIds.length;
  }
  return { inputIds, labels };
}
