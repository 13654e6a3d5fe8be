import { z } from 'zod';
import type { Resume } from './choices.js';
import { count } from './kinds.js';

/** Checkpoints: where, when, how many, and going on from one. */
export const saving = {
  /** Folder of the checkpoints. Default "trainer_output". */
  outputDir: z.string().min(1).default('trainer_output').meta({
    aka: 'output outdir outputpath outputfolder dir folder path savedir savepath checkpointdir',
    noneIsDefault: true,
  }),
  /**
   * When to write a checkpoint; "best": when an evaluation was the best so far. Default "steps".
   */
  saveStrategy: z.enum(['no', 'steps', 'epoch', 'best']).default('steps'),
  /** Updates between two checkpoints. Default 500. */
  saveSteps: count
    .default(500)
    .meta({ aka: 'saveevery saveinterval checkpointevery checkpointsteps' }),
  /** Checkpoints to keep, the latest and the best always among them; null: all. Default null. */
  saveTotalLimit: count
    .nullable()
    .default(null)
    .meta({ aka: 'keepcheckpoints maxcheckpoints savelimit savetopk' }),
  /**
   * Checkpoints without optimizer, schedule and random numbers: small, but nothing to resume from.
   * Default false.
   */
  saveOnlyModel: z.boolean().default(false),
  /** Load the weights of the best evaluation when the run is over. Default false. */
  loadBestModelAtEnd: z
    .boolean()
    .default(false)
    .meta({ aka: 'loadbest loadbestmodel restorebestweights' }),
  /**
   * What `train()` without options resumes from: a checkpoint folder, true for the latest,
   * "if-present" for the latest if there is one, false for none. Default false.
   */
  resumeFromCheckpoint: z
    .custom<Resume>((v) => typeof v === 'boolean' || (typeof v === 'string' && v !== ''), {
      error: 'expected true, false, "if-present" or a checkpoint folder',
    })
    .default(false)
    .meta({ aka: 'resume resumefrom checkpoint fromcheckpoint', noneIsDefault: true }),
  /** On resume, give callbacks what the checkpoint kept of them. Default true. */
  restoreCallbackStatesFromCheckpoint: z.boolean().default(true),
};
