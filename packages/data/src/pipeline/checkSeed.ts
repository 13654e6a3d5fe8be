import { parseOptions } from '@attune/core/util';
import { z } from 'zod';

const seedSchema = z.strictObject({ seed: z.int().min(0).optional() });

/** @throws INVALID_OPTION for a seed that is no whole number from 0 to 2^53 - 1 */
export const checkSeed = (seed: number | undefined, where: string): void =>
  void parseOptions(seedSchema, seed === undefined ? {} : { seed }, { where });
