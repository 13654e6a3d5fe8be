// Reads the rows of a file in a process of its own: `node dataRead.mjs FILE`. Prints how many there
// are, how long it took without the start of the process, and the CPU time, in milliseconds.
import { readRows } from '@attune/data';

const began = performance.now();
const before = process.cpuUsage();
let rows = 0;
for await (const read of readRows(process.argv[2])) if ('row' in read) rows++;
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ rows, ms, cpuMs: (user + system) / 1000 }));
