import { type Examples, isStream, Loader } from '../../dataset/loader.js';
import { type Communicator, localCommunicator } from '../../distributed/communicator.js';
import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { HostBatch } from '../../training/batch.js';
import { exampleLength } from '../../training/exampleLength.js';
import type { Objective } from '../../training/objective.js';
import { AttuneError } from '../../util/errors.js';
import { groupShape } from './groupShape.js';
import type { RowLengths } from './rowLengths.js';

/**
 * The training rows in the order that the arguments ask for, as the objective collates them. A
 * stream comes in its own order.
 *
 * @param given lengths that rows brought with them
 * @param ranks how many share the rows, and which of them this is
 * @throws ARGUMENTS_INVALID when a stream is to be grouped by length, or examples have none
 */
export function trainingLoader<Example>(
  examples: Examples<Example>,
  args: TrainingArguments,
  objective: Objective<Example>,
  given: RowLengths | null = null,
  { rank, worldSize }: Pick<Communicator, 'rank' | 'worldSize'> = localCommunicator,
): Loader<Example, HostBatch> {
  const isGrouped = args.trainSamplingStrategy === 'group_by_length';
  if (isGrouped && isStream(examples))
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      'rows are to be grouped by length, but the training rows are a stream, which is read in its own order.',
      { remedy: 'Load the rows without streaming, or leave groupByLength out.' },
    );
  const { batchSize, batches } = groupShape(args, objective);
  return new Loader(examples, {
    batchSize,
    ...(worldSize > 1 && { share: { rank, worldSize } }),
    shuffle: args.trainSamplingStrategy !== 'sequential',
    seed: args.dataSeed ?? args.seed,
    dropLast: args.dataloaderDropLast,
    collate: (batch) => objective.collate(batch),
    prefetch: args.dataloaderPrefetchFactor,
    ...(isGrouped &&
      !isStream(examples) && {
        grouping: {
          lengths: examples.map((example) => given?.of(example) ?? lengthOf(example, objective)),
          size: worldSize * batchSize * batches,
        },
      }),
  });
}

function lengthOf<Example>(example: Example, objective: Objective<Example>): number {
  const length = exampleLength(example, objective.rows);
  if (length !== undefined) return length;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `rows are to be grouped by length, but the objective "${objective.name}" does not say how long its examples are.`,
    { remedy: 'Give the rows of the objective a lengthOf(example), or leave groupByLength out.' },
  );
}
