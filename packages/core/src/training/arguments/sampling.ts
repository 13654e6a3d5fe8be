import { AttuneError } from '../../util/errors.js';
import { snakeToCamel } from '../../util/json.js';

export const SAMPLING_STRATEGIES = ['random', 'sequential', 'group_by_length'] as const;
export type SamplingStrategy = (typeof SAMPLING_STRATEGIES)[number];

interface Spellings {
  readonly shuffle: boolean;
  readonly groupByLength: boolean;
  readonly trainSamplingStrategy?: SamplingStrategy | undefined;
}

/**
 * One order of rows from its three spellings: `trainSamplingStrategy`, transformers' older
 * `groupByLength`, and `shuffle`.
 *
 * @throws ARGUMENTS_INVALID when they contradict one another
 */
export function resolveSampling(args: Spellings): SamplingStrategy {
  const { shuffle, groupByLength, trainSamplingStrategy: written } = args;
  const strategy =
    written ?? (groupByLength ? 'group_by_length' : shuffle ? 'random' : 'sequential');
  const contradiction =
    groupByLength && strategy !== 'group_by_length'
      ? 'groupByLength is true'
      : !shuffle && strategy !== 'sequential'
        ? 'shuffle is false'
        : null;
  if (contradiction === null) return strategy;
  throw new AttuneError(
    'ARGUMENTS_INVALID',
    `${contradiction}, but ${written ? `trainSamplingStrategy is "${written}"` : 'groupByLength is true'}.`,
    { remedy: 'Keep one of them.' },
  );
}

const SPELLINGS = ['trainSamplingStrategy', 'groupByLength', 'shuffle'];

/** What a trainer has for defaults, without its order of rows where the user wrote one. */
export function withoutOrder(
  defaults: Readonly<Record<string, unknown>>,
  written: object,
): Readonly<Record<string, unknown>> {
  const isWritten = Object.entries(written).some(
    ([name, value]) => value !== undefined && SPELLINGS.includes(snakeToCamel(name)),
  );
  if (!isWritten) return defaults;
  return Object.fromEntries(Object.entries(defaults).filter(([name]) => !SPELLINGS.includes(name)));
}
