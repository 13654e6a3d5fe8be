import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { AttuneError, type HubOptions } from '@attune/core';
import { fetchDataset, hubOptions } from '@attune/core/io';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { pathMatcher } from './expandPaths.js';
import { type ReadRowsOptions, readOptions } from './options.js';
import { FoundFiles, type RowFiles } from './rowFiles.js';

const dataShape = {
  /**
   * The part of the data set that is read, as its page names it. Default: "default", or the only
   * one.
   */
  config: z.string().optional().meta({ aka: 'name subset configname' }),
  /** Default "train". */
  split: z.string().default('train'),
  /**
   * Which files of the repository are read, by patterns: "data/*.jsonl.gz". Default: none of its
   * own, but the Parquet files that the Hub makes of it (branch refs/convert/parquet).
   */
  files: z
    .union([z.string(), z.array(z.string()).min(1)])
    .optional()
    .meta({ aka: 'datafiles' }),
};
const options = z.strictObject({
  ...readOptions.shape,
  ...hubOptions.shape,
  ...dataShape,
});

/** Options of {@link fromHub}: of the data set, of the Hub and of the readers. */
export type FromHubOptions = OptionsInput<typeof dataShape> & HubOptions & ReadRowsOptions;

/** Where the Hub puts the Parquet files that it makes. */
const PARQUET_BRANCH = 'refs/convert/parquet';

/**
 * Rows of a data set of the Hub. Its files are fetched into Hugging Face's cache when they are
 * first asked for, and read from there.
 *
 * @param name "owner/name"
 * @example pipeline(fromHub('openai/gsm8k', { config: 'main', split: 'train' }))
 * @throws UNKNOWN_OPTION, INVALID_OPTION; when it is read DATA_HUB where config, split or files do
 *   not exist, HUB_NAME, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, HUB_CORRUPT, HUB_PROTOCOL,
 *   HUB_TOKEN, HUB_URL
 */
export function fromHub(name: string, input: FromHubOptions = {}): RowFiles {
  const parsed = parseOptions(options, input, { where: 'fromHub' });
  const { config, split, files, ...rest } = parsed;
  const hub = pick(rest, Object.keys(hubOptions.shape)) as HubOptions;
  const rules = readOptions.parse(pick(rest, Object.keys(readOptions.shape)));
  const choose = (paths: readonly string[]): ReadonlySet<string> =>
    new Set(
      files === undefined
        ? chooseParquet(paths, name, config, split)
        : chooseFiles(paths, name, typeof files === 'string' ? [files] : files),
    );
  const find = async (): Promise<readonly string[]> => {
    let chosen: ReadonlySet<string> | null = null;
    const revision = hub.revision ?? (files === undefined ? PARQUET_BRANCH : 'main');
    const wanted = (path: string, paths: readonly string[]): boolean => {
      chosen ??= choose(paths);
      return chosen.has(path);
    };
    const folder = await fetchDataset(name, wanted, { ...hub, revision });
    // Without a connection the cache says what there is.
    const found = chosen ?? choose(await pathsBelow(folder));
    return [...(found as ReadonlySet<string>)].sort().map((path) => join(folder, path));
  };
  let found: Promise<readonly string[]> | null = null;
  return new FoundFiles(() => {
    found ??= find().catch((error: unknown) => {
      found = null; // The next call asks again.
      throw error;
    });
    return found;
  }, rules);
}

const pick = (from: object, keys: readonly string[]): object =>
  Object.fromEntries(
    Object.entries(from).filter(([key, value]) => keys.includes(key) && value !== undefined),
  );

async function pathsBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

/** @throws DATA_HUB */
function chooseFiles(
  paths: readonly string[],
  name: string,
  patterns: readonly string[],
): readonly string[] {
  return patterns.flatMap((pattern) => {
    const matches = pathMatcher(pattern);
    const found = paths.filter(matches);
    if (found.length > 0) return found;
    throw new AttuneError('DATA_HUB', `no file of ${name} matches "${pattern}".`, {
      remedy: `It has ${listed(paths)}.`,
    });
  });
}

/** The files `config/split/0000.parquet`. @throws DATA_HUB */
function chooseParquet(
  paths: readonly string[],
  name: string,
  config: string | undefined,
  split: string,
): readonly string[] {
  const parts = paths.flatMap((path) => {
    const match = /^([^/]+)\/([^/]+)\/[^/]+\.parquet$/.exec(path);
    return match ? [{ path, config: match[1]!, split: match[2]! }] : [];
  });
  const configs = [...new Set(parts.map((part) => part.config))];
  const chosen = config ?? (configs.includes('default') ? 'default' : configs[0]);
  if (chosen === undefined)
    throw new AttuneError('DATA_HUB', `${name} has no Parquet files in that branch.`, {
      remedy: `Name files of its own: files: "data/*". There are ${listed(paths)}.`,
    });
  if (
    !configs.includes(chosen) ||
    (config === undefined && configs.length > 1 && chosen !== 'default')
  )
    throw new AttuneError(
      'DATA_HUB',
      config === undefined
        ? `${name} has ${configs.length} configs, and none was chosen.`
        : `${name} has no config "${config}".`,
      { remedy: `Pass config: one of ${listed(configs)}.` },
    );
  const inConfig = parts.filter((part) => part.config === chosen);
  const found = inConfig.filter((part) => part.split === split);
  if (found.length > 0) return found.map(({ path }) => path);
  if (inConfig.some((part) => part.split === `partial-${split}`))
    throw new AttuneError(
      'DATA_HUB',
      `of ${name} the Hub made Parquet files of the beginning of "${split}" alone.`,
      {
        remedy: `Read that with split: "partial-${split}", or all of it from files of its own: files: "data/*".`,
      },
    );
  throw new AttuneError('DATA_HUB', `${name} has no split "${split}" in "${chosen}".`, {
    remedy: `Pass split: one of ${listed([...new Set(inConfig.map((part) => part.split))])}.`,
  });
}

const listed = (names: readonly string[]): string =>
  names.length === 0
    ? 'none'
    : names
        .slice(0, 12)
        .map((each) => `"${each}"`)
        .join(', ') + (names.length > 12 ? ` and ${names.length - 12} more` : '');
