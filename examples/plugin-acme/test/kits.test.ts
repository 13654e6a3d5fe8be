import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { silentLogger } from '@attune/core';
import {
  callbackKit,
  datasetReaderKit,
  objectiveKit,
  scheduleKit,
  trackerKit,
} from '@attune/core/testing';
import { peftMethodKit } from '@attune/peft/testing';
import { test } from 'vitest';
import { CsvTracker, channelScale, restarts, StopBelow, tsvReader, zLoss } from '../src/index.js';

const lossesOf = async (folder: string) =>
  (await readFile(join(folder, 'losses.csv'), 'utf8'))
    .trimEnd()
    .split('\n')
    .slice(1)
    .map((line) => line.split(',').map(Number) as [number, number]);

// What every extension of its kind must do. What is acme's own is in acme.test.ts.
const checks = [
  ...peftMethodKit(channelScale, { config: { targetModules: ['q_proj', 'down_proj'] } }),
  ...callbackKit(() => new StopBelow(silentLogger)),
  ...scheduleKit(restarts),
  ...scheduleKit(restarts, { options: { cycles: 5 } }),
  ...datasetReaderKit(tsvReader, {
    content: 'text\tsource\na\tbook\nb\tweb\nc d\tbook\n',
    rows: [
      { text: 'a', source: 'book' },
      { text: 'b', source: 'web' },
      { text: 'c d', source: 'book' },
    ],
  }),
  ...objectiveKit(zLoss, {
    options: { weight: 0.1 },
    otherOptions: [{ weight: 0.2 }],
    rows: [
      [3, 1, 4, 1, 5],
      [9, 2, 6],
      [5, 3, 5, 8],
      [9, 7],
    ].map((input_ids) => ({ input_ids })),
  }),
  ...trackerKit(() => new CsvTracker(), { writesFiles: true, readLosses: lossesOf }),
];
for (const [i, { name, run }] of checks.entries()) test(`${i} ${name}`, run);
