import {
  Callbacks,
  DatasetReaders,
  definePlugin,
  LearningRateSchedules,
  Objectives,
  Trackers,
} from '@attune/core';
import { PeftMethods } from '@attune/peft';
import { channelScale } from './channelScale.js';
import { CsvTracker } from './csvTracker.js';
import { restarts } from './restarts.js';
import { StopBelow } from './stopBelow.js';
import { tsvReader } from './tsvReader.js';
import { zLoss } from './zLoss.js';

export { type ChannelScaleConfig, channelScale } from './channelScale.js';
export { CsvTracker, restarts, StopBelow, tsvReader, zLoss };

export const acme = () =>
  definePlugin({
    name: 'acme',
    version: '1.0.0',
    apiVersion: 1,
    register: (ctx) => {
      ctx.add(PeftMethods, channelScale);
      ctx.add(Callbacks, { name: 'stop-below', useClass: StopBelow });
      ctx.add(LearningRateSchedules, restarts);
      ctx.add(DatasetReaders, tsvReader);
      ctx.add(Objectives, zLoss);
      ctx.add(Trackers, { name: 'acme-csv', writesFiles: true, useClass: CsvTracker });
    },
  });
