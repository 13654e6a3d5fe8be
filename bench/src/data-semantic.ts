// Rows of the same meaning among vectors that are given, each run in a process of its own: `dedupe`
// exactly, on the device, and by its index, on the processor. With --torch PYTHON the same as
// blocked products of PyTorch, which says what is right: `recall` and `precision` are of the rows
// that go there. `cpuMs` is the CPU time of all threads; `anonymousMegabytes` the peak, vectors
// included.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { benchOptions, Refusal } from './harness/options.js';
import { type ProcessRun, runProcess } from './harness/process.js';
import { type Cloud, unitVectors, type VectorsFile, vectorsFile } from './models/unitVectors.js';

const THRESHOLD = 0.95;
const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

interface Outcome {
  readonly run: ProcessRun;
  readonly dropped: readonly number[];
}

type Contender = (file: VectorsFile, dimension: number) => Promise<Outcome>;

async function outcome(
  command: string,
  args: (out: string) => readonly string[],
  { folder }: VectorsFile,
): Promise<Outcome> {
  const out = join(folder, 'dropped.json');
  const run = await runProcess(command, args(out));
  return { run, dropped: JSON.parse(await readFile(out, 'utf8')) as number[] };
}

const ours =
  (exactRows: number, backend: 'dawn' | 'none'): Contender =>
  (file, dimension) =>
    outcome(
      process.execPath,
      (out) => [
        script('models/semanticOnce.mjs'),
        file.path,
        ...[dimension, THRESHOLD, exactRows].map(String),
        backend,
        out,
      ],
      file,
    );

const blocked =
  (python: string): Contender =>
  (file, dimension) =>
    outcome(
      python,
      (out) => [script('peers/blockedProduct.py'), file.path, `${dimension}`, `${THRESHOLD}`, out],
      file,
    );

let options: ReturnType<typeof benchOptions>;
try {
  options = benchOptions();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error(error.message);
  process.exit(1);
}
const { reps, only, torch } = options;

const scattered = { clusters: 0, within: 0, copiesFrom: 0.92 };
const many = { count: 200_000, dimension: 64, copiesFrom: 0.92 };
const cases: readonly (readonly [string, Cloud, Contender])[] = [
  ['exact 100,000 x 64', { count: 100_000, dimension: 64, ...scattered }, ours(100_000, 'dawn')],
  ['exact 100,000 x 384', { count: 100_000, dimension: 384, ...scattered }, ours(100_000, 'dawn')],
  ['index 200,000 x 64', { ...many, ...scattered }, ours(0, 'none')],
  [
    'index 200,000 x 64 in 1000 clusters of cosine 0.8',
    { ...many, clusters: 1000, within: 0.8 },
    ours(0, 'none'),
  ],
  [
    'index 200,000 x 64 in one cluster of cosine 0.8',
    { ...many, clusters: 1, within: 0.8 },
    ours(0, 'none'),
  ],
];

/** Times of several runs of one contender; what it finds is the same each time. */
const times = (runs: readonly ProcessRun[]) => ({
  ms: Math.round(median(runs.map(({ answer }) => answer.ms!))),
  cpuMs: Math.round(median(runs.map(({ answer }) => answer.cpuMs!))),
  anonymousMegabytes: Math.round(
    median(runs.map(({ anonymousBytes }) => anonymousBytes ?? 0)) / 1e6,
  ),
});

for (const [name, cloud, own] of cases) {
  if (!name.includes(only)) continue;
  await using file = await vectorsFile(unitVectors(cloud));
  const peer = torch && !options.alone ? blocked(torch) : null;
  const runs: Outcome[] = [];
  const peerRuns: Outcome[] = [];
  for (let rep = 0; rep < reps; rep++) {
    runs.push(await own(file, cloud.dimension));
    if (peer) peerRuns.push(await peer(file, cloud.dimension));
  }
  const found = runs[0]!.dropped;
  const right = new Set(peerRuns[0]?.dropped ?? []);
  const both = found.filter((row) => right.has(row)).length;
  const mine = times(runs.map(({ run }) => run));
  const theirs = times(peerRuns.map(({ run }) => run));
  printLine({
    bench: 'data-semantic',
    case: name,
    ours: {
      ...mine,
      dropped: found.length,
      ...(peer && { recall: both / right.size, precision: both / found.length }),
    },
    ...(peer && {
      peers: { torch: { ...theirs, dropped: right.size } },
      ratio: theirs.ms / mine.ms,
      cpuRatio: theirs.cpuMs / mine.cpuMs,
    }),
  });
}
