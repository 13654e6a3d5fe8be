import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { AttuneError } from '@attune/core';

const bad = (message: string, remedy: string): AttuneError =>
  new AttuneError('DATA_OUTPUT', message, { remedy });

/** Files that a pipeline writes: a folder with one of them may be replaced. */
export const OUTPUTS = [
  'train.jsonl',
  'validation.jsonl',
  'test.jsonl',
  'quarantine.jsonl',
  'report.json',
  'report.html',
];

/**
 * Checks that a folder may be written, and where it is.
 *
 * @param inputs files that are read
 * @throws DATA_OUTPUT for a file; for a folder that is there, unless it is to be overwritten and is
 *   one of a pipeline's; for one that holds an input
 */
export async function checkOutput(
  folder: string,
  overwrite: boolean,
  inputs: readonly string[],
): Promise<string> {
  const given = resolve(folder);
  const found = await stat(given).catch(() => null);
  if (found && !found.isDirectory())
    throw bad(`the output ${folder} is a file.`, 'Give the path of a folder.');
  const target = found ? await realpath(given) : given;
  const entries = found ? await readdir(target) : [];
  if (entries.length === 0) return target;
  if (!overwrite)
    throw bad(
      `the output ${folder} is there already, with ${entries.length} files.`,
      'Give another folder, or overwrite: true to replace it.',
    );
  if (!entries.some((name) => OUTPUTS.includes(name)))
    throw bad(
      `the output ${folder} was not written by a pipeline (${entries.slice(0, 3).join(', ')}), so it is not replaced.`,
      'Give another folder, or delete that one yourself.',
    );
  for (const input of inputs) {
    const path = await realpath(input).catch(() => resolve(input));
    const way = relative(target, path);
    if (!/^\.\.([/\\]|$)/.test(way) && resolve(target, way) === path)
      throw bad(`the output ${folder} holds the input ${input}.`, 'Give another folder.');
  }
  return target;
}

/** Where results are kept between runs: `.attune-data/NAME` beside the output. */
export const cacheBeside = (target: string): string =>
  join(dirname(target), '.attune-data', basename(target));
