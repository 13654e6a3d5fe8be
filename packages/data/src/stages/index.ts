import type { DataStage } from '../contract/dataStage.js';
import { mixStage } from '../mix/mix.js';
import { keepTopStage } from '../selection/keepTop.js';
import { scoreIfdStage } from '../selection/scoreIfd.js';
import { filterStage } from './filter.js';
import { mapStage } from './map.js';

/** The stages of this package. */
export const builtinStages: readonly DataStage[] = [
  filterStage,
  keepTopStage,
  mapStage,
  mixStage,
  scoreIfdStage,
];
