import { AttuneError } from '../util/errors.js';
import type { TrainingArguments } from './trainingArguments.js';

/** How many updates a run has, counted as transformers' Trainer counts them. */
export interface TrainingPlan {
  readonly batchesPerEpoch: number;
  /** ceil(batches / gradientAccumulationSteps): a last window with fewer micro-batches is an update too. */
  readonly updatesPerEpoch: number;
  readonly maxSteps: number;
  /** Epochs begun, the last one perhaps not finished. */
  readonly numTrainEpochs: number;
}

/** @throws NO_TRAINING_ROWS when dropLast leaves no batch */
export function planTraining(
  batchesPerEpoch: number,
  args: Pick<TrainingArguments, 'gradientAccumulationSteps' | 'maxSteps' | 'numTrainEpochs'>,
): TrainingPlan {
  if (batchesPerEpoch === 0)
    throw new AttuneError('NO_TRAINING_ROWS', 'the training rows do not fill one micro-batch.', {
      remedy: 'Lower perDeviceTrainBatchSize, or leave dataloaderDropLast off.',
    });
  const updatesPerEpoch = Math.ceil(batchesPerEpoch / args.gradientAccumulationSteps);
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
