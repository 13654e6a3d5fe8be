// Rows of a JSONL file of a million short rows, each time in a process of its own: ours, read alone
// and led through a chain (validate, exact duplicates, split, written), beside Hugging Face
// datasets, streamed and mapped, in turn. `ms` is the work alone, `cpuMs` its CPU time: on a
// machine that others use as well it says more. `anonymousMegabytes` is the peak of the process.
// Needs --torch PYTHON with datasets for the peers. No device takes part.
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { optionsOrExit } from './harness/options.js';
import { type ProcessRun, runProcess } from './harness/process.js';

const ROWS = 1_000_000;
const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** A file of short rows. */
async function writeRows(path: string): Promise<void> {
  const file = await open(path, 'w');
  for (let begin = 0; begin < ROWS; begin += 10_000) {
    const lines = Array.from({ length: 10_000 }, (_, i) => {
      const id = begin + i;
      const row = { id, instruction: `Explain item ${id}.`, output: 'word '.repeat(3 + (id % 10)) };
      return JSON.stringify(row);
    });
    await file.write(`${lines.join('\n')}\n`);
  }
  await file.close();
}

const options = optionsOrExit();
const { reps, torch, alone } = options;
const path = join(tmpdir(), `attune-data-read-${process.pid}.jsonl`);
const peer = (kind: string) => () =>
  runProcess(torch!, [script('peers/datasetsRead.py'), path, kind], { OMP_NUM_THREADS: '1' });
const out = `${path}-out`;
const contenders: Readonly<Record<string, () => Promise<ProcessRun>>> = {
  ours: () => runProcess(process.execPath, [script('models/dataRead.mjs'), path]),
  chain: async () => {
    await rm(out, { recursive: true, force: true });
    return runProcess(process.execPath, [script('models/dataChain.mjs'), path, out]);
  },
  ...(torch !== null && !alone && { stream: peer('stream'), map: peer('map') }),
};
try {
  await writeRows(path);
  const runs: Record<string, ProcessRun[]> = {};
  for (let rep = 0; rep < reps; rep++)
    for (const [name, contender] of Object.entries(contenders))
      runs[name] = [...(runs[name] ?? []), await contender()];
  const figures = Object.fromEntries(
    Object.entries(runs).map(([name, of]) => [
      name,
      {
        rows: of[0]!.answer.rows!,
        ms: Math.round(median(of.map(({ answer }) => answer.ms!))),
        cpuMs: Math.round(median(of.map(({ answer }) => answer.cpuMs!))),
        anonymousMegabytes: Math.round(
          median(of.map(({ anonymousBytes }) => anonymousBytes ?? 0)) / 1e6,
        ),
      },
    ]),
  );
  const { ours, chain, ...peers } = figures;
  printLine({ bench: 'data-read', case: `${ROWS} rows of JSONL`, ours, chain, peers });
} finally {
  await rm(path, { force: true });
  await rm(out, { recursive: true, force: true });
}
