import type { Row } from '@attune/core';
import { type KitCheck, kitOf } from '@attune/core/testing';
import { parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { QualityCheck } from '../quality/qualityCheck.js';
import { quality, qualityStage } from '../quality/qualityStage.js';
import { dataStageKit } from './dataStageKit.js';
import { checkKitSchema } from './kitOptions.js';

/** What {@link qualityCheckKit} runs a check with. */
export interface QualityCheckKitOptions {
  /** Rows that the check is for: some that are good, some that are not. At least two. */
  readonly rows: readonly Row[];
  /** Its options. Default: none. */
  readonly options?: object;
}

/**
 * What every check of the stage `quality` must do, as checks for any test framework:
 *
 *     for (const { name, run } of qualityCheckKit(mine, { rows })) test(name, run);
 *
 * Scores lie between 0 and 1, and one below 1 has a reason; good and bad rows differ; options that
 * it does not know are refused; and all that `dataStageKit` asks of the stage with this check.
 */
export function qualityCheckKit(check: QualityCheck, kit: QualityCheckKitOptions): KitCheck[] {
  parseOptions(checkKitSchema, kit, { where: 'qualityCheckKit' });
  const { check: checkOf, fail } = kitOf(`quality check "${check.name}"`);
  const options = parseOptions(check.options, kit.options ?? {}, { where: check.name });
  const bound: QualityCheck = {
    ...check,
    options: z.strictObject({}),
    start: (_none, context) => check.start(options, context),
  };
  const scored = async () => {
    const { rows } = await quality(kit.rows, { checks: [bound], mode: 'score' });
    return rows.map((row) => ({
      score: row[`quality_${check.name}`],
      reason: row[`quality_${check.name}_reason`],
    }));
  };

  return [
    checkOf('its name can stand in a file, and it refuses options that it does not know', () => {
      if (!/^[a-z][a-zA-Z0-9]*(-[a-z0-9]+)*$/.test(check.name))
        fail('its name is no word', 'Name it as a column may end: "shouting".');
      if (check.options.safeParse({ ...kit.options, 'no such option': 1 }).success)
        fail('it takes an option that it does not know', 'Make its schema by z.strictObject.');
    }),

    checkOf('scores lie between 0 and 1, and what is below 1 has a reason', async () => {
      for (const [i, { score, reason }] of (await scored()).entries()) {
        if (!(typeof score === 'number' && score >= 0 && score <= 1))
          fail(`row ${i} has the score ${String(score)}`, 'Give a number from 0 to 1.');
        if (Number(score) < 1 && (typeof reason !== 'string' || reason.trim() === ''))
          fail(`row ${i} has the score ${score} for no reason`, 'Give { score, reason }.');
      }
    }),

    checkOf('it tells rows apart', async () => {
      const scores = (await scored()).map(({ score }) => score);
      if (new Set(scores).size === 1)
        fail(
          `all rows have the score ${String(scores[0])}`,
          'Give the kit good rows and bad ones.',
        );
    }),

    ...dataStageKit(qualityStage, { rows: kit.rows, options: { checks: [bound] } }),
  ];
}
