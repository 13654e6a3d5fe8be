import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SFTTrainer, type SftTrainerOptions } from '@attune/core';
import { describe, expect, test } from 'vitest';
import type { LogEntry } from '../../src/entries/training.js';
import { niceTicks, short } from '../../src/trackers/axis.js';
import { type Point, thin } from '../../src/trackers/curve.js';
import { escapeXml } from '../../src/trackers/escapeXml.js';
import { linePlot } from '../../src/trackers/linePlot.js';
import { lossPlot } from '../../src/trackers/lossPlot.js';
import { reportPage } from '../../src/trackers/reportPage.js';
import { runCurves } from '../../src/trackers/runCurves.js';
import { duration } from '../../src/trackers/runSummary.js';
import type { ReportTable } from '../../src/training/objective.js';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
} from '../trainer/support.js';

async function reportOf(
  args: SftTrainerOptions['args'] = {},
  options: Partial<SftTrainerOptions> = {},
) {
  const logger = new ListLogger();
  const outputDir = await temporaryFolder();
  const trainer = new SFTTrainer({
    model: await minuteLlama(await float32Attune(logger)),
    trainDataset: idRows(8),
    evalDataset: idRows(3),
    ...options,
    args: {
      ...{ perDeviceTrainBatchSize: 2, maxSteps: 4, loggingSteps: 2, saveStrategy: 'no' },
      ...{ evalStrategy: 'steps', evalSteps: 4, reportTo: 'html', outputDir },
      ...args,
    } as SftTrainerOptions['args'],
  });
  const output = await trainer.train();
  const html = await readFile(join(outputDir, 'report.html'), 'utf8');
  return { html, output, outputDir, logger, trainer };
}

/** Cells of the tables: name -> value as it stands in the page. */
const cells = (html: string): Map<string, string> =>
  new Map(
    [...html.matchAll(/<th scope="row">([^<]*)<\/th><td>([^<]*)<\/td>/g)].map((m) => [
      m[1]!,
      m[2]!,
    ]),
  );

const titles = (history: readonly LogEntry[]): string[] =>
  runCurves(history, false).map(({ title }) => title);
const svgOf = (history: readonly LogEntry[], last = history.at(-1)?.step ?? 1): string =>
  lossPlot(runCurves(history, false), last, 'a run');
const losses = (values: readonly number[]): LogEntry[] =>
  values.map((loss, i) => ({ step: i + 1, epoch: 0, loss }));

describe('tables of the objective', () => {
  const page = (rows: ReportTable['rows']) =>
    reportPage({
      ...{ title: 'a run', plots: [], summary: [], changed: [], others: [] },
      tables: [{ title: 'answers <1>', columns: ['answer', 'reward & more'], rows }],
    });

  test('stand in the report, texts escaped and numbers briefly', () => {
    const html = page([
      ['<b>bold</b>\nnext', 1 / 3],
      [null, null],
    ]);
    expect(html).toContain('<h2>answers &lt;1&gt;</h2>');
    expect(html).toContain('<th scope="col">reward &amp; more</th>');
    expect(html).toContain('<td class="text">&lt;b&gt;bold&lt;/b&gt;\nnext</td><td>0.33333</td>');
    expect(html).toContain('<td></td><td></td>');
    expect(html.indexOf('<h2>answers')).toBeLessThan(html.indexOf('<h2>Arguments'));
  });

  test('long ones are cut, and say so', () => {
    const html = page(Array.from({ length: 103 }, (_, i) => ['x'.repeat(3000), i]));
    expect(html.match(/<td class="text">/g)).toHaveLength(100);
    expect(html).toContain('and 3 more');
    expect(html).toContain(`${'x'.repeat(2000)}…`);
    expect(html).not.toContain('x'.repeat(2001));
  });
});

describe('the report of a run', () => {
  test('has curves with the titles of their axes, for training and evaluation', async () => {
    const { html } = await reportOf();
    for (const title of [
      'loss (nats per token)',
      'perplexity',
      'token accuracy',
      'learning rate',
      'gradient norm (L2)',
      'step',
    ])
      expect(html).toMatch(
        new RegExp(`<text class="axis"[^>]*>${title.replace(/[()]/g, '\\$&')}<`),
      );
    // loss, perplexity and accuracy of both; learning rate, gradient norm
    expect(html.match(/<polyline/g)).toHaveLength(8);
  });

  test('says model, device, duration and speed, and where it is', async () => {
    const { html, output, outputDir, logger } = await reportOf();
    const values = cells(html);
    expect(values.get('model')).toContain('llama');
    expect(values.get('device')).toContain('reference');
    expect(values.get('duration')).toMatch(/^[\d.e-]+ s$/);
    expect(values.get('tokens per second')).toMatch(/^\d/);
    expect(values.get('updates')).toBe('4 of 4');
    expect(values.get('mean training loss')).toBe(
      String(Number(output.trainingLoss.toPrecision(5))),
    );
    expect(logger.lines).toContain(`info: report: ${join(outputDir, 'report.html')}`);
  });

  test('begins the arguments with those that are not the defaults of this trainer', async () => {
    const { html, trainer } = await reportOf({
      learningRate: 2e-5,
      seed: 7,
      max_grad_norm: 0.123456789,
    } as object);
    const [first, others] = html.split('<h2>Arguments</h2>')[1]!.split('<details>');
    const changed = cells(first!);
    expect([...changed.keys()]).toEqual(
      expect.arrayContaining(['seed', 'maxSteps', 'maxGradNorm']),
    );
    expect(changed.get('maxGradNorm')).toBe('0.123456789'); // as it was given
    expect(changed.has('learningRate')).toBe(false); // SFTTrainer's default, written out
    expect(cells(others!).get('learningRate')).toBe('0.00002');
    expect(changed.size + cells(others!).size).toBe(
      Object.values(trainer.args).filter((value) => value !== undefined).length,
    );
  });

  test('asks for nothing else, runs nothing, fits a phone and follows light and dark', async () => {
    const { html, outputDir } = await reportOf();
    for (const page of [html, await readFile(join(outputDir, 'loss.svg'), 'utf8')]) {
      expect(page).not.toMatch(/<script|<link|@import|url\(|href=|src=/);
      expect(page.replaceAll('http://www.w3.org/2000/svg', '')).not.toContain('://');
      expect(page).toContain('prefers-color-scheme: dark');
    }
    expect(html).toContain('name="viewport"');
  });

  test('has at most five digits of what was measured', async () => {
    const { html } = await reportOf();
    const shown = html.replace(/<h2>Arguments[\s\S]*/, '').replace(/<[^>]*>/g, ' ');
    for (const number of shown.match(/\d+\.\d+/g)!)
      expect(number.replace('.', '').replace(/^0+/, '').length).toBeLessThanOrEqual(5);
  });

  test('of names with markup shows the names', async () => {
    const name = `</title><script>alert("x" & 'y')</script>\u0000`;
    const { html, outputDir } = await reportOf({ runName: name });
    const svg = await readFile(join(outputDir, 'loss.svg'), 'utf8');
    expect(html).toContain(
      '<title>&lt;/title&gt;&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;\ufffd</title>',
    );
    for (const page of [html, svg]) {
      expect(page).not.toContain('<script');
      expect(page).not.toContain('\u0000');
    }
    const metric = svgOf([{ step: 1, epoch: 0, loss: 1, '<b>&"': 2 }]);
    expect(metric).toContain('&lt;b&gt;&amp;&quot;');
    expect(metric).not.toContain('<b>');
  });

  test('of a run that logged nothing says so', async () => {
    const { html } = await reportOf({ loggingStrategy: 'no', evalStrategy: 'no' });
    expect(html).toContain('Nothing was logged');
  });

  test('of a loss that is no log-likelihood has no perplexity', async () => {
    const { html } = await reportOf({ lossType: 'dft' });
    expect(html).toContain('>loss (per token)<');
    expect(html).not.toContain('>perplexity<');
  });
});

describe('curves', () => {
  test('of one point are a mark that can be seen', () => {
    const svg = svgOf(losses([2.5]));
    expect(svg.match(/<circle[^>]* r="3"/g)).toHaveLength(1);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  test('of ten thousand points are small, with their peaks', () => {
    const values = Array.from({ length: 10_000 }, (_, i) => 3 - i / 5000 + 0.1 * Math.sin(i * i));
    values[4321] = 9;
    values[7777] = -4;
    const points: Point[] = values.map((y, x) => ({ x, y }));
    const kept = thin(points);
    expect(kept.length).toBeLessThanOrEqual(600);
    expect(kept).toEqual(
      expect.arrayContaining([points[0], points[4321], points[7777], points[9999]]),
    );
    expect(kept).toEqual([...kept].sort((a, b) => a.x - b.x));
    const long = losses(values).map((row) => ({
      ...row,
      ...{ gradNorm: row.loss!, learningRate: 1e-4, meanTokenAccuracy: 0.5, evalLoss: row.loss! },
    }));
    expect(svgOf(long).length).toBeLessThan(100_000);
    expect(thin(points.slice(0, 600))).toHaveLength(600);
  });

  test.each([
    ['not finite', [2, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1], 2],
    ['huge', [1e308, -1e308, 1e299, -1e299], 2],
    ['tiny', [5e-324, 0, 1e-320], 3],
    ['all but the same', [1, 1 + 2e-16, 1 - 1e-16], 3],
    ['all the same', [0, 0, 0], 3],
    ['negative', [-5, -4, -4.5], 3],
  ])('of values that are %s are finite', (_, values, count) => {
    const rows = losses(values).map((row) => ({
      ...row,
      meanTokenAccuracy: 0,
      gradNorm: row.loss!,
    }));
    const svg = svgOf(rows, values.length);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    expect(runCurves(rows, false)[0]!.series[0]!.points).toHaveLength(count);
    for (const [, y] of svg.matchAll(/ cy="([^"]*)"/g))
      expect(Math.abs(Number(y))).toBeLessThan(400);
  });

  test('without a finite value have no panel', () => {
    expect(titles(losses([Number.NaN, Number.NaN]))).toEqual([]);
    expect(lossPlot([], 1, 'empty')).toContain('<svg');
  });

  test('are those of each evaluation set and of each metric of the objective', () => {
    const panels = runCurves(
      [
        { step: 1, epoch: 0, loss: 1, margin: 2, 'rewards/accuracies': 0.5 },
        { step: 1, epoch: 0, evalMathLoss: 1, evalCodeLoss: 2, 'eval_math_rewards/accuracies': 1 },
      ],
      false,
    );
    expect(panels.map(({ title, series }) => [title, ...series.map(({ label }) => label)])).toEqual(
      [
        ['loss', 'train', 'eval math', 'eval code'],
        ['margin', 'train'],
        ['rewards/accuracies', 'train', 'eval math'],
      ],
    );
  });

  test('of a perplexity that falls far are on powers of ten', () => {
    const rows = [9, 2, 1].map((loss, i) => ({ step: i, epoch: 0, loss, meanTokenAccuracy: 0.1 }));
    const { svg } = linePlot(runCurves(rows, true)[1]!, 2);
    for (const tick of ['1', '10', '100', '1000', '10000'])
      expect(svg).toContain(`>${tick}</text>`);
  });
});

test('ticks are round and enclose the values', () => {
  expect(niceTicks(0.3, 2.9, 6)).toEqual([0, 0.5, 1, 1.5, 2, 2.5, 3]);
  expect(niceTicks(5, 5, 3)).toEqual([4, 6]);
});

test('numbers are short', () => {
  expect([0, 0.012345678, 5e-5, 123456789, -2.5e-10, 1234.5678].map(short)).toEqual([
    ...['0', '0.012346', '5e-5', '1.2346e8', '-2.5e-10', '1234.6'],
  ]);
  expect([0.0123456, 3.2, 75, 3723.4, Number.NaN].map(duration)).toEqual([
    ...['0.012346 s', '3.2 s', '1 min 15 s', '1 h 2 min 3 s', 'NaN s'],
  ]);
});

test('text for XML has no character that XML forbids', () => {
  expect(escapeXml('a\u0001\ud800<\n')).toBe('a\ufffd\ufffd&lt;\n');
});
