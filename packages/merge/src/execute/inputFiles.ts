import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { safetensorsBytes } from '@attune/core/io';
import { AttuneError } from '@attune/core/util';
import type { StoredTensor, TensorSource, TensorTask } from '../contract/tensorTask.js';
import { inputError } from './openFiles.js';

/** What a file is known again by. */
export interface FileIdentity {
  readonly path: string;
  readonly size: number;
  /** When it was written last, in nanoseconds since 1970. */
  readonly modified: string;
  readonly inode: string;
}

const tensorsOf = (source: TensorSource): readonly StoredTensor[] =>
  source.kind === 'rows'
    ? [source.tensor, ...source.fills.flatMap(({ from }) => from.map(({ source: s }) => s))]
    : [source.tensor];

/** Files of an adapter; of one that is no folder here nothing is known. */
const ADAPTER_FILES = ['adapter_config.json', 'adapter_model.safetensors'];

/** The files that a merge reads, each with where the last tensor that is read from it ends. */
export function inputFiles(tasks: readonly TensorTask[]): ReadonlyMap<string, number> {
  const ends = new Map<string, number>();
  for (const { inputs } of tasks)
    for (const { source } of inputs)
      for (const { path, begin, dtype, shape } of tensorsOf(source)) {
        const end = begin + shape.reduce((a, b) => a * b, safetensorsBytes[dtype]);
        ends.set(path, Math.max(end, ends.get(path) ?? 0));
      }
  return ends;
}

/**
 * Looks at all files that a merge reads.
 *
 * @throws MERGE_INPUT for one that is gone, or shorter than the plan says
 */
export async function identifyInputs(tasks: readonly TensorTask[]): Promise<FileIdentity[]> {
  const found: FileIdentity[] = [];
  for (const [path, end] of inputFiles(tasks)) {
    const identity = await identify(path);
    if (identity.size < end)
      throw new AttuneError(
        'MERGE_INPUT',
        `${path} has ${identity.size} bytes, but its tensors end at byte ${end}.`,
        { remedy: 'The download or the copy stopped early: fetch the file again.' },
      );
    found.push(identity);
  }
  const adapters = new Set(
    tasks.flatMap(({ inputs }) =>
      inputs.flatMap(({ source }) => (source.kind === 'adapted' ? [source.adapter] : [])),
    ),
  );
  for (const adapter of adapters)
    for (const name of ADAPTER_FILES) {
      const identity = await identify(join(adapter, name)).catch(() => null);
      if (identity) found.push(identity);
    }
  return found;
}

async function identify(path: string): Promise<FileIdentity> {
  try {
    const { size, mtimeNs, ino } = await stat(path, { bigint: true });
    return { path, size: Number(size), modified: String(mtimeNs), inode: String(ino) };
  } catch (error) {
    throw inputError(error, path);
  }
}

/** @throws MERGE_INPUT for a file that is not what it was when the merge began */
export async function checkUnchanged(files: readonly FileIdentity[]): Promise<void> {
  for (const before of files) {
    const now = await identify(before.path);
    if (now.size === before.size && now.modified === before.modified && now.inode === before.inode)
      continue;
    throw new AttuneError('MERGE_INPUT', `${before.path} changed while it was merged.`, {
      remedy: 'Merge again when nobody writes into the inputs: all of it is done anew.',
      details: { before, now },
    });
  }
}
