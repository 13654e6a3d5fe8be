export * from './adafactor.js';
export { AdamW, type AdamWOptions, adamwDefinition, adamwRule } from './adamw.js';
export * from './adamw8bit.js';
export type { NamedParameter } from './arena.js';
export {
  ArenaOptimizer,
  type ArenaOptions,
  type OptimizerChunk,
  type StateArray,
  type UpdateRule,
  type UpdateStep,
} from './arenaOptimizer.js';
export * from './definition.js';
export * from './greedy.js';
export * from './lion.js';
export {
  isImproved,
  type MetricSchedule,
  type MetricScheduleOptions,
  type MetricSchedulerType,
  worst,
} from './metricSchedule.js';
export * from './optimizer.js';
export {
  type ElementwiseRule,
  elementwiseRule,
  everywhere,
  type Lane,
  type PageableRule,
  pageable,
  type RuleChoice,
} from './pageableRule.js';
export { PagedOptimizer } from './paged.js';
export * from './parameterGroups.js';
export * from './plateau.js';
export * from './points.js';
export * from './scheduleDefinition.js';
export {
  metricSchedule,
  resolveWarmupSteps,
  type ScheduleOptions,
  type SchedulerKwargs,
  type SchedulerType,
  type StepSchedulerType,
  schedule,
} from './schedulers.js';
export * from './sgd.js';
