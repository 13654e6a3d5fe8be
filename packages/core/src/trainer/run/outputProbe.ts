import { join, mkdir, open, rm, statfs } from '#platform';
import { bytesPerElement } from '../../backend/dtype.js';
import type { LanguageModel } from '../../models/languageModel.js';
import type { Optimizer } from '../../optim/optimizer.js';
import { numel } from '../../tensor/shape.js';
import type { Objective } from '../../training/objective.js';
import { trainedRoot } from '../../training/trainedRoot.js';
import { writing } from '../../util/diskError.js';
import { AttuneError } from '../../util/errors.js';

/**
 * Makes the folder if it is missing, and writes, syncs and removes a small file in it.
 *
 * @throws DISK_WRITE
 */
export async function tryFolder(folder: string): Promise<void> {
  await writing(folder, async () => {
    await mkdir(folder, { recursive: true });
    const probe = join(folder, `.attune.probe-${crypto.randomUUID()}`);
    try {
      const file = await open(probe, 'wx');
      try {
        await file.writeFile('can this folder be written to?');
        await file.sync();
      } finally {
        await file.close();
      }
    } finally {
      await rm(probe, { force: true });
    }
  });
}

/**
 * Bytes of a checkpoint's large files: weights (those of the adapter where there is one),
 * optimizer.
 */
export function checkpointBytes(
  model: LanguageModel,
  objective: Pick<Objective, 'modules'>,
  optimizer: Optimizer | null,
): number {
  let bytes = 0;
  const root = trainedRoot(model, objective);
  for (const parameter of new Set([...root.namedParameters()].map(([, p]) => p)))
    if (!model.adapters || parameter.trainable)
      bytes += parameter.size * bytesPerElement[parameter.dtype];
  for (const { shape, dtype } of optimizer?.exportState() ?? [])
    bytes += numel(shape) * (dtype === 'U8' ? 1 : 4);
  return bytes;
}

/** Refuses to train towards a checkpoint for which there is no room. @throws DISK_SPACE */
export async function checkSpace(folder: string, needed: number): Promise<void> {
  // Where the file system does not tell, the save will.
  const { bavail, bsize } = await statfs(folder).catch(() => ({ bavail: Infinity, bsize: 1 }));
  const free = bavail * bsize;
  if (free >= needed) return;
  throw new AttuneError(
    'DISK_SPACE',
    `${folder} has room for ${gigabytes(free)} GB, and a checkpoint of this run takes ${gigabytes(needed)} GB.`,
    {
      remedy:
        'Free space, choose another outputDir, or save less: saveOnlyModel: true, or an 8-bit optimizer.',
      details: { folder, free, needed },
    },
  );
}

const gigabytes = (bytes: number): number => Number((bytes / 1e9).toPrecision(3));
