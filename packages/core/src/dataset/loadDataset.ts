import { z } from 'zod';
import { type PluginRegistries, Registry } from '../di/registry.js';
import { describeValue } from '../util/describeValue.js';
import { AttuneError, nearest } from '../util/errors.js';
import { checkNames, type OptionsInput } from '../util/options.js';
import { Dataset, type Row } from './dataset.js';
import { type DatasetReader, DatasetReaders } from './datasetReader.js';
import { IterableDataset } from './iterableDataset.js';
import { builtinReaders } from './readRows.js';

type Files = string | readonly string[];

const loadShape = {
  /**
   * A file, several, or files for each split: `{ train: 'a.jsonl', test: ['b.jsonl', 'c.jsonl'] }`.
   */
  dataFiles: z
    .custom<Files | Readonly<Record<string, Files>>>()
    .meta({ aka: 'files file path paths datafile data' }),
  /**
   * Which split, as in Hugging Face datasets: `'train'`, `'train[:100]'`, `'test[10%:20%]'`. Needed
   * when `dataFiles` names several. Default: the only one; files without a split are "train".
   */
  split: z.string().optional().meta({ aka: 'name' }),
  /**
   * Read rows while they are used and hold none: for files larger than the memory. Training on them
   * needs `maxSteps`. Default false.
   */
  streaming: z.boolean().optional().meta({ aka: 'stream' }),
  /** Whose plugins' readers may be named, too. Default none: "json" and "text" need no Attune. */
  attune: z.custom<PluginRegistries>().optional(),
};
const loadOptions = z.strictObject(loadShape);

/** Options of {@link loadDataset}. */
export type LoadDatasetOptions = OptionsInput<typeof loadShape>;

/** The readers of a program without plugins. */
const coreReaders = Registry.of(DatasetReaders, builtinReaders);

/** A reader of core, or one that a plugin of `attune` added to `DatasetReaders`. */
type Format = 'json' | 'text' | (string & {});

/**
 * Reads a data set from local files.
 *
 * @param format `'json'`: JSON Lines or an array of objects; `'text'`: `{ text }` from each line;
 *   with `attune` also a reader that one of its plugins added to `DatasetReaders`
 * @example await loadDataset('json', { dataFiles: 'train.jsonl' })
 * @example await loadDataset('acme', { attune, dataFiles: 'train.acme' })
 * @throws DATASET_FILE, DATASET_ENCODING, DATASET_JSON, DATASET_EMPTY, DATASET_LINE_LENGTH with the
 *   file and line; DATASET_FORMAT; DATASET_SPLIT
 */
export function loadDataset(
  format: Format,
  options: LoadDatasetOptions & { readonly streaming: true },
): Promise<IterableDataset>;
export function loadDataset(
  format: Format,
  options: LoadDatasetOptions & { readonly streaming?: false },
): Promise<Dataset>;
export function loadDataset(
  format: Format,
  options: LoadDatasetOptions,
): Promise<Dataset | IterableDataset>;
export async function loadDataset(
  format: Format,
  options: LoadDatasetOptions,
): Promise<Dataset | IterableDataset> {
  checkLoadOptions(options);
  const read = chooseReader(format, options?.attune);
  const { files, bounds } = chooseSplit(options ?? {});
  if (options.streaming) return stream(read, files, bounds);
  const rows: Row[] = [];
  const origins: string[] = [];
  for (const file of files)
    for await (const { row, place } of read(file)) {
      rows.push(row);
      origins.push(file + place);
    }
  const dataset = Dataset.from(rows, (i) => origins[i]!);
  return bounds ? dataset.select(rangeOf(bounds, dataset.length)) : dataset;
}

type Read = DatasetReader['read'];

/** @throws DATASET_FORMAT */
function chooseReader(format: string, attune: PluginRegistries | undefined): Read {
  if (attune !== undefined && typeof attune?.registry !== 'function')
    throw new AttuneError(
      'DATASET_OPTION',
      `loadDataset: attune is ${describeValue(attune)}, expected an Attune.`,
      {
        remedy: 'Pass what createAttune gave, awaited; or leave attune out for "json" and "text".',
      },
    );
  const readers = attune?.registry(DatasetReaders) ?? coreReaders;
  if (readers.has(format)) {
    const reader = readers.get(format);
    return (file) => reader.read(file);
  }
  const name = String(format);
  const ofFile = readers
    .values()
    .find(({ extensions = [] }) => extensions.some((end) => name.toLowerCase().endsWith(end)));
  const near = nearest(name, readers.names);
  const known = readers.names.map((known) => `"${known}"`).join(' or ');
  throw new AttuneError('DATASET_FORMAT', `loadDataset("${name}"): there is no such reader.`, {
    remedy: ofFile
      ? `Write loadDataset('${ofFile.name}', { dataFiles: '${name}' }).`
      : `Use ${known} with local dataFiles; download data sets of the Hub first.${near ? ` Did you mean "${near}"?` : ''}${attune ? '' : ' A reader of a plugin needs { attune }.'}`,
  });
}

/** @throws UNKNOWN_OPTION, DATASET_OPTION */
function checkLoadOptions(options: unknown): void {
  if (typeof options === 'string' || Array.isArray(options))
    throw new AttuneError(
      'DATASET_OPTION',
      `loadDataset: expected its options as an object, found ${describeValue(options)}.`,
      { remedy: `Write { dataFiles: ${JSON.stringify(options)} }.` },
    );
  checkNames(loadOptions, options ?? {}, {
    where: 'loadDataset',
    code: 'DATASET_OPTION',
    notes: {
      datadir: 'name the files: dataFiles',
      numproc: 'one process reads',
      cachedir: 'files are read where they lie',
    },
  });
}

async function stream(
  read: Read,
  files: readonly string[],
  bounds: readonly [string, string] | null,
): Promise<IterableDataset> {
  // A file that is missing, empty or no JSON is an error now, not in the middle of a run.
  for (const file of files) for await (const _ of read(file)) break;
  const dataset = IterableDataset.fromPlaced(async function* () {
    for (const file of files)
      for await (const { row, place } of read(file)) yield { row, origin: file + place };
  });
  if (!bounds) return dataset;
  const [from, to] = bounds.map((bound) => bound.trim()) as [string, string];
  if (![from, to].every((bound) => /^\d*$/.test(bound)))
    throw new AttuneError(
      'DATASET_SPLIT',
      `[${from}:${to}] counts from the end or in percent, and a stream has no known end.`,
      { remedy: 'Write e.g. "train[100:200]", or leave streaming out.' },
    );
  const rest = dataset.skip(Number(from));
  return to === '' ? rest : rest.take(Math.max(0, Number(to) - Number(from)));
}

function chooseSplit({ dataFiles, split }: LoadDatasetOptions): {
  files: readonly string[];
  bounds: readonly [string, string] | null;
} {
  const bySplit = toSplits(dataFiles);
  const names = Object.keys(bySplit);
  const match = /^([^[\]]+)(?:\[([^:\]]*):([^:\]]*)\])?$/.exec(split ?? names[0] ?? '');
  const name = match?.[1]?.trim();
  const chosen = name !== undefined && Object.hasOwn(bySplit, name) ? bySplit[name] : undefined;
  if (!chosen || (split === undefined && names.length > 1)) {
    const near = split === undefined ? undefined : nearest(name ?? split, names);
    throw new AttuneError(
      'DATASET_SPLIT',
      split === undefined
        ? `dataFiles names ${names.length} splits and none was chosen.`
        : `split "${split}" is not in dataFiles.`,
      {
        remedy: `Pass split: one of ${names.map((n) => `"${n}"`).join(', ') || 'none'}.${near ? ` Did you mean "${near}"?` : ''}`,
      },
    );
  }
  const files = typeof chosen === 'string' ? [chosen] : chosen;
  return { files, bounds: match![2] === undefined ? null : [match![2], match![3]!] };
}

function toSplits(dataFiles: LoadDatasetOptions['dataFiles']): Readonly<Record<string, Files>> {
  if (typeof dataFiles === 'string') return { train: dataFiles };
  if (Array.isArray(dataFiles) && dataFiles.length > 0) return { train: dataFiles };
  if (typeof dataFiles === 'object' && dataFiles !== null && !Array.isArray(dataFiles))
    return dataFiles as Readonly<Record<string, Files>>;
  throw new AttuneError('DATASET_FILE', 'loadDataset was given no dataFiles.', {
    remedy: 'Pass { dataFiles: "train.jsonl" }.',
  });
}

/**
 * Row numbers of `[from:to]`, each a count, a percentage or empty; negative counts from the end.
 */
function rangeOf([from, to]: readonly [string, string], length: number): number[] {
  const bound = (text: string, empty: number) => {
    const trimmed = text.trim();
    if (trimmed === '') return empty;
    const value = trimmed.endsWith('%')
      ? Math.round((Number(trimmed.slice(0, -1)) / 100) * length)
      : Number(trimmed);
    if (!Number.isInteger(value))
      throw new AttuneError('DATASET_SPLIT', `"${text}" in a split is no number of rows.`, {
        remedy: 'Write e.g. "train[:100]" or "train[10%:20%]".',
      });
    return Math.min(Math.max(value < 0 ? value + length : value, 0), length);
  };
  const start = bound(from, 0);
  const end = bound(to, length);
  return Array.from({ length: Math.max(end - start, 0) }, (_, i) => start + i);
}
