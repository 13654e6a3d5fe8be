export {
  type AlignmentArguments,
  type AlignmentArgumentsInput,
  AlignmentTrainer,
  type AlignmentTrainerOptions,
  type NamedTrainerOptions,
} from './alignmentTrainer.js';
export {
  AlphaPOTrainer,
  CPOTrainer,
  DPOTrainer,
  IPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  SimPOTrainer,
} from './named.js';
export {
  type RewardArguments,
  type RewardArgumentsInput,
  RewardTrainer,
  type RewardTrainerOptions,
} from './rewardTrainer.js';
