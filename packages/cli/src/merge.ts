import { parseArgs } from 'node:util';
import { type AttuneError, createAttune, type Plugin } from '@attune/core';
import { formatBytes } from '@attune/core/util';
import { describePlan, explainTensor, merge, mergeFromYaml, planMerge } from '@attune/merge';
import { peft } from '@attune/peft';
import { defined, parsing, wrongArguments } from './arguments.js';
import type { CliOutput } from './index.js';
import { MergeBar } from './mergeBar.js';

export const mergeHelp = `Usage: attune merge CONFIG OUT [options]

Merges models as a mergekit YAML says. All of it is checked before a weight is
read; OUT appears when it is whole. A merge that was stopped goes on where it
was when the same command is given again.

  --seed N           of methods that draw, such as DARE. Default 0
  --parity mergekit  rounds after each operation in the dtype of the inputs, as
                     mergekit does without dtype. Default: float32, rounded once
  --dry-run          shows the plan, and writes nothing; OUT may be left out
  --explain TENSOR   shows what a tensor is made of, and writes nothing
  --verify           reads what was written, and compares it
  --report           shows what the merge did, and adds merge-report.json and
                     merge-report.html to OUT
  --shard-size SIZE  largest file of weights, such as 2GB. Default 5GB
  --max-memory SIZE  memory that the merge may take, such as 512MB
  --workers N        worker threads. Default: by the size of the models
  --overwrite        replaces OUT if it is there
  --no-model-card    leaves out README.md and mergekit_config.yml
  --unsafe-truncate-embeddings
                     cuts vocabularies to the shortest; ids must mean the same
  --quiet            no progress bar

Flags of mergekit-yaml are read too.
`;

const options = {
  seed: { type: 'string' },
  parity: { type: 'string' },
  'dry-run': { type: 'boolean' },
  explain: { type: 'string' },
  verify: { type: 'boolean' },
  report: { type: 'boolean' },
  'shard-size': { type: 'string' },
  'max-memory': { type: 'string' },
  workers: { type: 'string' },
  overwrite: { type: 'boolean' },
  'model-card': { type: 'boolean' },
  'unsafe-truncate-embeddings': { type: 'boolean' },
  quiet: { type: 'boolean' },
} as const;

/** Flags of mergekit-yaml that have another name here. */
const renamed = {
  'random-seed': { type: 'string' },
  'out-shard-size': { type: 'string' },
  'num-threads': { type: 'string', short: 'j' },
  'write-model-card': { type: 'boolean' },
} as const;

/** Flags of mergekit-yaml that change nothing here, and why. */
const withoutEffect: Readonly<Record<string, string>> = {
  'lazy-unpickle': 'safetensors are read piece by piece always',
  'low-cpu-memory': 'memory holds pieces of tensors, see --max-memory',
  'copy-tokenizer': 'the tokenizer is copied always',
  'clone-tensors': 'tensors share no memory',
  'safe-serialization': 'safetensors are written always',
  'async-write': 'reading, arithmetic and writing overlap always',
  'write-threads': 'see --workers',
  cuda: 'merging is bound by memory: it runs on the processor',
  device: 'merging is bound by memory: it runs on the processor',
  'read-to-gpu': 'merging is bound by memory: it runs on the processor',
  'multi-gpu': 'merging is bound by memory: it runs on the processor',
  'gpu-rich': 'merging is bound by memory: it runs on the processor',
  'trust-remote-code': 'nothing of a model folder is executed',
  'lora-merge-cache': 'adapters are merged without a copy on disk',
  'lora-merge-dtype': 'adapters are merged in float32',
  verbosity: 'there is one level',
};

/** Those of them that take a value. */
const valued = ['write-threads', 'device', 'lora-merge-cache', 'lora-merge-dtype'];

const ignored = Object.fromEntries(
  Object.keys(withoutEffect).map((name) => [
    name,
    name === 'verbosity'
      ? ({ type: 'boolean', short: 'v', multiple: true } as const)
      : ({ type: valued.includes(name) ? 'string' : 'boolean' } as const),
  ]),
);

/**
 * `attune merge`, and `attune-merge`.
 *
 * @returns 0
 * @throws CLI_ARGUMENTS, and what planning and merging throw
 */
export async function mergeCommand(args: readonly string[], output: CliOutput): Promise<number> {
  const { values, positionals } = parse(args);
  const { config, outputDir, ...chosen } = chosenOptions(values, positionals);
  for (const name of Object.keys(values).filter((name) => Object.hasOwn(withoutEffect, name)))
    output.err(`--${name} has no effect: ${withoutEffect[name]}.`);
  const plugins: Plugin[] = [merge(), peft()];
  await using attune = await createAttune({ plugins, backend: 'reference' });
  const { seed, parity, maxShardSize, maxMemory, workers, unsafeTruncateEmbeddings } = chosen;
  const planOptions = defined({
    attune,
    seed,
    parity,
    maxShardSize,
    maxMemory,
    workers,
    unsafeTruncateEmbeddings,
  });
  if (outputDir === null || values['dry-run'] || values.explain !== undefined) {
    const plan = await planMerge(config, planOptions);
    output.out(
      values.explain === undefined
        ? describePlan(plan, planOptions)
        : explainTensor(plan, values.explain),
    );
    return 0;
  }
  const bar = new MergeBar(values.quiet ? null : (output.progress ?? null));
  const stop = new AbortController();
  const onInterrupt = () => stop.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const result = await mergeFromYaml(config, {
      ...planOptions,
      ...defined({
        overwrite: values.overwrite,
        verify: values.verify,
        report: values.report,
        writeModelCard: chosen.writeModelCard,
      }),
      outputDir,
      onProgress: (progress) => bar.draw(progress),
      signal: stop.signal,
    });
    bar.end();
    for (const warning of result.plan.warnings) output.err(`warning: ${warning}`);
    const kept = result.tensorsKept > 0 ? `, ${result.tensorsKept} of an earlier attempt` : '';
    output.out(
      `${outputDir}: ${result.tensors} tensors${kept}, ${formatBytes(result.bytes)} in ${result.seconds.toFixed(1)} s${values.verify ? ', verified' : ''}.`,
    );
    if (result.report) output.out(`\n${result.report}`);
    return 0;
  } finally {
    bar.end();
    process.off('SIGINT', onInterrupt);
  }
}

function parse(args: readonly string[]) {
  return parsing('merge', () =>
    parseArgs({
      args: [...args],
      options: { ...options, ...renamed, ...ignored },
      allowPositionals: true,
      allowNegative: true,
      strict: true,
    }),
  );
}

type Values = ReturnType<typeof parse>['values'];

function chosenOptions(values: Values, positionals: readonly string[]) {
  const [config, outputDir = null, ...others] = positionals;
  if (config === undefined) throw wrong('CONFIG, the YAML file, is missing.');
  if (others.length > 0) throw wrong(`"${others[0]}" is one argument too many.`);
  const writesNothing = values['dry-run'] || values.explain !== undefined;
  if (outputDir === null && !writesNothing) throw wrong('OUT, the folder to write, is missing.');
  const { parity } = values;
  if (parity !== undefined && parity !== 'float32' && parity !== 'mergekit')
    throw wrong(`--parity is "${parity}", expected "float32" or "mergekit".`);
  const outShardSize = values['out-shard-size'];
  return {
    config,
    outputDir,
    seed: whole('seed', values.seed) ?? whole('random-seed', values['random-seed']),
    parity,
    maxShardSize:
      values['shard-size'] ?? (outShardSize === undefined ? undefined : ofMergekit(outShardSize)),
    maxMemory: values['max-memory'],
    workers: whole('workers', values.workers) ?? whole('num-threads', values['num-threads']),
    unsafeTruncateEmbeddings: values['unsafe-truncate-embeddings'],
    writeModelCard: values['model-card'] ?? values['write-model-card'],
  } as const;
}

/** mergekit's "5B" is 5 * 10^9 bytes. */
function ofMergekit(size: string): string | number {
  const [, digits, unit = ''] = /^(\d+)([kmb]?)$/i.exec(size) ?? [];
  if (digits === undefined) return size;
  return Number(digits) * { '': 1, k: 1e3, m: 1e6, b: 1e9 }[unit.toLowerCase()]!;
}

function whole(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  throw wrong(`--${name} is "${text}", expected a whole number from 0.`);
}

const wrong = (message: string): AttuneError => wrongArguments('merge', message);
