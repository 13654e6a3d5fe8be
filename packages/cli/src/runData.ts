import { parseArgs } from 'node:util';
import { AttuneError } from '@attune/core';
import { type DataReport, planDataPipeline } from '@attune/data';
import type { CliOutput } from './index.js';
import { namesModel, openForModels, openForStages } from './openAttune.js';

export const runDataHelp = `Usage: attune data PIPELINE.yaml [options]

Runs a data pipeline that YAML describes: sources, stages, output. All names and
options are checked before a row is read; the folder appears when it is whole. A
run that was stopped goes on where it was when the same command is given again.
Models that stages name run on the GPU, with @attune/backend-dawn.

  --dry-run     shows files and stages, and reads no row
  --overwrite   replaces the folder, if a pipeline wrote it
  --quiet       no progress
`;

const options = {
  'dry-run': { type: 'boolean' },
  overwrite: { type: 'boolean' },
  quiet: { type: 'boolean' },
} as const;

/**
 * `attune data PIPELINE.yaml`.
 *
 * @returns 0, or 1 where no row came out
 * @throws CLI_ARGUMENTS, DATA_YAML, and what stages and writing throw
 */
export async function runData(args: readonly string[], output: CliOutput): Promise<number> {
  const { values, positionals } = parse(args);
  const [file, ...others] = positionals;
  if (file === undefined) throw wrong('PIPELINE.yaml, the file that describes it, is missing.');
  if (others.length > 0) throw wrong(`"${others[0]}" is one argument too many.`);
  const stop = new AbortController();
  const onInterrupt = () =>
    stop.abort(
      new AttuneError('ABORTED', 'the run was stopped.', {
        remedy: 'Give the same command again: it goes on where it was.',
      }),
    );
  process.once('SIGINT', onInterrupt);
  try {
    const { signal } = stop;
    await using forStages = await openForStages();
    const checked = await planDataPipeline(file, { attune: forStages, signal });
    if (values['dry-run']) {
      const { files, stages, folder } = checked;
      output.out(
        [
          ...files.map((path) => `read    ${path}`),
          ...stages.map(({ name, options: given }) =>
            `stage   ${name} ${optionsText(given)}`.trimEnd(),
          ),
          `write   ${folder}`,
        ].join('\n'),
      );
      return 0;
    }
    const warn = (message: string) => output.err(`warning: ${message}`);
    const computes = checked.stages.some((stage) => namesModel(stage.options));
    await using forModels = computes ? await openForModels(warn) : null;
    const { pipeline, folder, writeOptions } = forModels
      ? await planDataPipeline(file, { attune: forModels, signal })
      : checked;
    const report = await pipeline.writeTo(folder, {
      ...writeOptions,
      ...(values.overwrite && { overwrite: true }),
      progress: values.quiet ? false : (output.progress ?? false),
    });
    report.warnings.forEach(warn);
    output.out(describeReport(report, folder));
    return report.rowsOut === 0 ? 1 : 0;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}

const WIDTH = 80;

const optionsText = (given: object): string => {
  const text = Object.keys(given).length === 0 ? '' : JSON.stringify(given);
  return text.length > WIDTH - 24 ? `${text.slice(0, WIDTH - 27)}...` : text;
};

/** What became of the rows, stage by stage. */
function describeReport(report: DataReport, folder: string): string {
  const { rowsIn, rowsOut, quarantined, dropped, splits, groupsShared } = report;
  const number = (count: number) => count.toLocaleString('en-US');
  const parts = Object.entries(splits).filter(([, count]) => count > 0);
  const of =
    parts.length > 1
      ? ` (${parts.map(([name, count]) => `${name} ${number(count)}`).join(', ')})`
      : '';
  const lines = [`${folder}: ${number(rowsOut)} of ${number(rowsIn)} rows${of}.`];
  const lost = Object.entries(dropped).sort(([, a], [, b]) => b - a);
  for (const [reason, count] of lost)
    lines.push(`  ${number(count).padStart(9)}  dropped: ${reason}`);
  if (quarantined > 0)
    lines.push(`  ${number(quarantined).padStart(9)}  put aside, with reasons: quarantine.jsonl`);
  if (groupsShared !== null)
    lines.push(`  ${number(groupsShared).padStart(9)}  groups on both sides`);
  return lines.join('\n');
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (cause) {
    throw wrong((cause as Error).message);
  }
}

const wrong = (message: string): AttuneError =>
  new AttuneError('CLI_ARGUMENTS', message, { remedy: 'attune data --help explains it.' });
