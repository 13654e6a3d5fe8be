import { layoutSafetensors, planWeightFiles, type RawConfig } from '@attune/core/io';
import type { TensorTask } from '../contract/tensorTask.js';
import { bytesOfTask } from './mergeTask.js';

/** A weight file of the output. */
export interface OutputShard {
  readonly name: string;
  readonly header: Uint8Array;
  readonly numBytes: number;
}

/** Where a tensor goes. */
export interface OutputPlace {
  /** Name of the file. */
  readonly shard: string;
  /** First byte in it. */
  readonly begin: number;
}

/** The weight files of a merge, to the byte, before there is a weight. */
export interface OutputPlan {
  readonly shards: readonly OutputShard[];
  /** By the name of the tensor. */
  readonly places: ReadonlyMap<string, OutputPlace>;
  /** `model.safetensors.index.json`; null: one file needs none. */
  readonly index: RawConfig | null;
  /** Bytes of all tensors, without headers. */
  readonly tensorBytes: number;
}

/**
 * The files that core's `writeWeights` would write, tensor for tensor in the same place.
 *
 * @throws SIZE_INVALID, SAFETENSORS_WRITE
 */
export function planOutput(
  tasks: readonly TensorTask[],
  maxShardSize: number | string,
): OutputPlan {
  const { files, index } = planWeightFiles(tasks, { maxShardSize });
  const places = new Map<string, OutputPlace>();
  const shards = files.map(({ name, tensors }) => {
    const { header, begins, numBytes } = layoutSafetensors(name, tensors);
    for (const [tensor, begin] of begins) places.set(tensor, { shard: name, begin });
    return { name, header, numBytes };
  });
  const tensorBytes = tasks.reduce((sum, task) => sum + bytesOfTask(task), 0);
  return { shards, places, index, tensorBytes };
}
