import { join, mkdir, writeFile } from '#platform';
import type { Tracker } from '../callbacks/points.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import type { CallbackContext, Logs } from '../training/callback.js';
import { writing } from '../util/diskError.js';
import { linePlot } from './linePlot.js';
import { lossPlot } from './lossPlot.js';
import { type Row, reportPage } from './reportPage.js';
import { runCurves } from './runCurves.js';
import { trackerFolder } from './runFolder.js';
import { runSummary } from './runSummary.js';

/** Characters of an argument's value: a page is not the place for a table of numbers. */
const LONGEST_VALUE = 1000;

/**
 * Writes `loss.svg` and `report.html` into loggingDir or outputDir when the run is over. The report
 * says what was trained, on which device and how fast. It has curves of loss, perplexity, accuracy,
 * learning rate and gradient norm, the tables that the objective has to show, and the arguments,
 * changed ones first.
 */
export class HtmlReportCallback implements Tracker {
  readonly name = 'HtmlReportCallback';
  readonly firstRankOnly = true;

  async onTrainEnd(context: CallbackContext, metrics: Logs): Promise<void> {
    const { args, state, logger, changedArguments, objective } = context;
    const folder = trackerFolder(args);
    const title = args.runName ?? args.outputDir;
    const panels = runCurves(state.logHistory, objective.isLogLikelihood === true);
    const last = state.logHistory.reduce((most, { step }) => Math.max(most, step), 1);
    const [changed, others] = split(argumentRows(args), new Set(changedArguments));
    const html = reportPage({
      ...{ title, changed, others },
      plots: panels.map((panel) => linePlot(panel, last).svg),
      summary: runSummary(context, metrics),
      tables: objective.tables?.() ?? [],
    });
    await writing(folder, async () => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'loss.svg'), lossPlot(panels, last, title));
      await writeFile(join(folder, 'report.html'), html);
    });
    logger.info(`report: ${join(folder, 'report.html')}`);
  }
}

/** As they were given: the exact numbers, to be used again. */
const argumentRows = (args: TrainingArguments): Row[] =>
  Object.entries(args)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const text =
        typeof value === 'string' && value !== ''
          ? value
          : (JSON.stringify(value) ?? String(value));
      return [name, text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text];
    });

const split = (rows: readonly Row[], names: ReadonlySet<string>): [Row[], Row[]] => [
  rows.filter(([name]) => names.has(name)),
  rows.filter(([name]) => !names.has(name)),
];
