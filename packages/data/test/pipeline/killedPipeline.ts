import { appendFileSync } from 'node:fs';
import { defineDataStage, pipeline } from '@attune/data';
import { z } from 'zod';

// node killedPipeline.ts FOLDER CALLS KILL_AT: scores 60 rows at a cost, and dies at call KILL_AT.
const [folder = '', calls = '', killAt = '0'] = process.argv.slice(2);
let count = 0;

const score = defineDataStage({
  name: 'score',
  options: z.strictObject({ factor: z.number() }),
  isCostly: true,
  async *run(rows, { factor }, { cache, drop }) {
    for await (const item of rows) {
      const key = `${factor}:${item.row.n}`;
      let value = await cache.get(key);
      if (value === undefined) {
        if (++count === Number(killAt)) process.kill(process.pid, 'SIGKILL');
        appendFileSync(calls, `${key}\n`);
        value = factor * Number(item.row.n);
        await cache.set(key, value);
      }
      if (Number(value) % 7 === 0) drop(item, 'sevenfold', String(value));
      else yield { ...item, row: { ...item.row, score: value } };
    }
  },
});

await pipeline(Array.from({ length: 60 }, (_, n) => ({ n, text: `row ${n}` })))
  .filter({ keep: ({ n }) => Number(n) % 3 !== 0, reason: 'threefold' })
  .stage(score, { factor: 2 })
  .stage(score, { factor: 3 })
  .writeTo(folder, { progress: false, overwrite: true });
