import { parseMergeConfig, readMergeYaml } from './config/index.js';
import type { MergeConfigInput } from './config/mergeConfigInput.js';
import type { PlanMergeOptions } from './options.js';
import type { MergePlan } from './plan/mergePlan.js';
import { methodsOf, planConfig } from './plan/planMerge.js';

/**
 * Plans a merge without doing it: reads the config, opens the models, and checks all that configs
 * and headers show. No weight is read, nothing is written.
 *
 * @param config what to merge, or a YAML file of mergekit
 * @throws MERGE_INVALID with everything that is wrong; MERGE_FILE, MERGE_YAML, UNKNOWN_OPTION
 */
export async function planMerge(
  config: MergeConfigInput | string,
  options: PlanMergeOptions = {},
): Promise<MergePlan> {
  const methods = methodsOf(options);
  const read =
    typeof config === 'string'
      ? await readMergeYaml(config, { methods })
      : parseMergeConfig(config, { methods });
  return planConfig(read, options);
}
