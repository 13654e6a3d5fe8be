import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { writeFolderAtomic } from '../io/atomic.js';
import { SafetensorsFile } from '../io/safetensors.js';
import { writeSafetensors } from '../io/safetensorsWriter.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Optimizer } from '../optim/optimizer.js';
import { AttuneError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';

/** The last file of a checkpoint: the sizes of the others, by which a torn one is recognised. */
const MANIFEST = 'attune_checkpoint.json';

type Json = Readonly<Record<string, unknown>>;

/** The JSON files of a checkpoint, under their names in the folder. */
export interface CheckpointJson {
  'trainer_state.json': Json;
  'scheduler.json': Json;
  'rng_state.json': Json;
  /** What transformers has no place for: where in the data, the updates since the last log. */
  'attune_state.json': Json;
}

export interface CheckpointContents {
  readonly model: LanguageModel;
  /** null: weights only. */
  readonly optimizer: Optimizer | null;
  /** File name -> text. */
  readonly texts: Readonly<Record<string, string>>;
}

export interface Checkpoint {
  readonly folder: string;
  readonly step: number;
}

export const checkpointFolder = (outputDir: string, step: number): string =>
  join(outputDir, `checkpoint-${step}`);

/**
 * Writes a checkpoint whole or not at all: adapter or model files, optimizer.safetensors, JSON files
 * under transformers' names, and a manifest of their sizes.
 */
export async function writeCheckpoint(folder: string, contents: CheckpointContents): Promise<void> {
  const { model, optimizer, texts } = contents;
  await writeFolderAtomic(folder, async (temporary) => {
    await (model.adapters ?? model).savePretrained(temporary);
    const files = await readdir(temporary, { recursive: true });
    if (!files.some((name) => name.endsWith('.safetensors')))
      throw new AttuneError('CHECKPOINT_EMPTY', `${folder}: savePretrained wrote no weight.`, {
        remedy:
          'Train a model that saves its weights: one with an adapter, or without an adapter host.',
      });
    if (optimizer)
      await writeSafetensors(join(temporary, 'optimizer.safetensors'), optimizer.exportState(), {
        format: 'pt',
        step: `${optimizer.stepCount}`,
      });
    for (const [name, text] of Object.entries(texts)) await writeFile(join(temporary, name), text);
    const sizes: Record<string, number> = {};
    for (const name of (await readdir(temporary)).sort())
      sizes[name] = (await stat(join(temporary, name))).size;
    await writeFile(join(temporary, MANIFEST), `${JSON.stringify({ files: sizes }, null, 2)}\n`);
  });
}

/** What is wrong with a checkpoint folder, in words; null when it is whole. */
export async function damage(folder: string): Promise<string | null> {
  const manifest = await readFile(join(folder, MANIFEST), 'utf8').catch(() => null);
  if (manifest === null) return `it has no ${MANIFEST}`;
  let files: Readonly<Record<string, number>>;
  try {
    ({ files } = JSON.parse(manifest) as { files: Record<string, number> });
    for (const [name, size] of Object.entries(files)) {
      const found = await stat(join(folder, name)).catch(() => null);
      if (found === null) return `${name} is missing`;
      if (found.size !== size) return `${name} has ${found.size} bytes instead of ${size}`;
      if (name.endsWith('.json')) JSON.parse(await readFile(join(folder, name), 'utf8'));
    }
  } catch (error) {
    return `a file of it cannot be read (${(error as Error).message})`;
  }
  return null;
}

/** Checkpoints of a folder, by step. */
export async function listCheckpoints(outputDir: string): Promise<Checkpoint[]> {
  const entries = await readdir(outputDir, { withFileTypes: true }).catch(() => []);
  return entries
    .flatMap((entry) => {
      const step = /^checkpoint-(\d+)$/.exec(entry.name)?.[1];
      return entry.isDirectory() && step !== undefined
        ? [{ folder: join(outputDir, entry.name), step: Number(step) }]
        : [];
    })
    .sort((a, b) => a.step - b.step);
}

/**
 * What a process that died in a save left beside the checkpoints (`writeFolderAtomic`): a half-written
 * folder goes; a checkpoint that was just being replaced comes back.
 */
async function clearInterruptedSaves(outputDir: string, logger: Logger): Promise<void> {
  for (const name of await readdir(outputDir).catch(() => [])) {
    const [, checkpoint, kind] = /^\.(checkpoint-\d+)\.(tmp|old)-[0-9a-f]{8}$/.exec(name) ?? [];
    if (checkpoint === undefined) continue;
    const left = join(outputDir, name);
    const whole = join(outputDir, checkpoint);
    if (kind === 'old' && !(await stat(whole).catch(() => null))) {
      await rename(left, whole);
      logger.warn(`${whole}: its replacement was interrupted; the old one is back`);
    } else {
      await rm(left, { recursive: true, force: true });
      logger.warn(`${left}: a save that was interrupted; removed`);
    }
  }
}

/**
 * The checkpoint to resume from: the folder given, or (`true`) the latest whole one of `outputDir`.
 *
 * @throws CHECKPOINT_NONE; CHECKPOINT_TORN when the folder given is not whole
 */
export async function findCheckpoint(
  resume: true | string,
  outputDir: string,
  logger: Logger,
): Promise<string> {
  if (resume !== true) {
    const problem = await damage(resume);
    if (problem === null) return resume;
    const exists = await stat(resume).catch(() => null);
    throw new AttuneError(
      exists ? 'CHECKPOINT_TORN' : 'CHECKPOINT_NONE',
      exists
        ? `the checkpoint ${resume} is not whole: ${problem}.`
        : `there is no checkpoint ${resume}.`,
      { remedy: 'Pass resumeFromCheckpoint: true to take the latest whole one of outputDir.' },
    );
  }
  await clearInterruptedSaves(outputDir, logger);
  for (const { folder } of (await listCheckpoints(outputDir)).reverse()) {
    const problem = await damage(folder);
    if (problem === null) return folder;
    logger.warn(`${folder} is not whole (${problem}); the one before it is tried`);
  }
  throw new AttuneError('CHECKPOINT_NONE', `${outputDir} has no whole checkpoint to resume from.`, {
    remedy: 'Check outputDir, or train() without resumeFromCheckpoint.',
  });
}

/** @throws CHECKPOINT_MODEL_ONLY for a checkpoint that saveOnlyModel wrote */
export async function checkResumable(folder: string): Promise<void> {
  if (await stat(join(folder, 'optimizer.safetensors')).catch(() => null)) return;
  throw new AttuneError(
    'CHECKPOINT_MODEL_ONLY',
    `the checkpoint ${folder} has weights only (saveOnlyModel): a run cannot go on from it.`,
    {
      remedy:
        'Load its weights (fromPretrained) and start a new run, or resume from another checkpoint.',
    },
  );
}

export const readCheckpointJson = async <K extends keyof CheckpointJson>(
  folder: string,
  name: K,
): Promise<CheckpointJson[K]> => JSON.parse(await readFile(join(folder, name), 'utf8'));

/** optimizer.safetensors -> the optimizer's state. @throws OPTIMIZER_STATE */
export async function readOptimizer(folder: string, optimizer: Optimizer): Promise<void> {
  await using file = await SafetensorsFile.open(join(folder, 'optimizer.safetensors'));
  await optimizer.importState(Number(file.metadata.step), async (name) => {
    if (!file.has(name)) return undefined;
    if (file.info(name).dtype === 'U8') return file.readBytes(name);
    return (await file.read(name)).data as Float32Array;
  });
}

/**
 * Deletes the oldest checkpoints beyond `limit`, never the latest and never the best.
 *
 * @see transformers `rotate_checkpoints`
 */
export async function rotateCheckpoints(
  outputDir: string,
  limit: number | null,
  best: string | null,
): Promise<void> {
  if (limit === null) return;
  const checkpoints = await listCheckpoints(outputDir);
  const isKept = ({ folder }: Checkpoint, i: number) =>
    i === checkpoints.length - 1 || (best !== null && resolve(folder) === resolve(best));
  const kept = checkpoints.filter(isKept).length;
  const surplus = checkpoints.length - Math.max(limit, kept);
  const deletable = checkpoints.filter((checkpoint, i) => !isKept(checkpoint, i));
  for (const { folder } of deletable.slice(0, Math.max(0, surplus)))
    await rm(folder, { recursive: true, force: true });
}
