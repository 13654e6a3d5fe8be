import { join, readdir, rename, resolve, rm, stat } from '#platform';
import { writeFileAtomic } from '../../../io/atomic.js';
import { readText } from '../../../io/readText.js';
import { AttuneError } from '../../../util/errors.js';
import { consoleLogger, type Logger } from '../../../util/logger.js';
import { damage, type RunIdentity, runOf } from './checkpointManifest.js';

export interface Checkpoint {
  readonly folder: string;
  readonly step: number;
}

/** Checkpoints of a folder, by step; none where there is no such folder. */
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
 * Finds the checkpoint that `resumeFromCheckpoint: true` takes: the latest whole one of the run
 * that used the folder last. It is null where there is none. transformers' `get_last_checkpoint`
 * takes the highest number, whoever wrote it, whole or not.
 *
 * @example const last = await lastCheckpoint('out'); // "out/checkpoint-500"
 * @param logger is told of damaged ones that are passed over. Default: the console
 */
export async function lastCheckpoint(
  folder: string,
  logger: Pick<Logger, 'warn'> = consoleLogger,
): Promise<string | null> {
  const checkpoints = await Promise.all(
    (await listCheckpoints(folder)).map(async (one) => ({ ...one, run: await runOf(one.folder) })),
  );
  const latest = (await readLatestRun(folder)) ?? latestOf(checkpoints.map(({ run }) => run));
  for (const { folder: candidate, run } of checkpoints.reverse()) {
    // Whose it was does not show where the manifest is gone: then it is said that it is damaged.
    if (run && latest && run.id !== latest.id) continue;
    const problem = await damage(candidate);
    if (problem === null) return candidate;
    logger.warn(`${candidate} is not whole (${problem}); the one before it is tried`);
  }
  const from = latest?.from;
  return from && (await damage(from)) === null ? from : null;
}

/** A run as the folder remembers it, and the checkpoint of another run that it began with. */
export interface LatestRun extends RunIdentity {
  readonly from: string | null;
}

/** In folders that more than one run has used: which was the last. */
const RUN_FILE = '.attune_run.json';

async function readLatestRun(folder: string): Promise<LatestRun | null> {
  try {
    const { id, started, from } = JSON.parse(
      await readText(join(folder, RUN_FILE), { code: 'CHECKPOINT_NONE', remedy: 'Delete it.' }),
    );
    if (typeof id !== 'string' || typeof started !== 'string') return null;
    return { id, started, from: typeof from === 'string' ? from : null };
  } catch {
    return null; // then the checkpoints tell
  }
}

export const writeLatestRun = (folder: string, run: LatestRun): Promise<void> =>
  writeFileAtomic(join(folder, RUN_FILE), `${JSON.stringify(run, null, 2)}\n`);

export const forgetLatestRun = (folder: string): Promise<void> =>
  rm(join(folder, RUN_FILE), { force: true });

/** The run that began last. */
function latestOf(runs: readonly (RunIdentity | null)[]): LatestRun | null {
  const known = runs.filter((run) => run !== null);
  const [latest] = known.sort((a, b) => Date.parse(b.started) - Date.parse(a.started));
  return latest ? { ...latest, from: null } : null;
}

/** A folder that was named must be a whole checkpoint. @throws CHECKPOINT_NONE, CHECKPOINT_TORN */
export async function checkWhole(folder: string): Promise<void> {
  const problem = await damage(folder);
  if (problem === null) return;
  const remedy =
    'Pass resumeFromCheckpoint: true to take the latest whole one of outputDir; or load its weights (fromPretrained) and start a new run.';
  if (!(await stat(folder).catch(() => null)))
    throw new AttuneError('CHECKPOINT_NONE', `there is no checkpoint ${folder}.`, { remedy });
  const [inside] = (await listCheckpoints(folder)).reverse();
  if (inside)
    throw new AttuneError('CHECKPOINT_NONE', `${folder} is a folder of checkpoints, not one.`, {
      remedy: `Pass one of them, such as "${inside.folder}".`,
    });
  throw new AttuneError('CHECKPOINT_TORN', `the checkpoint ${folder} is not whole: ${problem}.`, {
    remedy,
  });
}

/**
 * What a process that died in a save left beside the checkpoints (`writeFolderAtomic`): a
 * half-written folder goes; a checkpoint that was just being replaced comes back.
 */
export async function clearInterruptedSaves(outputDir: string, logger: Logger): Promise<void> {
  for (const name of await readdir(outputDir).catch(() => [])) {
    const [, checkpoint, kind] = /^\.(checkpoint-\d+)\.(tmp|old)-[0-9a-f-]+$/.exec(name) ?? [];
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
 * Deletes this run's oldest checkpoints beyond `limit`: never one of another run, never the one
 * just written and never the best. transformers' `rotate_checkpoints` counts whatever lies there,
 * so that an older run's higher numbers cost the new run its own.
 *
 * @param written the checkpoint just written
 */
export async function rotateCheckpoints(
  outputDir: string,
  run: RunIdentity,
  written: string,
  limit: number | null,
  best: string | null,
): Promise<void> {
  if (limit === null) return;
  const own: Checkpoint[] = [];
  for (const checkpoint of await listCheckpoints(outputDir))
    if ((await runOf(checkpoint.folder))?.id === run.id) own.push(checkpoint);
  const isKept = ({ folder }: Checkpoint) =>
    resolve(folder) === resolve(written) || (best !== null && resolve(folder) === resolve(best));
  const { step: now } = own.find(({ folder }) => resolve(folder) === resolve(written))!;
  // A later one than that just written was damaged, and the run went back behind it: it goes first.
  const age = ({ step }: Checkpoint) => (step > now ? -1 : step);
  const deletable = own.filter((one) => !isKept(one)).sort((a, b) => age(a) - age(b));
  const surplus = own.length - Math.max(limit, own.filter(isKept).length);
  for (const { folder } of deletable.slice(0, Math.max(0, surplus)))
    await rm(folder, { recursive: true, force: true });
}
