import type { TrainingArguments } from '../../training/arguments/trainingArguments.js';
import type { Objective } from '../../training/objective.js';

/** How examples are cut into groups. */
export interface GroupShape {
  /** Examples of a batch. */
  readonly batchSize: number;
  /** Batches of a group. */
  readonly batches: number;
}

/** What `updates` of an objective is given at once, in training. */
export const groupShape = (
  args: Pick<TrainingArguments, 'perDeviceTrainBatchSize' | 'gradientAccumulationSteps'>,
  { examplesPerGroup }: Pick<Objective, 'examplesPerGroup'>,
): GroupShape =>
  examplesPerGroup
    ? { batchSize: examplesPerGroup.training, batches: 1 }
    : { batchSize: args.perDeviceTrainBatchSize, batches: args.gradientAccumulationSteps };
