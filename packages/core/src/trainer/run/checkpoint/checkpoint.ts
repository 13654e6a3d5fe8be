import { join, readdir, stat, writeFile } from '#platform';
import { writeFolderAtomic } from '../../../io/atomic.js';
import { SafetensorsFile } from '../../../io/safetensors.js';
import { writeSafetensors } from '../../../io/safetensorsWriter.js';
import type { LanguageModel } from '../../../models/languageModel.js';
import type { Optimizer } from '../../../optim/optimizer.js';
import type { Objective } from '../../../training/objective.js';
import { AttuneError } from '../../../util/errors.js';
import { type RunIdentity, writeManifest } from './checkpointManifest.js';
import { writeObjectiveFiles } from './objectiveFiles.js';

export interface CheckpointContents {
  readonly model: LanguageModel;
  readonly objective: Objective;
  /** null: weights only. */
  readonly optimizer: Optimizer | null;
  /** File name -> text. */
  readonly texts: Readonly<Record<string, string>>;
  readonly run: RunIdentity;
}

export const checkpointFolder = (outputDir: string, step: number): string =>
  join(outputDir, `checkpoint-${step}`);

/**
 * Writes a checkpoint whole or not at all: adapter or model files, optimizer.safetensors, JSON
 * files under transformers' names, and a manifest of their sizes and hashes.
 */
export async function writeCheckpoint(folder: string, contents: CheckpointContents): Promise<void> {
  const { model, objective, optimizer, texts, run } = contents;
  await writeFolderAtomic(folder, async (temporary) => {
    await (model.adapters ?? model).savePretrained(temporary);
    const files = await readdir(temporary, { recursive: true });
    if (!files.some((name) => name.endsWith('.safetensors')))
      throw new AttuneError('CHECKPOINT_EMPTY', `${folder}: savePretrained wrote no weight.`, {
        remedy:
          'Train a model that saves its weights: one with an adapter, or without an adapter host.',
      });
    await writeObjectiveFiles(temporary, objective, optimizer !== null);
    if (optimizer)
      await writeSafetensors(join(temporary, 'optimizer.safetensors'), optimizer.exportState(), {
        format: 'pt',
        step: `${optimizer.stepCount}`,
      });
    for (const [name, text] of Object.entries(texts)) await writeFile(join(temporary, name), text);
    await writeManifest(temporary, run);
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

/** optimizer.safetensors -> the optimizer's state. @throws OPTIMIZER_STATE */
export async function readOptimizer(folder: string, optimizer: Optimizer): Promise<void> {
  await using file = await SafetensorsFile.open(join(folder, 'optimizer.safetensors'));
  await optimizer.importState(Number(file.metadata.step), async (name) => {
    if (!file.has(name)) return undefined;
    if (file.info(name).dtype === 'U8') return file.readBytes(name);
    return (await file.read(name)).data as Float32Array;
  });
}
