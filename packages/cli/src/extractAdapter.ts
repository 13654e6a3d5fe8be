import { parseArgs } from 'node:util';
import { AttuneError, createAttune } from '@attune/core';
import { type ExtractAdapterOptions, type ExtractedAdapter, extractAdapter } from '@attune/merge';
import { peft } from '@attune/peft';
import { defined, parsing, wrongArguments } from './arguments.js';
import type { CliOutput } from './index.js';
import { progressLine } from './mergeBar.js';

export const extractAdapterHelp = `Usage: attune extract-adapter BASE TUNED OUT (--rank N | --energy SHARE)

Makes a LoRA adapter out of the difference of two checkpoints, as PEFT writes
adapters. OUT appears when it is whole.

  --rank N           one rank for all layers
  --energy SHARE     the smallest rank of each layer that holds this share of
                     its difference, squared: above 0, up to 1
  --max-rank N       largest rank with --energy. Default 128
  --uniform          with --energy: one rank, the largest, for all layers
  --target NAMES     layers, as q_proj,v_proj. Default: all linear ones but the
                     head
  --exclude NAMES    layers to leave out
  --embed-lora       embeddings and head as LoRA, too
  --save NAMES       modules to save whole where they changed, or "changed": all
                     that changed and has no LoRA
  --dtype DTYPE      float32, bfloat16 or float16. Default float32
  --overwrite        replaces OUT if it is there
  --quiet            no progress
`;

const COMMAND = 'extract-adapter';

const options = {
  rank: { type: 'string' },
  energy: { type: 'string' },
  'max-rank': { type: 'string' },
  uniform: { type: 'boolean' },
  target: { type: 'string' },
  exclude: { type: 'string' },
  'embed-lora': { type: 'boolean' },
  save: { type: 'string' },
  dtype: { type: 'string' },
  overwrite: { type: 'boolean' },
  quiet: { type: 'boolean' },
} as const;

/**
 * `attune extract-adapter`.
 *
 * @returns 0
 * @throws CLI_ARGUMENTS, MERGE_STOPPED, and what `extractAdapter` throws
 */
export async function extractAdapterCommand(
  args: readonly string[],
  output: CliOutput,
): Promise<number> {
  const { values, positionals } = parsing(COMMAND, () =>
    parseArgs({ args: [...args], options, allowPositionals: true, strict: true }),
  );
  const [baseModel, model, outputDir, ...others] = positionals;
  if (baseModel === undefined || model === undefined || outputDir === undefined)
    throw wrong(`${['BASE', 'TUNED', 'OUT'].slice(positionals.length).join(', ')} is missing.`);
  if (others.length > 0) throw wrong(`"${others[0]}" is one argument too many.`);
  const chosen = defined({
    rank: number('rank', values.rank),
    energy: number('energy', values.energy),
    maxRank: number('max-rank', values['max-rank']),
    uniform: values.uniform,
    targetModules: list(values.target),
    excludeModules: list(values.exclude),
    embedLora: values['embed-lora'],
    modulesToSave: values.save === 'changed' ? ('changed' as const) : list(values.save),
    dtype: values.dtype as ExtractAdapterOptions['dtype'],
    overwrite: values.overwrite,
  });
  await using attune = await createAttune({ plugins: [peft()], backend: 'reference' });
  const line = progressLine(values.quiet ? null : (output.progress ?? null));
  const stop = new AbortController();
  const onInterrupt = () => stop.abort();
  process.once('SIGINT', onInterrupt);
  try {
    const found = await extractAdapter({
      ...{ baseModel, model, outputDir, attune, signal: stop.signal },
      ...chosen,
      onProgress: ({ tensorsDone, tensorsTotal }) =>
        line?.draw(`${tensorsDone}/${tensorsTotal} tensors`),
    });
    line?.clear();
    output.out(summary(found));
    for (const note of found.notes) output.err(`note: ${note}`);
    return 0;
  } catch (cause) {
    if (!stop.signal.aborted || cause !== stop.signal.reason) throw cause;
    const remedy = 'Nothing was written.';
    throw new AttuneError('MERGE_STOPPED', 'The extraction was stopped.', { remedy, cause });
  } finally {
    line?.clear();
    process.off('SIGINT', onInterrupt);
  }
}

const wrong = (message: string): AttuneError => wrongArguments(COMMAND, message);

const list = (names: string | undefined): string[] | undefined =>
  names?.split(',').map((name) => name.trim());

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d*\.?\d+$/.test(text)) return Number(text);
  throw wrong(`--${name} is "${text}", expected a number.`);
}

function summary({ outputDir, layers, rank, energy, savedWhole, leftOut }: ExtractedAdapter) {
  const what = `${layers.length} ${layers.length === 1 ? 'layer' : 'layers'}`;
  const share = `${(100 * energy).toFixed(1)} % of the squared difference there`;
  const lines = [`${outputDir}: rank ${rank}, ${what}, with ${share}.`];
  if (savedWhole.length > 0) lines.push(`Saved whole: ${savedWhole.join(', ')}.`);
  const names = leftOut.slice(0, 5).map(({ name }) => name);
  const more = leftOut.length - names.length;
  if (names.length > 0)
    lines.push(
      `Changed, and not in the adapter: ${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}.`,
    );
  return lines.join('\n');
}
