import { AttuneError } from '@attune/core';
import { isPlainObject, nearest, type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { MergeArithmetic, MergeMethod } from '../contract/mergeMethod.js';
import { builtinMethods } from '../methods/index.js';
import { bindParameters } from './bindParameters.js';
import { chunkedGroup } from './chunkedGroup.js';
import { roundings } from './rounding.js';
import { uniformStreams } from './uniformStreams.js';

const tensorsShape = {
  /** Shape of each. Default `[length]`. */
  shape: z.array(z.int().min(0)).readonly().optional(),
  /** Which of the tensors is the base. Default: none. */
  baseIndex: z.int().min(0).optional().meta({ aka: 'base' }),
  /** Values by name; a list where a parameter has one for each input. Default {}. */
  parameters: z
    .custom<Readonly<Record<string, unknown>>>(isPlainObject, 'expected values by name')
    .default(() => ({})),
  /** What the arithmetic is done in. Default 'float32'. */
  dtype: z.enum(['float32', 'bfloat16', 'float16']).default('float32'),
  /** Uniform numbers by stream. Default: those of seed 0. */
  random: z.custom<MergeArithmetic['random']>((value) => typeof value === 'function').optional(),
  /** Name of the tensor. Default "tensor". */
  name: z.string().default('tensor'),
  /** Elements of a piece, for tests. Default: as in a merge. */
  chunkElements: z.int().min(1).optional(),
};
const tensorsOptions = z.strictObject(tensorsShape);

/** How tensors in memory are merged. */
export type MergeTensorsOptions = OptionsInput<typeof tensorsShape>;

/**
 * Merges tensors that are in memory: mergekit's `merge_tensors`.
 *
 * @param tensors all of one length; with `dtype` of 16 bits their values are taken as they are
 * @param by a method, or the name of a built-in one: "ties"
 * @throws MERGE_PARAMETER, MERGE_INPUTS, MERGE_METHOD, UNKNOWN_OPTION, INVALID_OPTION
 */
export function mergeTensors(
  tensors: readonly Float32Array[],
  by: MergeMethod | string,
  options: MergeTensorsOptions = {},
): Float32Array {
  const parsed = parseOptions(tensorsOptions, options, { where: 'mergeTensors' });
  const { name, dtype, parameters, chunkElements } = parsed;
  const method = typeof by === 'string' ? builtin(by) : by;
  if (!Array.isArray(tensors) || !tensors.every((tensor) => tensor instanceof Float32Array))
    throw new AttuneError('MERGE_INPUTS', `${name}: the tensors are no list of Float32Array.`, {
      remedy: 'Give [Float32Array, ...].',
    });
  const length = tensors[0]?.length ?? 0;
  const shape = parsed.shape ?? [length];
  const baseIndex = parsed.baseIndex ?? null;
  if (baseIndex !== null && baseIndex >= tensors.length)
    throw new AttuneError(
      'MERGE_INPUTS',
      `${name}: baseIndex is ${baseIndex}, but there are ${tensors.length} tensors.`,
      {
        remedy: 'Give the index of one of them.',
      },
    );
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
    ...(chunkElements !== undefined && { chunkElements }),
  });
  const combine = method.merge(group, bound, {
    dtype,
    round: roundings[dtype],
    random: parsed.random ?? uniformStreams(0, name),
  });
  const out = new Float32Array(product);
  for (const chunk of group.chunks())
    combine(chunk, out.subarray(chunk.start, chunk.start + chunk.length));
  return out;
}

function builtin(name: string): MergeMethod {
  const method = builtinMethods.find((candidate) => candidate.name === name);
  if (method) return method;
  const names = builtinMethods.map((candidate) => candidate.name);
  const near = nearest(name, names);
  throw new AttuneError('MERGE_METHOD', `There is no merge method "${name}".`, {
    remedy: near ? `Did you mean "${near}"?` : `There are: ${names.join(', ')}.`,
  });
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
