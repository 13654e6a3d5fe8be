// Duplicates of files of rows, each run in a process of its own: ours beside datasketch with its
// own banding and with ours, in turn, from the file on. `recall`: share of the planted pairs at the
// threshold of which one row went; `precision`: share of the rows that went which are as similar to
// one that is named. `anonymousMegabytes` is the peak. `cpuMs` is the CPU time of all threads: on a
// machine that others use as well it says more. Needs --torch PYTHON with datasketch for the peers.
// No device takes part.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { optionsOrExit } from './harness/options.js';
import { type ProcessRun, runProcess } from './harness/process.js';
import {
  type PlantedRows,
  plantedRows,
  type RowsFile,
  rowsFile,
  shortRows,
  similarity,
} from './models/duplicateRows.js';

const THRESHOLD = 0.8;
/** What `dedupe` takes at this threshold. */
const BANDING = { bands: 21, rows: 6 };

const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** @param out where it writes what goes, if it does */
type Contender = (file: string, out: readonly string[]) => Promise<ProcessRun>;

const ours: Contender = (file, out) =>
  runProcess(process.execPath, [
    script('models/dedupeOnce.mjs'),
    file,
    JSON.stringify({ exact: true, near: { threshold: THRESHOLD } }),
    ...out,
  ]);

const datasketch =
  (python: string, bands: number, rows: number): Contender =>
  (file, out) =>
    runProcess(
      python,
      [script('peers/datasketchOnce.py'), file, `${THRESHOLD}`, `${bands}`, `${rows}`, ...out],
      { OMP_NUM_THREADS: '1' },
    );

type Dropped = readonly (readonly [row: number, candidates: readonly number[]])[];

/** How much of what is planted was found, and how much of what was found is right. */
function quality(dropped: Dropped, { texts, pairs }: PlantedRows) {
  const gone = new Set(dropped.map(([row]) => row));
  const right = pairs.filter(([a, b]) => similarity(texts[a]!, texts[b]!) >= THRESHOLD);
  const found = right.filter(([a, b]) => gone.has(a) || gone.has(b));
  const good = dropped.filter(([row, candidates]) =>
    candidates.some((other) => similarity(texts[row]!, texts[other]!) >= THRESHOLD),
  );
  return {
    recall: found.length / right.length,
    precision: good.length / dropped.length,
    pairs: right.length,
  };
}

async function measured(
  contenders: Readonly<Record<string, Contender>>,
  { path, folder }: RowsFile,
  planted: PlantedRows | null,
  reps: number,
) {
  const runs: Record<string, ProcessRun[]> = {};
  const found: Record<string, Dropped> = {};
  for (let rep = 0; rep < reps; rep++)
    for (const [name, contender] of Object.entries(contenders)) {
      const out = join(folder, 'dropped.json');
      runs[name] = [...(runs[name] ?? []), await contender(path, planted ? [out] : [])];
      if (planted) found[name] = JSON.parse(await readFile(out, 'utf8')) as Dropped;
    }
  return Object.fromEntries(
    Object.entries(runs).map(([name, of]) => [
      name,
      {
        ms: Math.round(median(of.map(({ answer }) => answer.ms!))),
        cpuMs: Math.round(median(of.map(({ answer }) => answer.cpuMs!))),
        anonymousMegabytes: Math.round(
          median(of.map(({ anonymousBytes }) => anonymousBytes ?? 0)) / 1e6,
        ),
        kept: of[0]!.answer.kept!,
        ...(planted && quality(found[name]!, planted)),
      },
    ]),
  );
}

const options = optionsOrExit();
const { reps, only, torch } = options;
const peers: Record<string, Contender> =
  torch && !options.alone
    ? {
        datasketch: datasketch(torch, 0, 0),
        datasketchOurBands: datasketch(torch, BANDING.bands, BANDING.rows),
      }
    : {};

const cases = [
  { name: 'planted 20,000 rows', count: 20_000, isPlanted: true, contenders: { ours, ...peers } },
  { name: 'short 100,000 rows', count: 100_000, isPlanted: false, contenders: { ours, ...peers } },
  { name: 'short 1,000,000 rows', count: 1_000_000, isPlanted: false, contenders: { ours } },
];
for (const { name, count, isPlanted, contenders } of cases) {
  if (!name.includes(only)) continue;
  const planted = isPlanted ? plantedRows(count) : null;
  await using file = await rowsFile(planted?.texts ?? shortRows(count));
  const { ours: own, ...others } = await measured(contenders, file, planted, reps);
  const best = (key: 'ms' | 'cpuMs') => Math.min(...Object.values(others).map((peer) => peer[key]));
  printLine({
    bench: 'data-dedup',
    case: name,
    ours: own,
    peers: others,
    ...(Object.keys(others).length > 0 && {
      ratio: best('ms') / own!.ms,
      cpuRatio: best('cpuMs') / own!.cpuMs,
    }),
  });
}
