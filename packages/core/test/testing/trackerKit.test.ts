import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { CallbackContext, Tracker } from '@attune/core';
import { trackerKit } from '@attune/core/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  HtmlReportCallback,
  JsonlCallback,
  MlflowCallback,
  TensorBoardCallback,
  WandbCallback,
} from '../../src/trackers/index.js';

/** Answers as an MLflow server does whose experiment exists. */
const http = createServer((request, response) => {
  request.resume().on('end', () => {
    const made = { experiment: { experiment_id: '7' }, run: { info: { run_id: 'r1' } } };
    response.writeHead(200).end(JSON.stringify(made));
  });
});
beforeAll(() => new Promise<void>((resolve) => void http.listen(0, '127.0.0.1', resolve)));
afterAll(() => void http.close().closeAllConnections());
const trackingUri = () => `http://127.0.0.1:${(http.address() as AddressInfo).port}`;

const readLosses = async (folder: string) =>
  (await readFile(join(folder, 'log.jsonl'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>)
    .filter((row) => 'loss' in row)
    .map(({ step, loss }) => [step!, loss!] as const);

const files = { writesFiles: true };
const checks = [
  ...trackerKit(() => new JsonlCallback(), { ...files, readLosses }),
  ...trackerKit(() => new HtmlReportCallback(), files),
  ...trackerKit(() => new TensorBoardCallback(), files),
  ...trackerKit(() => new WandbCallback(), files),
];
for (const { name, run } of checks) test(name, run);
describe('with a server', () => {
  const make = () => new MlflowCallback({ trackingUri: trackingUri() });
  const names = trackerKit(() => new MlflowCallback(), { writesFiles: false });
  names.forEach(({ name }, i) => {
    test(name, () => trackerKit(make, { writesFiles: false })[i]!.run());
  });
});

describe('the kit', () => {
  /** What the first check that fails says. */
  const failure = async (tracker: Partial<Tracker>) => {
    const make = () => ({ name: 'own', firstRankOnly: true, ...tracker }) as const;
    for (const { run } of trackerKit(make, { writesFiles: false }))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };

  test('passes one that writes nothing, as it says', async () => {
    expect(await failure({})).toBe('');
  });

  test.each<[string, Partial<Tracker>, RegExp]>([
    [
      'files of one that says it writes none',
      {
        onTrainEnd: async ({ args }: CallbackContext) => {
          const folder = args.loggingDir!;
          await mkdir(folder, { recursive: true });
          await writeFile(join(folder, 'note.txt'), 'x');
        },
      },
      /writesFiles is false, and after a run 1 files are in loggingDir/,
    ],
    [
      'one that changes the model',
      {
        onStepEnd: ({ model }: CallbackContext) => {
          const [, parameter] = [...model.root.namedParameters()][0]!;
          parameter.write(new Float32Array(parameter.size));
        },
      },
      /the losses of a run differ with it/,
    ],
  ])('finds %s', async (_, tracker, message) => {
    expect(await failure(tracker)).toMatch(message);
  });
});
