import { crc32 } from 'node:zlib';
import { safetensorsBytes } from '@attune/core/io';
import { AttuneError } from '@attune/core/util';
import type { StoredTensor, TensorInput, TensorTask } from '../contract/tensorTask.js';
import type { MergeJob } from './mergeTask.js';
import { type OpenFiles, readExactly, writeExactly } from './openFiles.js';

/** Bytes that are copied at once. */
export const COPIED_AT_ONCE = 2 ** 18;

/**
 * Copies a tensor that has no method: integers, which no method can average. All inputs hold the
 * same, or it is an error.
 *
 * @throws MERGE_INTEGERS, MERGE_INPUT, DISK_WRITE
 */
export function* copyTask(
  { task, path, begin }: MergeJob,
  inputs: OpenFiles,
  outputs: OpenFiles,
): Generator<number, number> {
  const tensors = task.inputs.map((input) => storedTensor(task, input));
  const total = task.shape.reduce((a, b) => a * b, safetensorsBytes[task.dtype]);
  const size = Math.min(total, COPIED_AT_ONCE);
  const [bytes, other] = [new Uint8Array(size), new Uint8Array(size)];
  let crc = 0;
  for (let at = 0; at < total; at += size) {
    const piece = bytes.subarray(0, Math.min(size, total - at));
    readExactly(inputs, tensors[0]!.path, tensors[0]!.begin + at, piece);
    for (const [k, tensor] of tensors.entries()) {
      if (k === 0) continue;
      const compared = other.subarray(0, piece.length);
      readExactly(inputs, tensor.path, tensor.begin + at, compared);
      if (Buffer.compare(piece, compared) === 0) continue;
      const byte = at + piece.findIndex((value, i) => value !== compared[i]);
      throw differ(task, k, Math.floor(byte / safetensorsBytes[task.dtype]));
    }
    writeExactly(outputs, path, begin + at, piece);
    crc = crc32(piece, crc);
    yield piece.length;
  }
  return crc;
}

function storedTensor(task: TensorTask, { source, model, name }: TensorInput): StoredTensor {
  const { dtype, shape } = source.tensor;
  if (source.kind === 'file' && dtype === task.dtype && `${shape}` === `${task.shape}`)
    return source.tensor;
  throw new AttuneError(
    'MERGE_INTEGERS',
    `${task.name} is to be copied as ${task.dtype} [${task.shape}], but "${name}" of ${model} is ${dtype} [${shape}].`,
    { remedy: 'Tensors that are no floats must be the same in all models: leave a model out.' },
  );
}

const differ = ({ name, dtype, inputs }: TensorTask, k: number, element: number): AttuneError =>
  new AttuneError(
    'MERGE_INTEGERS',
    `${name} is ${dtype}, which is copied and not merged, but ${inputs[k]!.model} and ${inputs[0]!.model} differ in it from element ${element} on.`,
    {
      remedy: 'Use models of one origin, or leave out the one that differs.',
      details: { tensor: name, element, models: [inputs[0]!.model, inputs[k]!.model] },
    },
  );
