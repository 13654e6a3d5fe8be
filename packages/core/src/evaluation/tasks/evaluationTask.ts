import { z } from 'zod';
import { type ExtensionPoint, extensionPoint } from '../../di/extensionPoint.js';
import type { Communicator } from '../../distributed/communicator.js';
import type { LanguageModel } from '../../models/languageModel.js';
import type { TextTokenizer } from '../../text/tokenizeRow.js';
import { AttuneError } from '../../util/errors.js';
import { type OptionsInput, parseOptions } from '../../util/options.js';

/** What an evaluation task works with. */
export interface EvaluationTaskContext {
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer;
  /** Requests that go through the model at once. The result does not depend on it. */
  readonly batchSize: number;
  /**
   * Aborts when the run is to end: look at it between batches (`signal?.throwIfAborted()`), hand it
   * to `generate`.
   */
  readonly signal?: AbortSignal | undefined;
  /**
   * How the ranks of a run share the work: `shareRows(communicator, rows, score)` lets each score
   * its part of the rows, and gives all of them the scores. Absent: this rank looks at all rows.
   */
  readonly communicator?: Communicator | undefined;
}

/** The rows of a task; the task looks into them. */
export const taskRows = <Row>(): z.ZodCustom<readonly Row[], readonly Row[]> =>
  z.custom<readonly Row[]>(Array.isArray, 'expected an array of rows');

const runShape = {
  /** What is measured. */
  model: z.custom<LanguageModel>(),
  /** The model's own. */
  tokenizer: z.custom<TextTokenizer>().meta({ aka: 'processingclass' }),
  /** Requests that go through the model at once. The result does not depend on it. Default 8. */
  batchSize: z.int().min(1).default(8).meta({ aka: 'perdeviceevalbatchsize' }),
  /** Ends the task early, with its reason. Default none. */
  signal: z.custom<AbortSignal>().optional(),
  /** The ranks that share the work. Default: this rank looks at all rows. */
  communicator: z.custom<Communicator>().optional(),
};
const runOptions = z.strictObject(runShape);

/** Options of {@link runEvaluationTask}. */
export type RunEvaluationTaskOptions = OptionsInput<typeof runShape>;

/**
 * Numbers of a task by name: `acc`, `accNorm`, `exactMatch`. The standard error of `acc` is
 * `accStderr`.
 */
export type TaskMetrics = Readonly<Record<string, number>>;

/**
 * A benchmark of the model as it is. `loglikelihoodTask` and `generateTask` make one, or it is your
 * own. A trainer takes tasks by themselves or by name in `evaluationTasks`, and logs `acc` of the
 * task "arc" as `evalArcAcc`.
 */
export interface EvaluationTask {
  /** Lower-case letters, digits and _ : part of the metrics' names. */
  readonly name: string;
  evaluate(context: EvaluationTaskContext): Promise<TaskMetrics>;
}

/** Tasks that a Trainer takes by name: `evaluationTasks: ['arc']`. */
export const EvaluationTasks: ExtensionPoint<EvaluationTask> = extensionPoint(
  'evaluation task',
  (task: EvaluationTask) => task.name,
);

/**
 * Runs a task by hand.
 *
 * @example await runEvaluationTask(task, { model, tokenizer }) // { acc: 0.61, accNorm: 0.64, ... }
 * @throws UNKNOWN_OPTION, INVALID_OPTION; EVALUATION_TASK with the name of the task when it fails
 */
export async function runEvaluationTask(
  task: EvaluationTask,
  options: RunEvaluationTaskOptions,
): Promise<TaskMetrics> {
  const context = parseOptions(runOptions, options, { where: 'runEvaluationTask' });
  const { root } = context.model;
  const wasTraining = root.training;
  root.eval();
  try {
    return await task.evaluate(context);
  } catch (error) {
    if (AttuneError.isInstance(error) && error.code === 'DEVICE_LOST') throw error;
    if (context.signal?.aborted && error === context.signal.reason) throw error;
    const problem = AttuneError.isInstance(error)
      ? error.description
      : String((error as Error)?.message ?? error);
    const remedy = AttuneError.isInstance(error) ? error.remedy : undefined;
    throw new AttuneError('EVALUATION_TASK', `task "${task.name}": ${problem}`, {
      ...(remedy !== undefined && { remedy }),
      details: { task: task.name },
      cause: error,
    });
  } finally {
    root.train(wasTraining);
  }
}
