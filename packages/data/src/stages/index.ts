import { backInstructStage } from '../augment/backInstruct.js';
import { backTranslateStage } from '../augment/backTranslate.js';
import { evolInstructStage } from '../augment/evolInstruct.js';
import { preferencePairsStage } from '../augment/makePreferencePairs.js';
import { selfInstructStage } from '../augment/selfInstruct.js';
import type { DataStage } from '../contract/dataStage.js';
import { curriculumStage } from '../curriculum/curriculum.js';
import { dedupeStage } from '../dedup/dedupe.js';
import { mixStage } from '../mix/mix.js';
import { qualityStage } from '../quality/qualityStage.js';
import { keepTopStage } from '../selection/keepTop.js';
import { scoreIfdStage } from '../selection/scoreIfd.js';
import { scoreComplexityStage, scoreQualityStage } from '../selection/scoreLevels.js';
import { selectDiverseStage } from '../selection/selectDiverse.js';
import { splitStage } from '../split/splitStage.js';
import { filterStage } from './filter.js';
import { mapStage } from './map.js';
import { validateStage } from './validate.js';

/** The stages of this package. */
export const builtinStages: readonly DataStage[] = [
  backInstructStage,
  backTranslateStage,
  curriculumStage,
  dedupeStage,
  evolInstructStage,
  filterStage,
  keepTopStage,
  mapStage,
  mixStage,
  preferencePairsStage,
  qualityStage,
  scoreComplexityStage,
  scoreIfdStage,
  scoreQualityStage,
  selectDiverseStage,
  selfInstructStage,
  splitStage,
  validateStage,
];
