import { basename, join } from 'node:path';
import { writeFileAtomic } from '@attune/core/io';
import { formatJson, parseOptions } from '@attune/core/util';
import { parseMergeConfig, readMergeYaml } from './config/index.js';
import type { MergeConfigInput } from './config/mergeConfigInput.js';
import { executeMerge, type MergeOutcome } from './execute/index.js';
import { type MergeOptions, mergeOptions, type PlanMergeOptions, planOptions } from './options.js';
import type { MergePlan } from './plan/mergePlan.js';
import { methodsOf, planConfig } from './plan/planMerge.js';
import { splitLayer } from './plan/tensorNames.js';
import { reportHtml } from './report/html.js';
import { MergeReport } from './report/mergeReport.js';
import { modelCard } from './report/modelCard.js';
import { VERSION } from './version.js';

/** What a merge gives. */
export interface MergedModel extends MergeOutcome {
  readonly plan: MergePlan;
  /** What the merge did to the models; null: `report` was not asked for. */
  readonly report: MergeReport | null;
}

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
  const methods = methodsOf(parseOptions(planOptions, options, { where: 'planMerge' }));
  const read =
    typeof config === 'string'
      ? await readMergeYaml(config, { methods })
      : parseMergeConfig(config, { methods });
  return planConfig(read, options);
}

/**
 * Merges models as a config in code says, into a folder that is there whole at the end or not at
 * all. A merge that was interrupted goes on where it stopped when it is called again.
 *
 * @example
 * await mergeModels(
 *   { mergeMethod: 'slerp', baseModel: 'a', models: [{ model: 'a' }, { model: 'b' }],
 *     parameters: { t: 0.5 } },
 *   { outputDir: 'merged' },
 * );
 *
 * @throws MERGE_INVALID with everything that is wrong, before a weight is read; MERGE_OUTPUT,
 *   MERGE_INPUT, MERGE_MEMORY, MERGE_DISK, MERGE_NON_FINITE, MERGE_OVERFLOW, MERGE_INTEGERS,
 *   MERGE_STOPPED
 */
export const mergeModels = (
  config: MergeConfigInput,
  options: MergeOptions,
): Promise<MergedModel> => run(config, options, 'mergeModels');

/** Merges as a YAML file of mergekit says: {@link mergeModels}. */
export const mergeFromYaml = (file: string, options: MergeOptions): Promise<MergedModel> =>
  run(file, options, 'mergeFromYaml');

async function run(
  config: MergeConfigInput | string,
  options: MergeOptions,
  where: string,
): Promise<MergedModel> {
  const parsed = parseOptions(mergeOptions, options, { where });
  const { outputDir, report: wantsReport, writeModelCard, ...rest } = parsed;
  const { overwrite, verify, onProgress, signal, ...planned } = rest;
  const plan = await planMerge(config, planned);
  const { parity, attune, maxShardSize, maxMemory, workers } = planned;
  const running = { outputDir, overwrite, verify, onProgress, signal, attune };
  let report: MergeReport | null = null;
  const outcome = await executeMerge(plan, {
    ...running,
    ...{ maxShardSize, maxMemory, workers },
    methods: methodsOf(planned),
    measured: wantsReport,
    finish: async (folder, found) => {
      if (writeModelCard) await writeCard(folder, plan, { outputDir, parity });
      if (!wantsReport) return;
      report = reportOf(plan, found, parity);
      await writeFileAtomic(join(folder, 'merge-report.json'), `${formatJson(report.toJSON())}\n`);
      await writeFileAtomic(join(folder, 'merge-report.html'), reportHtml(report));
    },
  });
  return { ...outcome, plan, report };
}

async function writeCard(
  folder: string,
  { config, method, seed, tokenizerChanges }: MergePlan,
  { outputDir, parity }: { readonly outputDir: string; readonly parity: MergeParity },
): Promise<void> {
  const name = basename(outputDir);
  const versions = { '@attune/merge': VERSION };
  const facts = { name, config, method, seed, parity, versions, changes: tokenizerChanges };
  for (const { name: file, contents } of modelCard(facts))
    await writeFileAtomic(join(folder, file), contents as string);
}

type MergeParity = NonNullable<PlanMergeOptions['parity']>;

function reportOf(plan: MergePlan, outcome: MergeOutcome, parity: MergeParity): MergeReport {
  const { config, method, seed, tasks, warnings } = plan;
  const facts = {
    method: method.name,
    title: method.title,
    baseModel: config.baseModel?.key ?? null,
    seed,
    parity,
    seconds: outcome.seconds,
    bytesWritten: outcome.bytes,
    yaml: config.yaml,
    warnings,
  };
  const tensors = tasks.flatMap(({ name, inputs }) => {
    const statistics = outcome.written.get(name)?.statistics;
    if (!statistics) return [];
    const layer = splitLayer(name)?.layer ?? null;
    const modelNames = statistics.models.map((k) => inputs[k]!.model);
    return [{ ...statistics, modelNames, layer }];
  });
  return new MergeReport(facts, tensors);
}
