import { parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { DataReport } from '../pipeline/dataReport.js';
import { runShape } from '../pipeline/runOptions.js';
import { type PipelineWriteOptions, writeShape } from '../pipeline/writePipeline.js';
import { type PlanDataPipelineOptions, planDataPipeline } from './planDataPipeline.js';

/** What {@link runDataPipeline} runs with: what is given here counts before what the file says. */
export interface RunDataPipelineOptions extends PlanDataPipelineOptions, PipelineWriteOptions {}

/**
 * Runs a pipeline that YAML describes ({@link planDataPipeline} says how), and writes its folder.
 *
 * @example await runDataPipeline('pipeline.yaml', { attune });
 * @throws DATA_YAML with line and column, DATA_FILE, DATA_OUTPUT, DISK_WRITE, and what stages throw
 */
export async function runDataPipeline(
  file: string,
  options: RunDataPipelineOptions = {},
): Promise<DataReport> {
  parseOptions(z.strictObject({ ...runShape, ...writeShape }), options, {
    where: 'runDataPipeline',
  });
  const { attune, onProgress, signal, logger, ...write } = options;
  const planned = await planDataPipeline(file, {
    ...(attune !== undefined && { attune }),
    ...(onProgress && { onProgress }),
    ...(signal !== undefined && { signal }),
    ...(logger && { logger }),
  });
  return planned.pipeline.writeTo(planned.folder, { ...planned.writeOptions, ...write });
}
