import type { DataStage } from '../contract/dataStage.js';
import { mixStage } from '../mix/mix.js';
import { filterStage } from './filter.js';
import { mapStage } from './map.js';

/** The stages of this package. */
export const builtinStages: readonly DataStage[] = [filterStage, mapStage, mixStage];
