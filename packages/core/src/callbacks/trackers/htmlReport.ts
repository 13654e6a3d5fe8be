import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writing } from '../../util/diskError.js';
import type { CallbackContext, Logs, TrainerCallback } from '../callback.js';
import { escapeXml, lossPlot } from './lossPlot.js';
import { trackerFolder } from './runFolder.js';

/**
 * `loss.svg` and `report.html` in loggingDir or outputDir when the run is over: the curves of losses,
 * gradient norm and learning rate, and the summary. One file without scripts and links, to be sent by mail.
 */
export class HtmlReportCallback implements TrainerCallback {
  readonly name = 'HtmlReportCallback';

  async onTrainEnd({ args, state, model, logger }: CallbackContext, metrics: Logs): Promise<void> {
    const folder = trackerFolder(args);
    const title = args.runName ?? args.outputDir;
    const svg = lossPlot(state.logHistory, title);
    const best =
      state.bestMetric === null
        ? []
        : [
            [
              `best ${args.metricForBestModel}`,
              `${state.bestMetric} (update ${state.bestGlobalStep})`,
            ],
          ];
    const { info } = model.engine.backend;
    const rows = [
      ['model', model.nameOrPath || model.config.modelType],
      ['device', info.device || info.name],
      ['updates', `${state.globalStep} of ${state.maxSteps}`],
      ['tokens', String(state.numInputTokensSeen)],
      ...best,
      ...Object.entries(metrics).map(([name, value]) => [
        name,
        String(Number(value.toPrecision(6))),
      ]),
    ];
    const cells = rows.map(
      ([name, value]) => `<tr><th>${escapeXml(name!)}</th><td>${escapeXml(value!)}</td></tr>`,
    );
    const html = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeXml(title)}</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 14px system-ui, sans-serif; max-width: 900px; margin: 24px auto; padding: 0 16px; }
  svg { max-width: 100%; height: auto; }
  table { border-collapse: collapse; margin: 16px 0 0; }
  th { text-align: left; font-weight: 400; padding: 3px 24px 3px 0; opacity: 0.7; }
  td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
</style>
${svg}<table>
${cells.join('\n')}
</table>
</html>
`;
    await writing(folder, async () => {
      await mkdir(folder, { recursive: true });
      await writeFile(join(folder, 'loss.svg'), svg);
      await writeFile(join(folder, 'report.html'), html);
    });
    logger.info(`report: ${join(folder, 'report.html')}`);
  }
}
