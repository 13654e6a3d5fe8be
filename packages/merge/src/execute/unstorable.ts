import { AttuneError } from '@attune/core/util';
import type { ElementReader } from '../arithmetic/chunkedGroup.js';
import type { TensorTask } from '../contract/tensorTask.js';

/** Where a flat index is in a tensor: "[3, 17]". */
function position(shape: readonly number[], element: number): string {
  const indices: number[] = [];
  let rest = element;
  for (const size of [...shape].reverse()) {
    indices.unshift(rest % size);
    rest = Math.floor(rest / size);
  }
  return `[${indices.join(', ')}]`;
}

/**
 * Why a result is not written: an input is broken, the method made something that is no number, or
 * the dtype of the output is too small.
 *
 * @returns MERGE_NON_FINITE or MERGE_OVERFLOW
 */
export function unstorable(
  task: TensorTask,
  element: number,
  value: number,
  readers: readonly ElementReader[],
): AttuneError {
  const { name, shape, dtype, method, inputs } = task;
  const where = `${name} ${position(shape, element)}`;
  const details = { tensor: name, element, value };
  const one = new Float32Array(1);
  const read = readers.map((reader) => {
    reader.read(element, one);
    return one[0]!;
  });
  const values = inputs.map(({ model }, k) => `${model} has ${read[k]}`).join(', ');
  if (Number.isFinite(value))
    return new AttuneError(
      'MERGE_OVERFLOW',
      `${where} is ${value}, which is too large for ${dtype}; ${values}.`,
      { remedy: 'Give out_dtype: bfloat16 or float32, or smaller weights.', details },
    );
  const broken = read.findIndex((number) => !Number.isFinite(number));
  return new AttuneError(
    'MERGE_NON_FINITE',
    broken >= 0
      ? `${where} is ${value}, because it is ${read[broken]} in ${inputs[broken]!.model} already ("${inputs[broken]!.name}").`
      : `${where} is ${value} after ${method}, although no input is; ${values}.`,
    {
      remedy:
        broken >= 0
          ? 'Leave that model out, or repair its checkpoint.'
          : 'Give other parameters: nothing is written that is no number.',
      details,
    },
  );
}
