// Duplicates of a file of rows, in a process of its own: `node dedupeOnce.mjs FILE OPTIONS [OUT]`.
// Writes [row, rows that stay] of each row that goes to OUT; without it rows only pass. Prints how
// long it took from the file on, and the CPU time of all threads, in milliseconds.
import { createReadStream, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { dedupe, pipeline } from '@attune/data';

const [file, json, out] = process.argv.slice(2);
const options = JSON.parse(json);

async function* rows() {
  for await (const line of createInterface({ input: createReadStream(file) }))
    yield JSON.parse(line);
}

async function passed() {
  let count = 0;
  for await (const _ of pipeline(rows()).dedupe(options).rows()) count++;
  return count;
}

async function written() {
  const { rows: kept, dropped } = await dedupe(rows(), options);
  const pairs = dropped.map(({ row, detail }) => [
    row.origin.row,
    [Number(/^of rows\[(\d+)\]/.exec(detail)[1])],
  ]);
  writeFileSync(out, JSON.stringify(pairs));
  return kept.length;
}

const began = performance.now();
const before = process.cpuUsage();
const kept = out ? await written() : await passed();
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(before);
console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000, kept }));
