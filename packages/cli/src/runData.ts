import { parseArgs } from 'node:util';
import { AttuneError } from '@attune/core';
import { type DataReport, type PlannedDataPipeline, planDataPipeline } from '@attune/data';
import type { CliOutput } from './index.js';
import { openBackend, openForModels, openForStages } from './openAttune.js';
import { loadPlugins } from './plugins.js';

export const runDataHelp = `Usage: attune data PIPELINE.yaml [options]

Runs a data pipeline that YAML describes: sources, stages, output. All names and
options are checked before a row is read; the folder appears when it is whole. A
run that was stopped goes on where it was when the same command is given again.

  --dry-run         shows files and stages, and reads no row
  --overwrite       replaces the folder, if a pipeline wrote it
  --plugin PACKAGE  a package with stages, checks or providers, or the path of
                    its file: its default export; PACKAGE#NAME: another one.
                    As often as there are packages
  --backend NAME    what computes models and compares vectors. Default: dawn,
                    the GPU or a software one, opened where a stage has a model
                    and if @attune/backend-dawn is installed; else "reference",
                    the processor, slowly
  --quiet           no progress
`;

const options = {
  'dry-run': { type: 'boolean' },
  overwrite: { type: 'boolean' },
  plugin: { type: 'string', multiple: true },
  backend: { type: 'string' },
  quiet: { type: 'boolean' },
} as const;

/**
 * `attune data PIPELINE.yaml`.
 *
 * @returns 0, or 1 where no row came out
 * @throws CLI_ARGUMENTS, CLI_PLUGIN, DATA_YAML, ABORTED, and what stages and writing throw
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
    const plugins = await loadPlugins(values.plugin ?? []);
    const warn = (message: string) => output.err(`warning: ${message}`);
    // Names and options are checked before a device is opened, which takes a second.
    await using attune = await openForStages(plugins);
    const planned = await planDataPipeline(file, { attune, signal: stop.signal });
    const { pipeline, folder, writeOptions, needsDevice } = planned;
    const backend = values.backend ?? (needsDevice ? 'dawn' : 'reference');
    if (values['dry-run']) {
      output.out(describePlan(planned, backend));
      return 0;
    }
    await using device =
      values.backend !== undefined
        ? await openBackend(values.backend, plugins)
        : needsDevice
          ? await openForModels(plugins, warn)
          : null;
    const report = await pipeline.with({ attune: device ?? attune }).writeTo(folder, {
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

/** What would be read, done and written. */
const describePlan = ({ files, hub, stages, folder }: PlannedDataPipeline, backend: string) =>
  [
    ...files.map((path) => `read    ${path}`),
    ...hub.map((name) => `read    ${name} of the Hub`),
    ...stages.map(({ name, options: given }) => `stage   ${name} ${optionsText(given)}`.trimEnd()),
    ...(backend === 'reference' ? [] : [`device  ${backend}`]),
    `write   ${folder}`,
  ].join('\n');

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
