// A merge as users run it, in a process of its own: `node mergeOnce.mjs CONFIG OUT OPTIONS`. Prints
// how long it took without the start of the process, and the CPU time of all threads, in
// milliseconds.
import { mergeFromYaml } from '@attune/merge';

const [config, outputDir, options] = process.argv.slice(2);
const began = performance.now();
const before = process.cpuUsage();
const { workers } = await mergeFromYaml(config, { outputDir, ...JSON.parse(options) });
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000, workers }));
