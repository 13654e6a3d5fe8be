import { z } from 'zod';
import { count, strategy } from './kinds.js';

/** What is logged, and where to. */
export const reporting = {
  /** When to log. Default "steps". */
  loggingStrategy: strategy.default('steps'),
  /**
   * Updates between two logs; the only regular reading back from the device. Default 500
   * (SFTTrainer: 10).
   */
  loggingSteps: count
    .default(500)
    .meta({ aka: 'logsteps logevery loginterval loggingfrequency logfrequency' }),
  /** Log the first update too. Default false. */
  loggingFirstStep: z.boolean().default(false),
  /**
   * Add `numInputTokensSeen`, tokens without padding, to the rows of the log: true or
   * "non_padding". Default "no".
   */
  includeNumInputTokensSeen: z
    .union([z.boolean(), z.enum(['no', 'non_padding'])])
    .default('no')
    .transform((value) => (value === true || value === 'non_padding' ? 'non_padding' : 'no')),
  /**
   * Trackers by name: "tensorboard", "wandb", "mlflow", "jsonl", "html", those of plugins (any
   * callback that has a name); "all": those that write files, which leaves out mlflow; null or
   * "none": none. Default: none.
   */
  reportTo: z
    .union([z.string().min(1), z.array(z.string().min(1)).readonly()])
    .nullable()
    .default(null)
    .transform((value) => (value === null ? [] : [value].flat().filter((name) => name !== 'none')))
    .meta({ aka: 'report tracker trackers loggers logto wandb tensorboard mlflow' }),
  /** What trackers call the run. Default null: outputDir, or a name of their own. */
  runName: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .meta({ aka: 'name run experiment experimentname' }),
  /**
   * Where trackers write. Default null: outputDir; TensorBoard into `runs/<date>_<host>` below it.
   */
  loggingDir: z.string().min(1).nullable().default(null).meta({ aka: 'logdir' }),
  /** false: a progress bar. Default true. */
  disableTqdm: z.boolean().default(true).meta({ noneIsDefault: true }),
};
