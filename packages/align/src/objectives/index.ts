export {
  type AlignmentOptions,
  alignmentObjective,
  alphaPo,
  cpo,
  dpo,
  ipo,
  kto,
  type ObjectiveFactory,
  orpo,
  simpo,
} from './create.js';
export { type DistillationOptions, distillationObjective } from './distillation.js';
export { type RewardOptions, rewardObjective } from './reward.js';
