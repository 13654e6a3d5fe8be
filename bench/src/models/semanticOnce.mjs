// Rows of the same meaning by vectors of a file, in a process of its own:
// `node semanticOnce.mjs FILE DIMENSION THRESHOLD EXACT_ROWS BACKEND OUT`. BACKEND: dawn, or none
// for the processor alone. Writes the rows that go to OUT. Prints how long it took, and the CPU time
// of all threads, in milliseconds; what opening the device and reading the file takes is not in it.
import { readFileSync, writeFileSync } from 'node:fs';
import { dawn } from '@attune/backend-dawn';
import { createAttune } from '@attune/core';
import { pipeline } from '@attune/data';

const [file, dimensionText, threshold, exactRows, backend, out] = process.argv.slice(2);
const dimension = Number(dimensionText);
const bytes = readFileSync(file);
const data = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
const embedder = {
  name: 'file',
  fingerprint: () => file,
  embed: async (texts) =>
    texts.map((text) => data.slice(Number(text) * dimension, (Number(text) + 1) * dimension)),
};

function* rows() {
  for (let row = 0; row < data.length / dimension; row++) yield { text: `${row}` };
}

const attune = backend === 'none' ? null : await createAttune({ plugins: [dawn()], backend });
const semantic = { embedder, threshold: Number(threshold), exactRows: Number(exactRows) };
const began = performance.now();
const before = process.cpuUsage();
const stay = new Uint8Array(data.length / dimension);
const run = pipeline(rows(), { attune }).dedupe({ exact: false, semantic });
for await (const { row } of run.rows()) stay[Number(row.text)] = 1;
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(before);
const dropped = [...stay.keys()].filter((row) => stay[row] === 0);
writeFileSync(out, JSON.stringify(dropped));
console.log(JSON.stringify({ ms, cpuMs: (user + system) / 1000 }));
await attune?.dispose();
