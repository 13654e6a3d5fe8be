import type { Attune, Logger } from '@attune/core';
import { parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { StageCache } from '../contract/dataStage.js';
import type { StageProgress } from './runStages.js';

const functionOf = <F>() =>
  z.custom<F>((value) => typeof value === 'function', 'expected a function');
const thingWith = <T>(method: string, expected: string) =>
  z.custom<T>(
    (value) => typeof (value as Record<string, unknown> | null)?.[method] === 'function',
    `expected ${expected}`,
  );

/** What every run may be given beside the options of its stages. */
export const runShape = {
  attune: thingWith<Attune>('registry', 'an Attune of createAttune(...)').nullish(),
  onProgress: functionOf<(progress: StageProgress) => void>().optional(),
  signal: z
    .custom<AbortSignal>((value) => value instanceof AbortSignal, 'expected an AbortSignal')
    .nullish(),
  logger: thingWith<Logger>('warn', 'a logger with debug, info, warn and error').optional(),
};

const seed = z.int().min(0).optional();
const pipelineOptions = z.strictObject({ ...runShape, seed });
const stageServices = z.strictObject({
  ...{ ...runShape, seed },
  cache: thingWith<StageCache>('get', 'a cache with get and set').optional(),
});

/** @throws UNKNOWN_OPTION, INVALID_OPTION */
export const checkPipelineOptions = (options: object, where: string): void =>
  void parseOptions(pipelineOptions, options, { where });

/** @throws UNKNOWN_OPTION, INVALID_OPTION */
export const checkServices = (services: object, where: string): void =>
  void parseOptions(stageServices, services, { where });
