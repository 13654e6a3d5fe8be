import { defineSchedule } from '@attune/core';
import { z } from 'zod';

/**
 * After warmup the rate falls from its top to 0 in a line, `cycles` times:
 * 1 - frac(cycles (step - warmup) / (total - warmup)).
 */
export const restarts = defineSchedule({
  name: 'acme_restarts',
  follows: 'updates',
  options: z.strictObject({ cycles: z.int().positive().default(2) }),
  create:
    ({ warmupSteps, totalSteps }, { cycles }) =>
    (step) => {
      if (step < warmupSteps) return step / warmupSteps;
      if (step >= totalSteps) return 0;
      const done = (cycles * (step - warmupSteps)) / (totalSteps - warmupSteps);
      return 1 - (done % 1);
    },
});
