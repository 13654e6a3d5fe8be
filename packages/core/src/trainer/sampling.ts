import { type Examples, isStream, Loader } from '../dataset/loader.js';
import { AttuneError } from '../util/errors.js';
import type { Objective } from './objective.js';
import type { RowLengths } from './rowLengths.js';
import type { TrainingArguments } from './trainingArguments.js';

export const SAMPLING_STRATEGIES = ['random', 'sequential', 'group_by_length'] as const;
export type SamplingStrategy = (typeof SAMPLING_STRATEGIES)[number];

interface Spellings {
  readonly shuffle: boolean;
  readonly groupByLength: boolean;
  readonly trainSamplingStrategy?: SamplingStrategy | undefined;
}

/**
 * One order of rows from its three spellings: `trainSamplingStrategy`, transformers' older
 * `groupByLength`, and `shuffle`.
 *
 * @throws ARGUMENTS_INVALID when they contradict one another
 */
export function resolveSampling(args: Spellings): SamplingStrategy {
  const { shuffle, groupByLength, trainSamplingStrategy: written } = args;
  const strategy =
    written ?? (groupByLength ? 'group_by_length' : shuffle ? 'random' : 'sequential');
  const contradiction =
    groupByLength && strategy !== 'group_by_length'
      ? 'groupByLength is true'
      : !shuffle && strategy !== 'sequential'
        ? 'shuffle is false'
        : null;
  if (contradiction === null) return strategy;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `${contradiction}, but ${written ? `trainSamplingStrategy is "${written}"` : 'groupByLength is true'}.`,
    { remedy: 'Keep one of them.' },
  );
}

/**
 * The training rows in the order that the arguments ask for. A stream comes in its own.
 *
 * @param given lengths that rows brought with them
 * @throws ARGUMENTS_INVALID when a stream is to be grouped by length, or examples have none
 */
export function trainingLoader<Example>(
  examples: Examples<Example>,
  args: TrainingArguments,
  objective: Objective<Example>,
  given: RowLengths | null = null,
): Loader<Example> {
  const isGrouped = args.trainSamplingStrategy === 'group_by_length';
  if (isGrouped && isStream(examples))
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      'rows are to be grouped by length, but the training rows are a stream, which is read in its own order.',
      { remedy: 'Load the rows without streaming, or leave groupByLength out.' },
    );
  return new Loader(examples, {
    batchSize: args.perDeviceTrainBatchSize,
    shuffle: args.trainSamplingStrategy !== 'sequential',
    seed: args.dataSeed ?? args.seed,
    dropLast: args.dataloaderDropLast,
    prefetch: args.dataloaderPrefetchFactor,
    ...(isGrouped &&
      !isStream(examples) && {
        grouping: {
          lengths: examples.map((example) => given?.of(example) ?? lengthOf(example, objective)),
          size: args.perDeviceTrainBatchSize * args.gradientAccumulationSteps,
        },
      }),
  });
}

function lengthOf<Example>(example: Example, objective: Objective<Example>): number {
  const { inputIds } = example as { readonly inputIds?: ArrayLike<number> };
  const length = objective.lengthOf?.(example) ?? inputIds?.length;
  if (length !== undefined) return length;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `rows are to be grouped by length, but the objective "${objective.name}" does not say how long its examples are.`,
    { remedy: 'Give the objective a lengthOf(example), or leave groupByLength out.' },
  );
}
