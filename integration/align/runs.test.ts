import { expect, test } from 'vitest';
import { firstRuns, followLora, loraRuns } from './loraRuns.js';

const runs = loraRuns.filter(({ name }) => firstRuns.includes(name));
test('they are there', () => expect(runs).toHaveLength(firstRuns.length));

test.each(runs.map((run) => [run.name, run] as const))('%s as TRL trains it', (_, run) =>
  followLora(run),
);
