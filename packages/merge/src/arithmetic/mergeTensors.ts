import { AttuneError } from '@attune/core';
import type { MergeArithmetic, MergeMethod } from '../contract/mergeMethod.js';
import { bindParameters } from './bindParameters.js';
import { chunkedGroup } from './chunkedGroup.js';
import { roundings } from './rounding.js';
import { uniformStreams } from './uniformStreams.js';

/** How tensors in memory are merged. */
export interface MergeTensorsOptions {
  /** Shape of each. Default `[length]`. */
  readonly shape?: readonly number[];
  /** Which of the tensors is the base. Default: none. */
  readonly baseIndex?: number;
  /** Values by name; a list where a parameter has one for each input. Default {}. */
  readonly parameters?: Readonly<Record<string, unknown>>;
  /** What the arithmetic is done in. Default 'float32'. */
  readonly dtype?: MergeArithmetic['dtype'];
  /** Uniform numbers by stream. Default: those of seed 0. */
  readonly random?: MergeArithmetic['random'];
  /** Name of the tensor. Default "tensor". */
  readonly name?: string;
  /** Elements of a piece, for tests. */
  readonly chunkElements?: number;
}

/**
 * Merges tensors that are in memory: mergekit's `merge_tensors`.
 *
 * @param tensors all of one length; with `dtype` of 16 bits their values are taken as they are
 * @throws MERGE_PARAMETER, MERGE_INPUTS
 */
export function mergeTensors(
  tensors: readonly Float32Array[],
  method: MergeMethod,
  options: MergeTensorsOptions = {},
): Float32Array {
  const { name = 'tensor', dtype = 'float32', parameters = {} } = options;
  const length = tensors[0]?.length ?? 0;
  const shape = options.shape ?? [length];
  const baseIndex = options.baseIndex ?? null;
  checkInputs(method, tensors.length, baseIndex);
  const product = shape.reduce((a, b) => a * b, 1);
  const odd = tensors.findIndex((tensor) => tensor.length !== product);
  if (odd >= 0)
    throw new AttuneError(
      'MERGE_INPUTS',
      `${name}: tensor ${odd} has ${tensors[odd]!.length} elements, the shape [${shape}] has ${product}.`,
      { remedy: 'Give tensors of one shape.' },
    );
  const bound = bindParameters(method, parameters, { numInputs: tensors.length, baseIndex });
  const group = chunkedGroup({
    name,
    shape,
    inputs: tensors.map((tensor) => ({
      read: (start, into) => into.set(tensor.subarray(start, start + into.length)),
    })),
    baseIndex,
    chunks: method.chunks ?? 'elements',
    ...(options.chunkElements !== undefined && { chunkElements: options.chunkElements }),
  });
  const combine = method.merge(group, bound, {
    dtype,
    round: roundings[dtype],
    random: options.random ?? uniformStreams(0, name),
  });
  const out = new Float32Array(product);
  for (const chunk of group.chunks())
    combine(chunk, out.subarray(chunk.start, chunk.start + chunk.length));
  return out;
}

/** @throws MERGE_INPUTS for a number of inputs that a method does not take, or a missing base */
export function checkInputs(
  method: MergeMethod,
  numInputs: number,
  baseIndex: number | null,
): void {
  const wrong = wrongInputs(method, numInputs, baseIndex);
  if (wrong)
    throw new AttuneError('MERGE_INPUTS', `${method.name}: ${wrong}.`, {
      remedy: 'Give other inputs.',
    });
}

/** What is wrong with the number of inputs; null: nothing. */
export function wrongInputs(
  { base, inputs = {}, models = {} }: MergeMethod,
  numInputs: number,
  baseIndex: number | null,
): string | null {
  if (base === 'required' && baseIndex === null) return 'needs a base model';
  const numModels = numInputs - (baseIndex === null || base === 'ignored' ? 0 : 1);
  return (
    wrongCount('inputs', numInputs, { min: 1, ...inputs }) ??
    wrongCount(baseIndex === null ? 'inputs' : 'inputs but the base', numModels, models)
  );
}

function wrongCount(
  what: string,
  count: number,
  { min = 0, max = Number.POSITIVE_INFINITY }: { readonly min?: number; readonly max?: number },
): string | null {
  if (count >= min && count <= max) return null;
  const wanted =
    min === max ? `exactly ${min}` : count < min ? `at least ${min}` : `at most ${max}`;
  const isOne = (count < min ? min : max) === 1;
  return `takes ${wanted} ${isOne ? what.replace('inputs', 'input') : what}, got ${count}`;
}
