import { access } from 'node:fs/promises';
import { type Attune, AttuneError, type Logger } from '@attune/core';
import { explainUnknown, isPlainObject, snakeToCamel } from '@attune/core/util';
import type { ReadRow } from '../contract/dataRow.js';
import { type DataPipeline, pipeline, stageNamed } from '../pipeline/pipeline.js';
import type { StageProgress } from '../pipeline/runStages.js';
import type { PipelineWriteOptions } from '../pipeline/writePipeline.js';
import type { RowFiles } from '../sources/rowFiles.js';
import { fromFiles } from '../sources/sources.js';
import { camelOptions } from './camelOptions.js';
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
  /** Files that are read. */
  readonly files: readonly string[];
  /** Stages by their names, with the options that the file gives. */
  readonly stages: readonly { readonly name: string; readonly options: object }[];
  /** The folder that is written. */
  readonly folder: string;
  readonly writeOptions: PipelineWriteOptions;
}

const KEYS = ['seed', 'sources', 'stages', 'output'];
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
 * A source is a path, a pattern, or `{ path, ...options of fromFiles }`; several are a list. Paths
 * are relative to the working folder.
 *
 * @throws DATA_YAML with line and column; DATA_FILE
 */
export async function planDataPipeline(
  file: string,
  options: PlanDataPipelineOptions = {},
): Promise<PlannedDataPipeline> {
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
  if (!Number.isSafeInteger(seed)) throw yaml.error(['seed'], 'seed is to be a whole number.');
  if (!Array.isArray(stages))
    throw yaml.error(['stages'], 'stages is to be a list: "- validate: { schema: messages }".');
  const source = sourcesOf(sources, yaml);
  let built = pipeline(source, { ...options, seed: seed as number });
  const planned = stages.map((entry: unknown, i) => {
    const [name, given, path] = stageOf(entry, i, yaml);
    const made = at(yaml, path, () => {
      const stage = stageNamed(name, options.attune ?? null);
      const changed = camelOptions(given, stage.options) as Record<string, unknown>;
      return { stage, options: name === 'mix' ? withSources(changed) : changed };
    });
    built = at(yaml, path, () => built.stage(made.stage, made.options));
    return { name, options: given };
  });
  const files = await source.files();
  for (const path of files)
    if (
      !(await access(path).then(
        () => true,
        () => false,
      ))
    )
      throw yaml.error(['sources'], `there is no file ${path}.`, 'Mend the path.');
  return {
    pipeline: built,
    files,
    stages: planned,
    ...outputOf(output, yaml),
  };
}

/** Runs; errors get the place that they are about. */
function at<T>(yaml: YamlFile, path: readonly PropertyKey[], run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (!AttuneError.isInstance(error)) throw error;
    const message = error.message.replace(`${error.code}: `, '');
    const [said, remedy] = message.split('\n  Fix: ');
    const option = (error.details as { option?: unknown } | undefined)?.option;
    const spelt = typeof option === 'string' ? keyAs(yaml, path, option) : null;
    throw yaml.error(spelt === null ? path : [...path, spelt], said!, remedy);
  }
}

/** A key as the file spells it. */
function keyAs(yaml: YamlFile, path: readonly PropertyKey[], option: string): string | null {
  const inside = path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | null)?.[key],
    yaml.value,
  );
  if (!isPlainObject(inside)) return null;
  return Object.keys(inside).find((key) => key === option || snakeToCamel(key) === option) ?? null;
}

function checkKeys(
  value: object,
  known: readonly string[],
  yaml: YamlFile,
  path: readonly PropertyKey[],
): void {
  const wrong = Object.keys(value).find((key) => !known.includes(snakeToCamel(key)));
  if (wrong !== undefined)
    throw yaml.error(
      [...path, wrong],
      explainUnknown(wrong, { known }, `there is no key "${wrong}"`),
      `Keys: ${known.join(', ')}.`,
    );
}

type Stage = readonly [name: string, options: object, path: readonly PropertyKey[]];

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

/** Sources of `mix` are files. */
function withSources(options: Record<string, unknown>): Record<string, unknown> {
  if (!Array.isArray(options.sources)) return options;
  const sources = options.sources.map((source: unknown) =>
    isPlainObject(source) && (typeof source.rows === 'string' || Array.isArray(source.rows))
      ? { ...source, rows: fromFiles(source.rows as string) }
      : source,
  );
  return { ...options, sources };
}

function sourcesOf(sources: unknown, yaml: YamlFile): RowFiles {
  const list = Array.isArray(sources) ? sources : [sources];
  if (sources == null || list.length === 0)
    throw yaml.error(
      ['sources'],
      'sources is missing: the files to read.',
      'Write "sources: raw/*.jsonl".',
    );
  const found = list.map((source: unknown, i) => {
    const path = Array.isArray(sources) ? ['sources', i] : ['sources'];
    if (typeof source === 'string') return at(yaml, path, () => fromFiles(source));
    if (!isPlainObject(source) || typeof source.path !== 'string')
      throw yaml.error(path, 'a source is a path, or { path: ... } with options.');
    const { path: file, ...rest } = source;
    const camel = Object.fromEntries(
      Object.entries(rest).map(([key, item]) => [snakeToCamel(key), item]),
    );
    return at(yaml, path, () => fromFiles(file as string, camel));
  });
  return found.length === 1 ? found[0]! : new AllFiles(found);
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
  if (typeof output === 'string') return { folder: output, writeOptions: {} };
  if (!isPlainObject(output) || typeof output.folder !== 'string')
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
  return { folder, writeOptions };
}
