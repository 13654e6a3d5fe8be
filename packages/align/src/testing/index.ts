/**
 * Checks for objectives of one's own.
 *
 * @module
 */
import { type KitCheck, objectiveKit } from '@attune/core/testing';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { AlignmentObjective } from '../contract/alignmentObjective.js';
import { namedObjective } from '../plugin.js';

const kitShape = {
  /** Options of the objective. Default {}. */
  options: z.record(z.string(), z.unknown()).default({}),
  /** Other options, with each of which a run is another one. Default none. */
  otherOptions: z.array(z.record(z.string(), z.unknown())).default([]),
  /**
   * Whether the loss of a row is the same whatever rows are beside it. Without it, k micro-batches
   * are not one batch: losses that sort a batch, or compare with its mean. Default true.
   */
  isSeparable: z.boolean().default(true),
  /** Whether gradients are those of the whole formula: no part is held constant. Default true. */
  exactGradients: z.boolean().default(true),
};

/** Options of {@link alignmentObjectiveKit}. */
export type AlignmentObjectiveKitOptions = OptionsInput<typeof kitShape>;

/** Their lengths differ; ids are of a vocabulary of 17. */
const pairs = [
  { prompt_ids: [3, 1], chosen_ids: [4, 1, 5], rejected_ids: [9, 2] },
  { prompt_ids: [2, 6, 5], chosen_ids: [3], rejected_ids: [5, 8, 9, 7] },
  { prompt_ids: [1], chosen_ids: [9, 7, 9], rejected_ids: [3, 2, 3] },
  { prompt_ids: [8, 4, 6, 2], chosen_ids: [6, 4], rejected_ids: [3] },
];
const answers = pairs.flatMap(({ prompt_ids, chosen_ids, rejected_ids }) => [
  { prompt_ids, completion_ids: chosen_ids, label: true },
  { prompt_ids, completion_ids: rejected_ids, label: false },
]);

/**
 * What every alignment objective must do, as checks for any test framework: those of core's
 * `objectiveKit`, on pairs or on labelled answers, with a reference where the objective needs one.
 *
 * @example
 * for (const { name, run } of alignmentObjectiveKit(mine, { options: { strength: 2 } })) test(name, run);
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function alignmentObjectiveKit(
  definition: AlignmentObjective,
  options: AlignmentObjectiveKitOptions = {},
): KitCheck[] {
  const place = { where: 'alignmentObjectiveKit' };
  const checked = parseOptions(z.strictObject(kitShape), options, place);
  const { isSeparable, exactGradients } = checked;
  const checks = objectiveKit(namedObjective(definition), {
    rows: definition.format === 'pairs' ? pairs : answers,
    options: checked.options,
    otherOptions: checked.otherOptions,
    exactGradients,
  });
  return isSeparable ? checks : checks.filter(({ name }) => !name.includes('micro-batch'));
}
