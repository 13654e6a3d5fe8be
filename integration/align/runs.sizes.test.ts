import { expect, test } from 'vitest';
import { firstRuns, followLora, loraRuns } from './loraRuns.js';

const runs = loraRuns.filter(({ name }) => !firstRuns.includes(name));
test('there are many', () => expect(runs.length).toBeGreaterThan(40));

test.each(runs.map((run) => [run.name, run] as const))('%s as TRL trains it', (_, run) =>
  followLora(run),
);
