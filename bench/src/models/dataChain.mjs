// Checks, compares, splits and writes the rows of a file in a process of its own: `node
// dataChain.mjs FILE OUT`. Prints how many came out, how long it took without the start of the
// process, and the CPU time, in milliseconds.
import { fromJsonl, pipeline } from '@attune/data';

const [file, out] = process.argv.slice(2);
const began = performance.now();
const before = process.cpuUsage();
const { rowsOut: rows } = await pipeline(fromJsonl(file))
  .validate({ schema: 'auto' })
  .dedupe({ exact: true })
  .split({ testSize: 0.01, seed: 1 })
  .writeTo(out);
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ rows, ms, cpuMs: (user + system) / 1000 }));
