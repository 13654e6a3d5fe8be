import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { Objective } from '../../training/objective.js';
import { AttuneError } from '../../util/errors.js';

/** How many updates a run has, counted as transformers' Trainer counts them. */
export interface TrainingPlan {
  /** Micro-batches of an epoch. A stream, whose end is not known, has those of the whole run. */
  readonly batchesPerEpoch: number;
  /**
   * ceil(batches / gradientAccumulationSteps) times the updates of a group: a last group with fewer
   * micro-batches counts, too.
   */
  readonly updatesPerEpoch: number;
  readonly maxSteps: number;
  /** Epochs begun, the last one perhaps not finished. */
  readonly numTrainEpochs: number;
}

/**
 * @param batchesPerEpoch null: of a stream; then `maxSteps` decides, whatever the epochs
 * @param args with as many `gradientAccumulationSteps` as a group has batches
 * @param objective its `updatesPerGroup`, and what a group of it takes
 * @throws NO_TRAINING_ROWS when dropLast leaves no batch; ARGUMENTS_INVALID for a stream without
 *   maxSteps
 */
export function planTraining(
  batchesPerEpoch: number | null,
  args: Pick<TrainingArguments, 'gradientAccumulationSteps' | 'maxSteps' | 'numTrainEpochs'>,
  objective: Pick<Objective, 'updatesPerGroup' | 'examplesPerGroup'> = {},
): TrainingPlan {
  const { updatesPerGroup = 1, examplesPerGroup } = objective;
  const { maxSteps: asked, gradientAccumulationSteps } = args;
  if (batchesPerEpoch === null) {
    if (asked > 0)
      return {
        batchesPerEpoch: Math.ceil(asked / updatesPerGroup) * gradientAccumulationSteps,
        updatesPerEpoch: asked,
        maxSteps: asked,
        numTrainEpochs: Number.MAX_SAFE_INTEGER,
      };
    throw new AttuneError(
      'ARGUMENTS_INVALID',
      `maxSteps is ${asked}, but the training rows are a stream, whose length is not known.`,
      {
        remedy: 'Set maxSteps to the number of updates to do, or load the rows without streaming.',
      },
    );
  }
  if (batchesPerEpoch === 0) throw noTrainingRows(examplesPerGroup?.training);
  const updatesPerEpoch =
    Math.ceil(batchesPerEpoch / args.gradientAccumulationSteps) * updatesPerGroup;
  const maxSteps =
    args.maxSteps > 0 ? args.maxSteps : Math.ceil(args.numTrainEpochs * updatesPerEpoch);
  return {
    batchesPerEpoch,
    updatesPerEpoch,
    maxSteps,
    numTrainEpochs:
      args.maxSteps > 0 ? Math.ceil(maxSteps / updatesPerEpoch) : Math.ceil(args.numTrainEpochs),
  };
}

/** @param needed rows that a group takes, where the objective says so */
export const noTrainingRows = (needed?: number): AttuneError =>
  needed === undefined
    ? new AttuneError('NO_TRAINING_ROWS', 'the training rows do not fill one micro-batch.', {
        remedy: 'Lower perDeviceTrainBatchSize, or leave dataloaderDropLast off.',
      })
    : new AttuneError(
        'NO_TRAINING_ROWS',
        `there are fewer training rows than the ${needed} that a group of updates takes.`,
        {
          remedy:
            'Give more rows, or lower perDeviceTrainBatchSize, gradientAccumulationSteps or stepsPerGeneration.',
        },
      );
