import type { MergeChunk, MergeGroup, MergeMethod } from '../contract/mergeMethod.js';
import { ScratchMemory } from './scratchMemory.js';

/** Reads elements of an input as float32. */
export interface ElementReader {
  /** Fills `into` with the elements from `start` on. */
  read(start: number, into: Float32Array): void;
}

/** What a group is made of. */
export interface GroupParts {
  readonly name: string;
  readonly shape: readonly number[];
  readonly inputs: readonly ElementReader[];
  readonly baseIndex: number | null;
  /** What a chunk may cut. */
  readonly chunks: NonNullable<MergeMethod['chunks']>;
  /** Elements of a chunk, where it may be cut there. Default 65,536: some inputs fit the cache. */
  readonly chunkElements?: number;
  /** Memory of the thread. Default: new memory for each group. */
  readonly memory?: ScratchMemory;
}

const CHUNK_ELEMENTS = 2 ** 16;

/** Elements of a chunk: whole rows where rows may not be cut, or where several fit. */
export function chunkLength(
  {
    shape,
    chunks,
    chunkElements = CHUNK_ELEMENTS,
  }: Pick<GroupParts, 'shape' | 'chunks' | 'chunkElements'>,
  length: number,
): number {
  if (chunks === 'tensor') return length;
  if (chunks !== 'elements' && shape.length < 2) return length;
  const piece = chunks === 'slices' ? length / shape[0]! : (shape.at(-1) ?? 1);
  const pieces = Math.floor(chunkElements / Math.max(1, piece));
  if (pieces > 0) return Math.min(length, pieces * piece);
  return Math.min(length, chunks === 'elements' ? chunkElements : piece);
}

/** A group that is read piece by piece, into arrays that are used again. */
export function chunkedGroup(parts: GroupParts): MergeGroup {
  const { name, shape, inputs, baseIndex } = parts;
  const length = shape.reduce((a, b) => a * b, 1);
  const size = chunkLength(parts, length);
  const memory = parts.memory ?? new ScratchMemory();
  const held = memory.take(inputs.length);
  return {
    name,
    shape,
    length,
    columns: shape.at(-1) ?? 1,
    numInputs: inputs.length,
    baseIndex,
    numModels: inputs.length - (baseIndex === null ? 0 : 1),
    scratch: (count) => memory.take(count),
    *chunks(): Iterable<MergeChunk> {
      for (let start = 0; start < length; start += size) {
        const count = Math.min(size, length - start);
        const arrays = inputs.map((_, k) => held(k, count));
        for (const [k, array] of arrays.entries()) inputs[k]!.read(start, array);
        yield {
          start,
          length: count,
          inputs: arrays,
          base: baseIndex === null ? null : arrays[baseIndex]!,
          models: arrays.filter((_, k) => k !== baseIndex),
        };
      }
    },
  };
}
