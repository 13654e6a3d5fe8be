import type { SafetensorsDType } from '@attune/core/io';
import type { MergeConfig } from '../config/mergeConfig.js';
import type { TensorTask } from '../contract/tensorTask.js';

type FloatName = NonNullable<MergeConfig['dtype']>;

const stored: Readonly<Record<FloatName, SafetensorsDType>> = {
  float32: 'F32',
  bfloat16: 'BF16',
  float16: 'F16',
};

/** What torch gives floats of several dtypes: that of all, else float32. float64 is read so. */
export function promoted(dtypes: readonly SafetensorsDType[]): FloatName {
  const [first, ...others] = new Set(dtypes);
  if (others.length > 0) return 'float32';
  return first === 'BF16' ? 'bfloat16' : first === 'F16' ? 'float16' : 'float32';
}

/**
 * What a tensor is computed in and written as. Written: `out_dtype`, else `dtype`, else what the
 * inputs have. Computed: float32, rounded once at the end; like mergekit in `dtype`, to which it
 * converts inputs first, else in what they have.
 */
export function dtypesOf(
  { dtype, outDtype }: Pick<MergeConfig, 'dtype' | 'outDtype'>,
  inputs: readonly SafetensorsDType[],
  parity: 'float32' | 'mergekit',
): Pick<TensorTask, 'dtype' | 'arithmetic'> {
  const own = dtype ?? promoted(inputs);
  return {
    dtype: stored[outDtype ?? own],
    arithmetic: parity === 'mergekit' ? own : 'float32',
  };
}
