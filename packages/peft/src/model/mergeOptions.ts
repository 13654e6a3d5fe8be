import type { DequantizedDType } from '@attune/core/nn';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';

const STORAGES = ['float32', 'float16', 'bfloat16'] as const satisfies readonly DequantizedDType[];

const mergeShape = {
  /**
   * Refuse a merge that would give infinite or not-a-number weights, before anything is written.
   * Weights that are quantised again are always checked. Default false.
   */
  safeMerge: z.boolean().default(false).meta({ aka: 'safe' }),
};
export const mergeOptions = z.strictObject(mergeShape);

/** Options of `mergeAdapter`. */
export type MergeOptions = OptionsInput<typeof mergeShape>;

const unloadShape = {
  /**
   * Gives a quantised base back in full precision, with the merged weights unrounded. A dtype says
   * how all its layers are stored; true: as the base's other weights. Default false: merged weights
   * are quantised again, as in PEFT.
   */
  dequantize: z
    .union([z.boolean(), z.enum(STORAGES)], `expected true, false or ${STORAGES.join(', ')}`)
    .default(false)
    .meta({ aka: 'dtype' }),
};
export const mergeAndUnloadOptions = z.strictObject({ ...mergeShape, ...unloadShape });

/** Options of `mergeAndUnload`. */
export type MergeAndUnloadOptions = MergeOptions & OptionsInput<typeof unloadShape>;
