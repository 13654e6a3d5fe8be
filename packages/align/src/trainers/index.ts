export {
  type AlignmentArguments,
  type AlignmentArgumentsInput,
  AlignmentTrainer,
  type AlignmentTrainerOptions,
  type NamedTrainerOptions,
} from './alignmentTrainer.js';
export {
  type DistillationArguments,
  type DistillationArgumentsInput,
  DistillationTrainer,
  type DistillationTrainerOptions,
} from './distillationTrainer.js';
export {
  GRPOTrainer,
  type GrpoArguments,
  type GrpoArgumentsInput,
  type GrpoTrainerOptions,
} from './grpoTrainer.js';
export {
  AlphaPOTrainer,
  CPOTrainer,
  DPOTrainer,
  IPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  SimPOTrainer,
} from './named.js';
export type { PpoArguments, PpoArgumentsInput } from './ppoArguments.js';
export { PPOTrainer, type PpoStats, type PpoStep, type PpoTrainerOptions } from './ppoTrainer.js';
export {
  type RewardArguments,
  type RewardArgumentsInput,
  RewardTrainer,
  type RewardTrainerOptions,
} from './rewardTrainer.js';
export {
  RLOOTrainer,
  type RlooArguments,
  type RlooArgumentsInput,
  type RlooTrainerOptions,
} from './rlooTrainer.js';
