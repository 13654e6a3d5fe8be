import { bindParameters } from '../arithmetic/bindParameters.js';
import { chunkedGroup } from '../arithmetic/chunkedGroup.js';
import { wrongInputs } from '../arithmetic/mergeTensors.js';
import { roundings } from '../arithmetic/rounding.js';
import { ScratchMemory } from '../arithmetic/scratchMemory.js';
import { uniformStreams } from '../arithmetic/uniformStreams.js';
import type { MergeArithmetic, MergeChunk, MergeMethod } from '../contract/mergeMethod.js';

/** One merge of the kit. */
export interface KitRun {
  readonly tensors: readonly Float32Array[];
  readonly shape: readonly number[];
  /** null: none. */
  readonly baseIndex: number | null;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly chunkElements?: number;
  readonly seed?: number;
  readonly dtype?: MergeArithmetic['dtype'];
  /** What `group.scratch` gives. Default: new memory, all 0. */
  readonly memory?: ScratchMemory;
}

/** Memory that the tensor before was worked in: with no number in it. */
export function usedMemory(): ScratchMemory {
  const memory = new ScratchMemory();
  const arrays = memory.take(64);
  for (let k = 0; k < 64; k++) arrays(k, 2 ** 16).fill(Number.NaN);
  memory.reset();
  return memory;
}

export interface KitResult {
  /** NaN where nothing was written. */
  readonly merged: Float32Array;
  /** Whether the method wrote into what it was given to read. */
  readonly wroteInputs: boolean;
}

/** Merges, and watches the arrays that the method only reads. */
export function runMethod(method: MergeMethod, run: KitRun): KitResult {
  const { shape, baseIndex, parameters, chunkElements, seed = 0, dtype = 'float32' } = run;
  const tensors = run.tensors.map((tensor) => tensor.map(roundings[dtype]));
  const plain = chunkedGroup({
    name: 'model.layers.0.mlp.up_proj.weight',
    shape,
    inputs: tensors.map((tensor) => ({
      read: (start, into) => into.set(tensor.subarray(start, start + into.length)),
    })),
    baseIndex,
    chunks: method.chunks ?? 'elements',
    ...(chunkElements !== undefined && { chunkElements }),
    ...(run.memory && { memory: run.memory }),
  });
  let wroteInputs = false;
  const group = {
    ...plain,
    *chunks(): Iterable<MergeChunk> {
      for (const chunk of plain.chunks()) {
        yield chunk;
        wroteInputs ||= chunk.inputs.some((array, k) =>
          array.some((value, i) => value !== tensors[k]![chunk.start + i]),
        );
      }
    },
  };
  const combine = method.merge(
    group,
    bindParameters(method, parameters, { numInputs: tensors.length, baseIndex }),
    { dtype, round: roundings[dtype], random: uniformStreams(seed, group.name) },
  );
  const merged = new Float32Array(group.length).fill(Number.NaN);
  for (const chunk of group.chunks())
    combine(chunk, merged.subarray(chunk.start, chunk.start + chunk.length));
  return { merged, wroteInputs };
}

/** Numbers of inputs up to six that a method takes, with the base. */
export const countsOf = (method: MergeMethod, baseIndex: number | null): number[] =>
  [1, 2, 3, 4, 5, 6].filter((count) => wrongInputs(method, count, baseIndex) === null);

/** Where the base stands in the kit: methods that can have one are tried with it. */
export const kitBase = ({ base }: MergeMethod): number | null => (base === 'ignored' ? null : 0);

/** Values of both signs, none like another, smaller than 1. */
export const wave = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 0.9 * Math.sin(1 + seed + 1.7 * i + 0.31 * seed * i));
