import { z } from 'zod';
import { join, readFile } from '#platform';
import type { LossScalerState } from '../../loop/lossScaler.js';
import type { StepRow } from '../../loop/meter.js';

const count = z.int().nonnegative();
/** JSON has no NaN and no infinity: they stand as null. */
const numberOrNull = z.number().nullable();
const anything = z.record(z.string(), z.unknown());

/** The JSON files of a checkpoint, under their names in the folder: what a run reads of them. */
const schemas = {
  'trainer_state.json': z.looseObject({
    global_step: count,
    epoch: z.number(),
    num_input_tokens_seen: count,
    train_batch_size: z.int().positive(),
    best_metric: numberOrNull,
    best_global_step: count.nullable(),
    best_model_checkpoint: z.string().nullable(),
    log_history: z.array(z.record(z.string(), numberOrNull)),
    stateful_callbacks: anything,
  }),
  'scheduler.json': z.looseObject({ last_lr: z.number(), state: z.unknown().optional() }),
  'rng_state.json': z.looseObject({
    dropout_draws: count,
    dropout_draws_by_rank: z.array(count).optional(),
  }),
  /** What transformers has no place for: where in the data, the updates since the last log. */
  'attune_state.json': z.looseObject({
    geometry: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
    /** Absent in checkpoints that are older. */
    objective: z
      .looseObject({ name: z.string(), fingerprint: anything, values: anything.optional() })
      .optional(),
    position: z.object({ epoch: count, batches: count }),
    logged_step: count,
    skipped_steps: count,
    skipped_in_a_row: count,
    evaluation_due: z.boolean(),
    loss_sum: numberOrNull,
    loss_steps: count,
    rows_since_log: z.array(
      z.looseObject({
        loss: numberOrNull,
        gradNorm: numberOrNull,
        finite: z.boolean(),
        metrics: z.record(z.string(), z.object({ sum: numberOrNull, count: z.number() })),
      }),
    ),
    loss_scaler: z
      .looseObject({ scale: z.number(), growthTracker: z.number() })
      .nullish() satisfies z.ZodType<LossScalerState | null | undefined>,
  }),
};

type Schemas = typeof schemas;
export type CheckpointJson = { readonly [Name in keyof Schemas]: z.output<Schemas[Name]> };

/** Rows of a checkpoint: what was not finite came as null. */
export const stepRows = (rows: CheckpointJson['attune_state.json']['rows_since_log']): StepRow[] =>
  rows.map(({ loss, gradNorm, finite, metrics }) => ({
    loss: loss ?? Number.NaN,
    gradNorm: gradNorm ?? Number.NaN,
    finite,
    metrics: Object.fromEntries(
      Object.entries(metrics).map(([name, { sum, count }]) => [
        name,
        { sum: sum ?? Number.NaN, count },
      ]),
    ),
  }));

export const checkpointJson = {
  read: async <Name extends keyof Schemas>(
    folder: string,
    name: Name,
  ): Promise<CheckpointJson[Name]> =>
    schemas[name].parse(
      JSON.parse(await readFile(join(folder, name), 'utf8')),
    ) as CheckpointJson[Name],

  /** What is wrong with a JSON file, in words; null for what is right, or not ours to judge. */
  async problem(name: string, path: string): Promise<string | null> {
    if (!name.endsWith('.json')) return null;
    const json: unknown = JSON.parse(await readFile(path, 'utf8'));
    if (!Object.hasOwn(schemas, name)) return null;
    const { success, error } = schemas[name as keyof Schemas].safeParse(json);
    if (success) return null;
    const [issue] = error.issues;
    return `${name}: ${issue!.path.join('.') || 'its content'}: ${issue!.message}`;
  },
};
