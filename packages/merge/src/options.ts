import type { Attune } from '@attune/core';
import { type HubOptions, hubOptions } from '@attune/core/io';
import { isPlainObject, type OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { MergeMethod } from './contract/mergeMethod.js';

/** How far a merge is. */
export interface MergeProgress {
  readonly bytesDone: number;
  /** Bytes that are written in all. */
  readonly bytesTotal: number;
  readonly tensorsDone: number;
  readonly tensorsTotal: number;
  /** Estimated from what was done so far; null at the start. */
  readonly secondsLeft: number | null;
}

/** How models are found on the Hub: a reference says the revision. */
export const hubOfModels: z.ZodType<Omit<HubOptions, 'revision'> | undefined> = hubOptions
  .omit({ revision: true })
  .optional();

/** What a path cannot hold is known before the system is asked. */
export const outputFolder: z.ZodType<string, string> = z
  .string()
  .min(1)
  .refine((path) => !path.includes('\0'), 'a path has no NUL character')
  .meta({ aka: 'outpath output out' });

const isFunction = (value: unknown) => typeof value === 'function';

export const attuneOption: z.ZodType<Attune | undefined, Attune | undefined> = z
  .custom<Attune>(
    (value) => typeof (value as Partial<Attune> | null)?.registry === 'function',
    'expected what createAttune gives',
  )
  .optional();

const isMethod = (value: unknown) => {
  const { name, parameters, merge } = (value ?? {}) as Partial<MergeMethod>;
  return typeof name === 'string' && typeof merge === 'function' && isPlainObject(parameters);
};

/** How a merge is run, whatever it merges. */
export const runningShape = {
  /** Largest file of the output: bytes, or "5GB". Default "5GB", as in mergekit. */
  maxShardSize: z
    .union([z.number(), z.string()])
    .default('5GB')
    .meta({ aka: 'shardsize outshardsize' }),
  /** Memory beside Node's own that the merge may take: bytes, or "512MB". Default: no limit. */
  maxMemory: z
    .union([z.number(), z.string()])
    .optional()
    .meta({ aka: 'memory memorylimit maxram' }),
  /**
   * Worker threads; 0: none, all on the calling thread. Default: as many as there are cores, at
   * most 8, and none for small models. At most 256.
   */
  workers: z.int().min(0).max(256).optional().meta({ aka: 'numthreads threads numworkers jobs' }),
  /**
   * An Attune whose plugins add merge methods, or adapters for `base+adapter` (`peft()`). Default:
   * the built-in methods, and no adapters.
   */
  attune: attuneOption,
  /** How models that are no folders are found on the Hub. Default: as `fromPretrained` does. */
  hub: hubOfModels,
};

/** What every merge writes. */
export const outputShape = {
  /** The folder to write. It is there whole when the merge is done, or not at all. */
  outputDir: outputFolder,
  /** Replaces a folder that is there. Default false: it is an error. */
  overwrite: z.boolean().default(false).meta({ aka: 'force' }),
  /** Writes README.md and mergekit_config.yml into the output. Default true. */
  writeModelCard: z.boolean().default(true).meta({ aka: 'modelcard' }),
  /** Stops the merge; what was done is kept, and a later call goes on from it. Default none. */
  signal: z.custom<AbortSignal>((value) => value instanceof AbortSignal).optional(),
};

/** What plans and merges have in common. */
export const planShape = {
  ...runningShape,
  /**
   * Seed of the methods that draw (DARE, DELLA). The same seed gives the same bytes, with any
   * number of workers. Default 0.
   */
  seed: z.int().min(0).default(0).meta({ aka: 'randomseed' }),
  /**
   * 'float32': arithmetic in float32, rounded once when a tensor is written. 'mergekit': after each
   * operation in the dtype of the inputs, as mergekit does without `dtype`. Default 'float32'.
   */
  parity: z.enum(['float32', 'mergekit']).default('float32').meta({ aka: 'arithmetic' }),
  /**
   * Takes the common first rows of embeddings whose vocabularies differ in size. Unsafe: token ids
   * must mean the same. Default false. A `tokenizer:` in the config is the right way.
   */
  unsafeTruncateEmbeddings: z.boolean().default(false).meta({ aka: 'truncateembeddings' }),
  /** Further methods, beside the built-in ones and those of `attune`. Default none. */
  methods: z
    .custom<readonly MergeMethod[]>(
      (value) => Array.isArray(value) && value.every(isMethod),
      'expected a list of methods, as defineMergeMethod gives them',
    )
    .default(() => []),
};

/** What a merge takes beside the config. */
export const mergeShape = {
  ...planShape,
  ...outputShape,
  /** Reads what was written and compares it with what was computed. Default false. */
  verify: z.boolean().default(false).meta({ aka: 'check' }),
  /** Writes merge-report.json and merge-report.html into the output. Default false. */
  report: z.boolean().default(false),
  /** Called a few times a second. Default: nobody is told. */
  onProgress: z
    .custom<(progress: MergeProgress) => void>(isFunction, 'expected a function')
    .optional(),
};

export const planOptions = z.strictObject(planShape);
export const mergeOptions = z.strictObject(mergeShape);

/** Options of {@link planMerge}. */
export type PlanMergeOptions = OptionsInput<typeof planShape>;

/** Options of {@link mergeModels}. */
export type MergeOptions = OptionsInput<typeof mergeShape>;
