import { z } from 'zod';
import type { OptionsInput } from '../util/options.js';

const tuningShape = {
  /** No new trial starts after this. Default 60. */
  maxSeconds: z
    .custom<number>(
      (value) => typeof value === 'number' && value >= 0,
      'expected seconds, 0 or more',
    )
    .default(60)
    .meta({ aka: 'seconds timeout maxtime' }),
};
export const tuningOptions = z.strictObject(tuningShape);

/** Options of `trainer.tune`. */
export type TuningOptions = OptionsInput<typeof tuningShape>;
