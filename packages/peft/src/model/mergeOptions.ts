import type { DequantizedDType } from '@attune/core/nn';

/** Options of `mergeAdapter`. */
export interface MergeOptions {
  /**
   * Refuse a merge that would give infinite or not-a-number weights, before anything is written. Of
   * weights that are quantised again it is refused always. Default false.
   */
  readonly safeMerge?: boolean;
}

/** Options of `mergeAndUnload`. */
export interface MergeAndUnloadOptions extends MergeOptions {
  /**
   * Of a base that is held in 4 or 8 bits: give it back in full precision, all layers of it, with
   * the merged weights unrounded; in this storage, or true: that of the base's other weights.
   * Default false: the merged weights are rounded to 4 or 8 bits again, as in PEFT.
   */
  readonly dequantize?: boolean | DequantizedDType;
}
