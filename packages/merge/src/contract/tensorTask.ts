import type { SafetensorsDType } from '@attune/core/io';

/** Bytes of a tensor in a file. */
export interface StoredTensor {
  /** The .safetensors file. */
  readonly path: string;
  /** Byte in the file at which its data begin. */
  readonly begin: number;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/** A row of an aligned embedding that its model does not have: one step of `rows` below. */
export interface FillRow {
  /**
   * Mean of these rows of these sources, or with none of them zeros: added up in this order, each
   * sum rounded to float32, then divided by their number. A single one is taken as it is.
   */
  readonly from: readonly { readonly source: StoredTensor; readonly row: number }[];
}

/**
 * Where the values of an input come from. Plain data: a worker thread receives it as it is.
 *
 * - `file`: a tensor of a checkpoint.
 * - `rows`: rows of a tensor of a checkpoint in another order, for another vocabulary. `rows[i]` is
 *   the row of `tensor` that row i has; -1 - j stands for `fills[j]`. `padding` rows follow, each
 *   of them the mean of all `rows` (sums in float64, divided, rounded to float32). Default 0.
 * - `adapted`: a tensor of a checkpoint plus what an adapter adds to it, float32 values of the same
 *   shape. `round`: what the sum is rounded to, as a merged checkpoint would hold it; null:
 *   float32.
 */
export type TensorSource =
  | { readonly kind: 'file'; readonly tensor: StoredTensor }
  | {
      readonly kind: 'rows';
      readonly tensor: StoredTensor;
      readonly rows: Int32Array;
      readonly fills: readonly FillRow[];
      readonly padding?: number;
    }
  | {
      readonly kind: 'adapted';
      readonly tensor: StoredTensor;
      /** `base+adapter` that adds to it, and the name there: read when the task begins. */
      readonly adapter: string;
      readonly name: string;
      readonly round: 'bfloat16' | 'float16' | null;
    };

/** One input of an output tensor. */
export interface TensorInput {
  /** The model as the config names it: "org/model@main+adapter". */
  readonly model: string;
  /** Name of the tensor in that model. */
  readonly name: string;
  readonly source: TensorSource;
}

/** A tensor of the output and all that it is made of. Plain data. */
export interface TensorTask {
  readonly name: string;
  readonly shape: readonly number[];
  /** How it is written. */
  readonly dtype: SafetensorsDType;
  /** `merge_method`; null: the bytes of the first input as they are (integers that are equal). */
  readonly method: string | null;
  /** Values by name: one, or a list with one for each input (or each but the base). */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** What the method computes in; of 16 bits: inputs are rounded to it first. */
  readonly arithmetic: 'float32' | 'bfloat16' | 'float16';
  readonly inputs: readonly TensorInput[];
  /** Which input is the base; null: none. */
  readonly baseIndex: number | null;
}
