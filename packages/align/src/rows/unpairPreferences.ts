import type { Logger, Row } from '@attune/core';
import type { OriginRow, RowSource } from '@attune/core/text';
import { isPlainObject, type OptionsInput, parseOptions, Rng, z } from '@attune/core/util';
import { columnsOf, readAnswers } from './readAnswers.js';
import { pairFormat, pairNames } from './readPair.js';
import { mapBatches } from './rowBatches.js';

const unpairShape = {
  /**
   * Pairs that are taken at a time: their preferred answers come first, then the others. Default
   * 1000, as Hugging Face's `map`.
   */
  batchSize: z.int().min(1).default(1000).meta({ aka: 'batch' }),
  /**
   * Mix the rows of each such batch, so that batches of training have both classes. Default false,
   * as TRL: hundreds of wanted answers, then as many unwanted ones.
   */
  shuffle: z.boolean().default(false),
  /** Which order, where they are mixed. Default 0. */
  seed: z.int().default(0),
  /** Is told once that pairs were taken apart, and in which order they come. Default: nobody. */
  logger: z.custom<Pick<Logger, 'warn'>>().optional(),
};
const unpairOptions = z.strictObject(unpairShape);

/** Options of {@link unpairPreferences}. */
export type UnpairOptions = OptionsInput<typeof unpairShape>;

/**
 * Preference pairs as rows of one answer and a label, for KTO: of each batch of pairs all `chosen`
 * with the label true, then all `rejected` with false, each with the prompt and the other columns
 * of its pair. Rows that are no pairs stay what they are, among the first. Streams are read lazily.
 *
 * The order matters where a class has to be in each batch: see `shuffle`.
 *
 * @example unpairPreferences(await loadDataset('json', { dataFiles: 'pairs.jsonl' }), { shuffle: true })
 * @throws UNKNOWN_OPTION, INVALID_OPTION, ROW_FORMAT
 */
export function unpairPreferences(rows: RowSource, options: UnpairOptions = {}): RowSource {
  const { batchSize, shuffle, seed, logger } = parseOptions(unpairOptions, options, {
    where: 'unpairPreferences',
  });
  let isSaid = false;
  return mapBatches(rows, batchSize, (batch, index) => {
    const made = unpaired(batch);
    const pairs = made.length - batch.length;
    if (logger && !isSaid && pairs > 0 && !shuffle) {
      isSaid = true;
      logger.warn(
        `preference pairs are taken apart: ${pairs} wanted answers come first, then ${pairs} unwanted ones, as in TRL, so that most batches are of one class. unpairPreferences(rows, { shuffle: true }) mixes them.`,
      );
    }
    if (!shuffle) return made;
    const order = new Rng(seed, UNPAIR_STREAM + index).permutation(made.length);
    return Array.from(order, (i) => made[i]!);
  });
}

/** Stream number of the mixing: beside those of shuffles. */
const UNPAIR_STREAM = 0x6b70;

const isPair = (row: unknown): row is Row =>
  isPlainObject(row) &&
  pairNames.every((name) =>
    [name, `${name}_ids`, `${name}Ids`, `${name}_input_ids`, `${name}InputIds`].some(
      (column) => row[column] != null,
    ),
  );

function unpaired(batch: readonly OriginRow<unknown>[]): OriginRow<unknown>[] {
  const first: OriginRow<unknown>[] = [];
  const second: OriginRow<unknown>[] = [];
  for (const { row, origin } of batch) {
    if (!isPair(row)) {
      first.push({ row, origin });
      continue;
    }
    const { read } = readAnswers(row, origin, pairNames, pairFormat);
    const taken = new Set(columnsOf(pairNames));
    const others = Object.entries(row).filter(([name]) => !taken.has(name) || KEPT.includes(name));
    const rest = Object.fromEntries(others);
    const made = read.answers.map((completion, i) => ({
      ...rest,
      ...(read.kind === 'tokens'
        ? { prompt_ids: read.promptIds, completion_ids: completion }
        : { prompt: read.prompt, completion }),
      label: i === 0,
    }));
    first.push({ row: made[0], origin: `${origin} chosen` });
    second.push({ row: made[1], origin: `${origin} rejected` });
  }
  return [...first, ...second];
}

/** What the chat template gets stays; a system prompt is in the messages by now. */
const KEPT = ['tools', 'chat_template_kwargs', 'chatTemplateKwargs'];
