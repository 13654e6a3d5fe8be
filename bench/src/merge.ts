// Merges of whole folders, each in a process of its own: ours beside mergekit with one thread and
// with as many as it takes, in turn. `ms` is the merge alone, `wholeMs` the process from its start;
// `anonymousMegabytes` the peak, of ours without what a bare Node takes. Needs --torch PYTHON with
// mergekit for the peers. `cpuMs` is the CPU time of all threads: on a machine that others use as
// well it says more. No device takes part.
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { printLine } from './harness/lines.js';
import { median } from './harness/measure.js';
import { optionsOrExit } from './harness/options.js';
import { type ProcessRun, runProcess } from './harness/process.js';
import { type MergeFolders, randomModels, sparseModels } from './models/mergeFolders.js';

const script = (name: string) => fileURLToPath(new URL(name, import.meta.url));

type Contender = (config: string, out: string) => Promise<ProcessRun>;

/** The YAML of a merge of the first so many models. */
function yamlOf(method: string, models: readonly string[], dtype: string): string {
  const lines = [`merge_method: ${method}`, `dtype: ${dtype}`];
  const listed = (names: readonly string[], parameters: string) =>
    names.flatMap((model) => [
      `  - model: ${model}`,
      ...(parameters ? [`    parameters: ${parameters}`] : []),
    ]);
  if (method === 'linear')
    return [...lines, 'models:', ...listed(models, '{ weight: 1 }')].join('\n');
  lines.push(`base_model: ${models[0]}`);
  if (method === 'slerp')
    return [...lines, 'parameters: { t: 0.3 }', 'models:', ...listed(models.slice(0, 2), '')].join(
      '\n',
    );
  return [...lines, 'models:', ...listed(models.slice(1), '{ weight: 0.5, density: 0.5 }')].join(
    '\n',
  );
}

const megabytes = (bytes: number): number => Math.round(bytes / 1e5) / 10;

/** Runs the contenders in turn. */
async function measured(
  contenders: Readonly<Record<string, Contender>>,
  folders: MergeFolders,
  yaml: string,
  reps: number,
): Promise<Record<string, Record<string, number>>> {
  const config = join(folders.path, 'config.yaml');
  await writeFile(config, `${yaml}\n`);
  const runs: Record<string, ProcessRun[]> = {};
  for (let rep = 0; rep < reps; rep++)
    for (const [name, contender] of Object.entries(contenders)) {
      const out = join(folders.path, `out-${name}`);
      await rm(out, { recursive: true, force: true });
      const run = await contender(config, out);
      runs[name] = [...(runs[name] ?? []), run];
      await rm(out, { recursive: true, force: true });
    }
  const figures: Record<string, Record<string, number>> = {};
  for (const [name, of] of Object.entries(runs)) {
    const peak = of.map(({ anonymousBytes }) => anonymousBytes ?? 0);
    figures[name] = {
      ms: Math.round(median(of.map(({ answer }) => answer.ms!))),
      cpuMs: Math.round(median(of.map(({ answer }) => answer.cpuMs!))),
      wholeMs: Math.round(median(of.map(({ wholeMs }) => wholeMs))),
      anonymousMegabytes: megabytes(median(peak) - (name === 'ours' ? bareNode : 0)),
      ...(of[0]!.answer.workers !== undefined && { workers: of[0]!.answer.workers }),
    };
  }
  return figures;
}

const ours =
  (options: object): Contender =>
  (config, out) =>
    runProcess(process.execPath, [
      script('models/mergeOnce.mjs'),
      config,
      out,
      JSON.stringify(options),
    ]);

const mergekit =
  (python: string, threads: number): Contender =>
  (config, out) =>
    runProcess(
      python,
      [script('peers/mergekitOnce.py'), config, out, String(threads)],
      threads === 0 ? {} : { OMP_NUM_THREADS: String(threads) },
    );

const options = optionsOrExit();
const { reps, only, torch } = options;
const bare = await runProcess(process.execPath, ['-e', 'setTimeout(() => console.log("{}"), 300)']);
const bareNode = bare.anonymousBytes ?? 0;
const contenders: Record<string, Contender> = {
  ours: ours({}),
  ...(torch &&
    !options.alone && { mergekitOneThread: mergekit(torch, 1), mergekit: mergekit(torch, 0) }),
};
const best = (peers: readonly Record<string, number>[], key: string) =>
  Math.min(...peers.map((peer) => peer[key]!));

for (const size of [120, 500])
  for (const dtype of ['float32', 'bfloat16'] as const) {
    const names = ['linear', 'slerp', 'ties', 'dare_ties'].map(
      (method) => [method, `${method} ${method === 'slerp' ? 2 : 3}x${size} MB ${dtype}`] as const,
    );
    const wanted = names.filter(([, name]) => name.includes(only));
    if (wanted.length === 0) continue;
    await using folders = await randomModels(3, size, dtype);
    for (const [method, name] of wanted) {
      const yaml = yamlOf(method, folders.models, dtype);
      const { ours: own, ...peers } = await measured(contenders, folders, yaml, reps);
      const others = Object.values(peers);
      printLine({
        bench: 'merge',
        case: name,
        ours: own,
        peers,
        ...(others.length > 0 && {
          ratio: best(others, 'ms') / own!.ms!,
          cpuRatio: best(others, 'cpuMs') / own!.cpuMs!,
          wholeRatio: best(others, 'wholeMs') / own!.wholeMs!,
          memoryShare: own!.anonymousMegabytes! / best(others, 'anonymousMegabytes'),
        }),
      });
    }
  }

const large = 'linear 2x8 GB bfloat16, maxMemory 512MB';
if (only !== '' && large.includes(only)) {
  await using folders = await sparseModels(2, 8000);
  const contender = { ours: ours({ maxMemory: '512MB' }) };
  const yaml = yamlOf('linear', folders.models, 'bfloat16');
  const { ours: own } = await measured(contender, folders, yaml, 1);
  printLine({
    bench: 'merge',
    case: large,
    megabytes: Math.round(folders.megabytes),
    ours: own,
    peers: {},
  });
}
