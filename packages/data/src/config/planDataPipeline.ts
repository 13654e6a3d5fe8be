import { access } from 'node:fs/promises';
import { type Attune, AttuneError, type Logger } from '@attune/core';
import { explainUnknown, isPlainObject, parseOptions, snakeToCamel } from '@attune/core/util';
import { z } from 'zod';
import type { ReadRow } from '../contract/dataRow.js';
import { type DataPipeline, pipeline, stageNamed } from '../pipeline/pipeline.js';
import { runShape } from '../pipeline/runOptions.js';
import type { StageProgress } from '../pipeline/runStages.js';
import { type PipelineWriteOptions, writeShape } from '../pipeline/writePipeline.js';
import { namedRows } from '../sources/namedRows.js';
import type { RowFiles } from '../sources/rowFiles.js';
import { builtinStages } from '../stages/index.js';
import { FileOptions } from './fileOptions.js';
import { YamlFile } from './yamlPlaces.js';

/** What a pipeline of a file runs with. */
export interface PlanDataPipelineOptions {
  /** Loads models that the file names, and has the stages of plugins. Default: none. */
  readonly attune?: Attune | null;
  readonly onProgress?: (progress: StageProgress) => void;
  readonly signal?: AbortSignal | null;
  /** Default: silent. */
  readonly logger?: Logger;
}

/** A pipeline as a file says it, checked; nothing is read yet. */
export interface PlannedDataPipeline {
  readonly pipeline: DataPipeline;
  /** Files of the sources. */
  readonly files: readonly string[];
  /** Data sets of the Hub among the sources: their files are found when they are read. */
  readonly hub: readonly string[];
  /** Stages by their names, with the options that the file gives. */
  readonly stages: readonly { readonly name: string; readonly options: object }[];
  /** Whether a stage has a model, or an embedder, that a device computes. */
  readonly needsDevice: boolean;
  /** The folder that is written. */
  readonly folder: string;
  readonly writeOptions: PipelineWriteOptions;
}

type Path = readonly PropertyKey[];

const KEYS = ['seed', 'sources', 'stages', 'output'];
/** More are not written by hand, and would take minutes to check. */
const MAX_STAGES = 1000;

const OUTPUT_KEYS = ['folder', 'overwrite', 'cacheDir'];

/**
 * Reads a pipeline from YAML, and checks all of it: names, options, files.
 *
 *     seed: 42
 *     sources: raw/*.jsonl
 *     stages:
 *       - validate: { schema: messages }
 *       - dedupe: { near: { threshold: 0.8 } }
 *       - split: { group_by: document_id, test_size: 0.1 }
 *     output: data/clean
 *
 * A source is a path, a pattern, `{ path, ...options of fromFiles }` or `{ hub: owner/name,
 * ...options of fromHub }`; several are a list. So are the rows of `mix` and `against` of `dedupe`.
 * Paths are relative to the working folder. A provider is `{ type, ...its options }`, an embedder
 * the folder or Hub id of a model, or `{ type: endpoint, ...options of endpointEmbedder }`.
 *
 * @throws DATA_YAML with line and column; DATA_FILE
 */
export async function planDataPipeline(
  file: string,
  options: PlanDataPipelineOptions = {},
): Promise<PlannedDataPipeline> {
  parseOptions(z.strictObject(runShape), options, { where: 'planDataPipeline' });
  const yaml = await YamlFile.read(file);
  const { value } = yaml;
  if (!isPlainObject(value))
    throw yaml.error(
      [],
      'expected the keys sources, stages and output.',
      `Keys: ${KEYS.join(', ')}.`,
    );
  checkKeys(value, KEYS, yaml, []);
  const { seed = 0, sources, stages = [], output } = value;
  if (!Number.isSafeInteger(seed) || (seed as number) < 0)
    throw yaml.error(['seed'], 'seed is to be a whole number from 0 on.');
  if (!Array.isArray(stages))
    throw yaml.error(['stages'], 'stages is to be a list: "- validate: { schema: messages }".');
  if (stages.length > MAX_STAGES)
    throw yaml.error(['stages'], `stages has ${stages.length} entries; at most ${MAX_STAGES}.`);
  const written = outputOf(output, yaml);
  const found = sourcesOf(sources, yaml);
  const source = found.length === 1 ? found[0]!.rows : new AllFiles(found.map(({ rows }) => rows));
  const { attune = null } = options;
  let built = pipeline(source, { ...options, seed: seed as number });
  let needsDevice = false;
  const planned = stages.map((entry: unknown, i) => {
    const [name, given, path] = stageOf(entry, i, yaml);
    const stage = at(yaml, path, () => stageNamed(name, attune));
    const reader = new FileOptions(attune, (inner, run) => at(yaml, [...path, ...inner], run));
    const read = reader.read(given, stage.options) as Record<string, unknown>;
    built = at(yaml, path, () => built.stage(stage, read));
    // What a stage of a plugin does with the names of models is not known.
    needsDevice ||= reader.needsDevice || (!builtinStages.includes(stage) && !!stage.isCostly);
    return { name, options: given };
  });
  const files: string[] = [];
  for (const { rows, hub, path } of found)
    if (hub === null) files.push(...(await filesOf(rows, yaml, path)));
  return {
    pipeline: built,
    files,
    hub: found.flatMap(({ hub }) => hub ?? []),
    stages: planned,
    needsDevice,
    ...written,
  };
}

async function filesOf(rows: RowFiles, yaml: YamlFile, path: Path): Promise<readonly string[]> {
  const files = await rows.files().catch((error: unknown) => {
    throw placed(error, yaml, path);
  });
  for (const file of files)
    await access(file).catch((cause: NodeJS.ErrnoException) => {
      throw yaml.error(
        path,
        cause.code === 'ENOENT'
          ? `there is no file ${file}.`
          : `${file} cannot be read: ${cause.code}.`,
        'Mend the path.',
      );
    });
  return files;
}

/** Runs; errors get the place that they are about. */
function at<T>(yaml: YamlFile, path: Path, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw placed(error, yaml, path);
  }
}

/** An error with the place that it is about. */
function placed(error: unknown, yaml: YamlFile, path: Path): unknown {
  if (!AttuneError.isInstance(error) || error.code === 'DATA_YAML') return error;
  const message = error.message.replace(`${error.code}: `, '');
  const [said, remedy] = message.split('\n  Fix: ');
  const option = (error.details as { option?: unknown } | undefined)?.option;
  const place = typeof option === 'string' ? pathOf(yaml, path, option.split('.')) : path;
  return yaml.error(place, said!, remedy);
}

/** Where an option, "near.threshold", stands: keys as the file spells them, as far as it goes. */
function pathOf(yaml: YamlFile, path: Path, option: readonly string[]): Path {
  let inside = path.reduce<unknown>((value, key) => memberOf(value, key), yaml.value);
  const place = [...path];
  for (const name of option) {
    const key = Object.keys(inside ?? {}).find((at) => at === name || snakeToCamel(at) === name);
    if (key === undefined) break;
    place.push(Array.isArray(inside) ? Number(key) : key);
    inside = memberOf(inside, key);
  }
  return place;
}

const memberOf = (value: unknown, key: PropertyKey): unknown =>
  (value as Record<PropertyKey, unknown> | null | undefined)?.[key];

function checkKeys(value: object, known: readonly string[], yaml: YamlFile, path: Path): void {
  const wrong = Object.keys(value).find((key) => !known.includes(snakeToCamel(key)));
  if (wrong !== undefined)
    throw yaml.error(
      [...path, wrong],
      explainUnknown(wrong, { known }, `there is no key "${wrong}"`),
      `Keys: ${known.join(', ')}.`,
    );
}

type Stage = readonly [name: string, options: object, path: Path];

/** "- shuffle" or "- dedupe: { ... }". */
function stageOf(entry: unknown, index: number, yaml: YamlFile): Stage {
  const path = ['stages', index];
  if (typeof entry === 'string') return [entry, {}, path];
  const entries = isPlainObject(entry) ? Object.entries(entry) : [];
  const [[name, options] = ['', null]] = entries;
  if (entries.length !== 1 || !(options === null || isPlainObject(options)))
    throw yaml.error(
      path,
      'a stage is one name with its options.',
      'Write "- dedupe: { near: { threshold: 0.8 } }"; options are indented below the name.',
    );
  return [name, options ?? {}, [...path, name]];
}

interface Source {
  readonly rows: RowFiles;
  /** The name of a data set of the Hub; null: files that are here. */
  readonly hub: string | null;
  /** Where the file says so. */
  readonly path: Path;
}

function sourcesOf(sources: unknown, yaml: YamlFile): readonly Source[] {
  const list = Array.isArray(sources) ? sources : [sources];
  if (sources == null || list.length === 0)
    throw yaml.error(
      ['sources'],
      'sources is missing: the files to read.',
      'Write "sources: raw/*.jsonl".',
    );
  return list.map((source: unknown, i) => {
    const path = Array.isArray(sources) ? ['sources', i] : ['sources'];
    const rows = at(yaml, path, () => namedRows(source));
    return { rows, hub: isPlainObject(source) && source.hub ? String(source.hub) : null, path };
  });
}

/** Several sources, one behind the other. */
class AllFiles implements RowFiles {
  constructor(private readonly sources: readonly RowFiles[]) {}

  async files(): Promise<readonly string[]> {
    return (await Promise.all(this.sources.map((source) => source.files()))).flat();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ReadRow> {
    for (const source of this.sources) yield* source;
  }
}

function outputOf(
  output: unknown,
  yaml: YamlFile,
): Pick<PlannedDataPipeline, 'folder' | 'writeOptions'> {
  if (isFolder(output)) return { folder: output, writeOptions: {} };
  if (!isPlainObject(output) || !isFolder(output.folder))
    throw yaml.error(
      ['output'],
      'output is missing: the folder to write.',
      'Write "output: data/clean", or { folder, overwrite, cache_dir }.',
    );
  checkKeys(output, OUTPUT_KEYS, yaml, ['output']);
  const { folder, ...rest } = output;
  const writeOptions = Object.fromEntries(
    Object.entries(rest).map(([key, item]) => [snakeToCamel(key), item]),
  );
  at(yaml, ['output'], () => parseOptions(outputSchema, writeOptions, { where: 'output' }));
  return { folder, writeOptions };
}

const isFolder = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '';

const outputSchema = z.strictObject(writeShape);
